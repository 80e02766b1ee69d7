"""The API server: store, handlers and watches as plain calls; ``memory`` and ``http`` are the two ways in."""
