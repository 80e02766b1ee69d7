"""Docstrings of constants are prose. Napoleon takes what stands before their first colon for a type; this stops it."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx

BEFORE_NAPOLEON = 400
NOTHING = "\\ "
"""An escaped space, which reStructuredText leaves out: a first line without a colon."""


def protect(_app: Sphinx, what: str, _name: str, _obj: object, _options: object, lines: list[str]) -> None:
    """Put a line that says nothing before the text."""
    if what in {"attribute", "data"} and lines and ":" in lines[0]:
        lines.insert(0, NOTHING)


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the hook, to run before napoleon's."""
    app.connect("autodoc-process-docstring", protect, priority=BEFORE_NAPOLEON)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
