"""Types in signatures that the reference does not document are shown unlinked; whatever a page names must resolve."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def leave_unlinked(
    _app: Sphinx, _environment: BuildEnvironment, node: pending_xref, text: nodes.TextElement
) -> nodes.Element | None:
    """The plain text for a reference out of an annotation: a role in a page or docstring carries ``refwarn``."""
    return None if "refwarn" in node else text


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the handler."""
    app.connect("missing-reference", leave_unlinked)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
