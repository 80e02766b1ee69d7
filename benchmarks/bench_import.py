"""What `import reconcile` costs beside a bare interpreter, and what the names that an app needs cost."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import report

GOAL_SECONDS = 0.15
STATEMENTS = {
    "import_reconcile": "import reconcile",
    "import_app": "from reconcile import App, Context",
}


def seconds(statement: str, repeats: int) -> float:
    """Of a new interpreter that runs ``statement``; the best of ``repeats``."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    bare = seconds("pass", options.repeats)
    figures = {
        f"{name}_seconds": round(seconds(statement, options.repeats) - bare, 4)
        for name, statement in STATEMENTS.items()
    }
    for name, value in figures.items():
        print(f"{name:28} {value:.3f}")
    verdict = "reached" if figures["import_reconcile_seconds"] <= GOAL_SECONDS else "missed"
    print(f"goal {GOAL_SECONDS} s for import reconcile: {verdict}")
    report.write("import", {"bare_interpreter_seconds": round(bare, 4), "goal_seconds": GOAL_SECONDS, **figures})


main()
