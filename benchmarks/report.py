"""Result files: where a benchmark's figures are kept, with what was measured where, and the tables made from them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("aiohttp", "anyio", "attrs", "kubernetes-asyncio", "msgspec", "uvloop")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    cpu = next((line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": cpu or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1024**2),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def commit() -> str:
    """The commit that was measured; ``+`` where the product's files had changes besides."""
    head = _git("rev-parse", "--short=12", "HEAD")
    changed = _git("status", "--porcelain", "--untracked-files=no", "reconcile", "benchmarks/*.py", "benchmarks/peers")
    return head + ("+" if changed else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def write(name: str, figures: Mapping[str, Any], *, versions: Mapping[str, str] | None = None) -> Path:
    """Keep ``figures`` as ``results/<name>.json``. Returns the path."""
    document = {
        "benchmark": name,
        "command": f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}".strip(),
        "when": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit(),
        "machine": machine(),
        "versions": {package: metadata.version(package) for package in PACKAGES} | dict(versions or {}),
        **figures,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(f"written: {path.relative_to(ROOT)}", file=sys.stderr)
    return path


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    middles = {figure: median(one[figure] for one in rounds) for figure in rounds[0]}
    return {
        figure: round(middle) if isinstance(rounds[0][figure], int) else round(middle, 4)
        for figure, middle in middles.items()
    }


def sync_table(result: Mapping[str, Any]) -> str:
    """The table of ``results/sync.json`` in Markdown, as it stands in the README: figures, and ratios to ours."""
    subjects = result["subjects"]
    ours = subjects[0]["median"]
    rows = [
        "| cache filled with 10 000 Pods | wall | CPU | memory added | at its peak |",
        "|---|--:|--:|--:|--:|",
    ]
    for position, subject in enumerate(subjects):
        cells = [
            _cell(subject["median"]["wall_seconds"], ours["wall_seconds"], "{:.2f} s", ratio=position > 0),
            _cell(subject["median"]["cpu_seconds"], ours["cpu_seconds"], "{:.2f} s", ratio=position > 0),
            _cell(subject["median"]["steady_mb"], ours["steady_mb"], "{:.0f} MB", ratio=position > 0),
            _cell(subject["median"]["peak_mb"], ours["peak_mb"], "{:.0f} MB", ratio=position > 0),
        ]
        name = f"**{subject['title']}**" if position == 0 else subject["title"]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _cell(value: float, ours: float, form: str, *, ratio: bool) -> str:
    text = form.format(value)
    if not ratio:
        return text
    times = value / ours
    return f"{text} · {times:.1f} ×" if times < 10 else f"{text} · {times:.0f} ×"


JOB_FIGURES = (
    ("pods_per_second", "pods/s", "{:.0f}"),
    ("requests", "requests", "{:.0f}"),
    ("cpu_seconds", "CPU", "{:.2f} s"),
    ("server_cpu_seconds", "API server's CPU", "{:.1f} s"),
    ("peak_mb", "peak memory", "{:.0f} MB"),
    ("complete_p50_seconds", "to Complete, p50", "{:.2f} s"),
    ("complete_p99_seconds", "p99", "{:.2f} s"),
    ("tail_p50_seconds", "last Pod → Complete, p50", "{:.2f} s"),
)


def job_table(result: Mapping[str, Any]) -> str:
    """The table of ``results/job.json`` in Markdown: ours / the built-in one's, and the ratio with its spread.

    The ratio is of the medians; the spread is that of the ratios round by round.
    """
    rows = [
        f"| Jobs x Pods | {' | '.join(title for _, title, _ in JOB_FIGURES)} |",
        f"|---|{'--:|' * len(JOB_FIGURES)}",
    ]
    for shape in result["shapes"]:
        ours, theirs = shape["subjects"]
        cells = []
        for figure, _, form in JOB_FIGURES:
            mine, other = ours["median"][figure], theirs["median"][figure]
            pairs = zip(ours["rounds"], theirs["rounds"], strict=True)
            ratios = sorted(_ratio(one[figure], two[figure]) for one, two in pairs)
            spread = f" ({ratios[0]:.2f}-{ratios[-1]:.2f})" if len(ratios) > 1 else ""
            cells.append(f"{form.format(mine)} / {form.format(other)} = {_ratio(mine, other):.2f}{spread}")
        rows.append(f"| {shape['shape']} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _ratio(value: float, other: float) -> float:
    return value / other if other else float("nan")


BEGIN, END = "<!-- figures: python benchmarks/report.py -->\n", "<!-- end of figures -->\n"


def figures() -> str:
    """What the README says of the results: all of it comes from the committed files."""
    sync, queue, bulk = (
        json.loads((RESULTS / f"{name}.json").read_text()) for name in ("sync", "workqueue", "watch_bulk")
    )
    place, rounds = sync["machine"], len(sync["subjects"][0]["rounds"])
    how = f"Medians of {rounds} rounds (the slow ones: {len(sync['subjects'][-1]['rounds'])})"
    server = sync["versions"]["kube-apiserver"]
    lines = [
        sync_table(sync),
        "",
        f"{how} on {place['cores']} cores ({place['cpu']}), CPython {place['python']},",
        f"kube-apiserver {server}, by `{sync['command']}`. A burst of watch events goes through to the work queue at",
        f"{bulk['events_per_cpu_second'] / 1000:.0f} 000 events per second of CPU",
        f"(client-go: {bulk['client_go']['events_per_cpu_second'] / 1000:.1f} thousand); the queue itself takes",
        f"{queue['add_to_done_per_second'] // 1000} 000 keys a second from add to done.",
    ]
    return "\n".join(lines) + "\n"


def job_figures() -> str:
    """What the Job controller's page says of ``results/job.json``."""
    result = json.loads((RESULTS / "job.json").read_text())
    place, server = result["machine"], ", ".join(result["releases"])
    how = f"By `{result['command']}` on {place['cores']} cores ({place['cpu']}), kube-apiserver {server}:"
    slopes = [
        f"{one['from']} to {one['to']}: CPU {one['cpu_seconds']}, requests {one['requests']}"
        for one in result["growth"]
        if one["subject"] == "reconcile"
    ]
    growth = f"Growth of our cost with the number of Pods, slope in log-log: {'; '.join(slopes)}."
    return f"{how}\n\n{job_table(result)}\n\n{growth}\n"


PAGES = {
    ROOT / "README.md": figures,
    ROOT / "docs" / "explanation" / "job-controller.md": job_figures,
}
"""The pages with figures, each between its two marks, and what stands there."""


def main() -> None:
    """Write the figures into the pages."""
    for page, text in PAGES.items():
        before, _, rest = page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n{text()}\n{END}{after}")


if __name__ == "__main__":
    main()
