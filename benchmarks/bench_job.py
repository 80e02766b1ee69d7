"""Job controllers on a real API server: ours beside kube-controller-manager's, shape after shape.

Each leg has a fresh control plane, one controller, and a load in a process of its own (``job_leg``, ``job_driver``).
The two take turns (A B A B …), so that a slow minute of the machine falls on both. All Jobs of a shape are created at
once, and their Pods run for no time: what is measured is the controllers, and the API server that serves them.

A shape is JOBSxPODS or JOBSxPODS-indexed; each Job wants all its Pods at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from pathlib import Path
from typing import Any

import job_leg
import report
from job_leg import Shape
from peer import say

SHAPES = ("50x20", "50x20-indexed", "500x1", "1x1000-indexed", "1x10000-indexed", "5000x1")
SLOW_PODS = 5000
ROUNDS, ROUNDS_SLOW = 5, 2
CONCURRENT_JOB_SYNCS = 5
"""kube-controller-manager's default; another number can be given."""
GROWTHS = (("1x1000-indexed", "1x10000-indexed"), ("500x1", "5000x1"))


async def run(shapes: list[Shape], rounds: int | None, syncs: int) -> dict[str, Any]:
    subjects = [job_leg.ours(), job_leg.built_in(syncs)]
    found: list[dict[str, Any]] = []
    releases: set[str] = set()
    for shape in shapes:
        wanted = rounds or (ROUNDS_SLOW if shape.total >= SLOW_PODS else ROUNDS)
        legs: dict[str, list[dict[str, Any]]] = {subject.name: [] for subject in subjects}
        for number in range(wanted):
            for subject in subjects:
                began = time.monotonic()
                figures = await job_leg.run(subject, shape)
                releases.add(figures.pop("release"))
                legs[subject.name].append(figures)
                say(
                    f"{shape.name} {number + 1}/{wanted} {subject.name:24} {figures['pods_per_second']:6} pods/s "
                    f"{figures['requests']:6} requests {figures['cpu_seconds']:6} CPU-s {figures['peak_mb']:6} MB "
                    f"p50 {figures['complete_p50_seconds']:7} s  ({time.monotonic() - began:.0f} s)"
                )
        found.append(
            {
                "shape": shape.name,
                "subjects": [
                    {
                        "name": subject.name,
                        "title": subject.title,
                        "median": report.medians([_plain(leg) for leg in legs[subject.name]]),
                        "rounds": legs[subject.name],
                    }
                    for subject in subjects
                ],
            }
        )
    return {"shapes": found, "growth": growth(found), "concurrent_job_syncs": syncs, "releases": sorted(releases)}


def _plain(leg: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in leg.items() if not isinstance(value, dict)}


def growth(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How the whole cost grows with the number of Pods: the slope in log-log; 1 is as many times as there are Pods."""
    medians = {(one["shape"], two["name"]): two["median"] for one in found for two in one["subjects"]}
    slopes: list[dict[str, Any]] = []
    for small, large in GROWTHS:
        for name in dict.fromkeys(name for _, name in medians):
            few, many = medians.get((small, name)), medians.get((large, name))
            if few is None or many is None:
                continue
            wider = math.log(many["pods"] / few["pods"])
            slopes.append(
                {"from": small, "to": large, "subject": name}
                | {
                    figure: round(math.log(many[figure] / few[figure]) / wider, 3)
                    for figure in ("cpu_seconds", "requests", "wall_seconds")
                }
            )
    return slopes


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="reconcile bench job", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shape", action="append", metavar="SHAPE", help=f"repeatable; default: all of {', '.join(SHAPES)} (an hour)"
    )
    parser.add_argument(
        "--rounds", type=int, help=f"of each shape (default: {ROUNDS}, and {ROUNDS_SLOW} from {SLOW_PODS} Pods on)"
    )
    parser.add_argument("--concurrent-job-syncs", type=int, default=CONCURRENT_JOB_SYNCS, help="of the built-in one")
    parser.add_argument("--output", type=Path, help="where to keep the figures (default: benchmarks/results/job.json)")
    options = parser.parse_args()
    try:
        shapes = [Shape.parse(text) for text in options.shape or SHAPES]
    except ValueError as error:
        parser.error(str(error))
    document = asyncio.run(run(shapes, options.rounds, options.concurrent_job_syncs))
    print(report.job_table(document))
    for slope in document["growth"]:
        print(
            f"{slope['subject']}, {slope['from']} → {slope['to']}, slope in log-log: CPU {slope['cpu_seconds']}, "
            f"requests {slope['requests']}, wall {slope['wall_seconds']}"
        )
    if options.output is not None:
        options.output.write_text(json.dumps(document, indent=2) + "\n")
    elif options.shape is None:
        report.write("job", document, versions={"kube-apiserver": ", ".join(document["releases"])})


if __name__ == "__main__":
    main()
