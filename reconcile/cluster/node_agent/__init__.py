"""The node agent: registers a node and runs its Pods. ``plan`` and ``status`` decide, ``agent`` acts."""
