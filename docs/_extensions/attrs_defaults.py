"""Defaults in signatures are shown as they are written, never as values: a default of ``os.environ`` would print it.

attrs writes the ``__init__`` of its classes itself, with defaults that say nothing to a reader; they become ``…``.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_GENERATED = re.compile(r"attr_dict\['\w+'\]\.default|NOTHING")


def shorten(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """The signature without what attrs generated."""
    return (_GENERATED.sub("…", signature) if signature else signature), returns


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the hook."""
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
