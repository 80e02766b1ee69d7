"""The embedded cluster: a Kubernetes API in this process, for trying things out and for tests. Not for production."""
