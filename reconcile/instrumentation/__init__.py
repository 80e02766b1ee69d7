"""Facts and hooks: what happened, told to whoever listens (logging, Prometheus)."""
