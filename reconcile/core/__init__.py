"""DECIDES: sync, no IO, `now` is an argument. Every rule of the framework stands here and is tested without a loop."""
