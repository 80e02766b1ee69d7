"""What tests need: a real control plane on this machine, and the pytest plugin that starts it."""
