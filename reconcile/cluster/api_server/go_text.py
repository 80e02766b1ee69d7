"""Plain values as Go prints them in error messages: ``map[a:1 b:[x y]]``."""

from __future__ import annotations

from typing import Any

__all__ = ["go_text"]


def go_text(value: Any) -> str:
    """``value`` as Go's ``%v``."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case dict():
            return "map[" + " ".join(f"{name}:{go_text(value[name])}" for name in sorted(value)) + "]"
        case list():
            return "[" + " ".join(map(go_text, value)) + "]"
        case _:
            return str(value)
