"""``{metrics-table}``: every metric of the framework, read from the program; ``{metrics-table} APP``: of an app."""

from __future__ import annotations

import argparse
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from reconcile.cli.run import find_app
from reconcile.instrumentation.prometheus import Metrics
from reconcile.instrumentation.reading import READINGS

Row = tuple[str, str, str, str]


def rows() -> list[Row]:
    """Name, type, labels and meaning of each of the framework's, sorted by name."""
    found: dict[str, Row] = {}
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


def rows_of_app(name: str) -> list[Row]:
    """The same of those that the app's controllers declare, with its flags' defaults."""
    app = find_app(name)
    parser = argparse.ArgumentParser()
    app.add_arguments(parser)
    app.configure(parser.parse_args([]))
    metrics = {metric for declaration in app.controllers for metric in declaration.metrics}
    return sorted(
        (metric.name, type(metric).__name__.lower(), ", ".join(metric.labels), metric.documentation)
        for metric in metrics
    )


class MetricsTable(SphinxDirective):
    """The table."""

    optional_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        lines = ["| metric | type | labels | what it counts |", "|---|---|---|---|"]
        found = rows_of_app(self.arguments[0]) if self.arguments else rows()
        lines += [f"| `{name}` | {kind} | {labels} | {text} |" for name, kind, labels, text in found]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.add_directive("metrics-table", MetricsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
