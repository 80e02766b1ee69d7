"""Nodes: starting and stopping real ones on this machine."""

from reconcile.nodes.machine.kubelet import Taint
from reconcile.nodes.machine.node import LocalNode
from reconcile.nodes.machine.process import MachineError
from reconcile.nodes.machine.requirements import missing_requirements

__all__ = ["LocalNode", "MachineError", "Taint", "missing_requirements"]
