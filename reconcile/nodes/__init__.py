"""Nodes: what an operator does to them, and starting and stopping real ones on this machine."""

from reconcile.nodes.drain import DrainError, DrainRefusedError, drain
from reconcile.nodes.filters import DrainOptions, DryRun
from reconcile.nodes.machine.kubelet import Taint
from reconcile.nodes.machine.node import LocalNode
from reconcile.nodes.machine.process import MachineError
from reconcile.nodes.machine.requirements import missing_requirements
from reconcile.nodes.operations import (
    NodeDescription,
    cordon,
    describe_node,
    get_node,
    is_cordoned,
    list_nodes,
    uncordon,
)

__all__ = [
    "DrainError",
    "DrainOptions",
    "DrainRefusedError",
    "DryRun",
    "LocalNode",
    "MachineError",
    "NodeDescription",
    "Taint",
    "cordon",
    "describe_node",
    "drain",
    "get_node",
    "is_cordoned",
    "list_nodes",
    "missing_requirements",
    "uncordon",
]
