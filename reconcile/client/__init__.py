"""SPEAKS: configuration, credentials, HTTP, paths, codec. Knows nothing of queues and caches."""
