"""``{metrics-table}``: every metric of the program, read from the program."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from reconcile.instrumentation.prometheus import Metrics
from reconcile.instrumentation.reading import READINGS


def rows() -> list[tuple[str, str, str, str]]:
    """Name, type, labels and meaning of each, sorted by name."""
    found: dict[str, tuple[str, str, str, str]] = {}
    for collector in vars(Metrics()).values():
        name = getattr(collector, "_name", None)
        if name is not None:
            kind = type(collector).__name__.lower()
            labels = ", ".join(collector._labelnames)  # noqa: SLF001  prometheus_client has no public way
            suffix = "_total" if kind == "counter" else ""
            found[name] = (name + suffix, kind, labels, collector._documentation)  # noqa: SLF001
    for name, reading in READINGS.items():
        found[name] = (name, reading.type, ", ".join(reading.labels), reading.documentation)
    return sorted(found.values())


class MetricsTable(SphinxDirective):
    """The table."""

    def run(self) -> list[nodes.Node]:
        lines = ["| metric | type | labels | what it counts |", "|---|---|---|---|"]
        lines += [f"| `{name}` | {kind} | {labels} | {text} |" for name, kind, labels, text in rows()]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.add_directive("metrics-table", MetricsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
