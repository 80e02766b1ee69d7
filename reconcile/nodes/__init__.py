"""Nodes: starting and stopping real ones on this machine."""
