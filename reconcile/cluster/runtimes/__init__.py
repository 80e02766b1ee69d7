"""What runs containers for the node agent: ``runtime`` is the seam, shaped like CRI; the others stand behind it."""
