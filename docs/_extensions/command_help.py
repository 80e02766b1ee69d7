"""``{command-help}``: the ``--help`` of a subcommand, so that the reference cannot drift from the program."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

_PROGRAM = "import sys; from reconcile.cli.main import main; sys.exit(main())"


class CommandHelp(SphinxDirective):
    """Runs ``reconcile ARGUMENTS --help`` and shows what it prints."""

    required_arguments = 0
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        words = self.arguments[0].split() if self.arguments else []
        answer = subprocess.run(  # noqa: S603  our own program
            [
                sys.executable,
                "-c",
                "import sys; from reconcile.cli.main import main; sys.exit(main())",
                *words,
                "--help",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
        )
        if answer.returncode != 0:
            raise self.error(f"reconcile {' '.join(words)} --help failed: {answer.stderr}")
        return [nodes.literal_block(answer.stdout, answer.stdout, language="text")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
