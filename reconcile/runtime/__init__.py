"""WAITS: the only place with task groups, events and clocks. Same names as in `core`, one floor up."""
