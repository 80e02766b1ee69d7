"""The Job controller beside kube-controller-manager's: the same traces on identical API servers, compared step by step.

After each step, once both are quiet: the whole Job and all of its Pods in their normal form (``job_normal_form``), the
order of the conditions so far, and what the servers said to each request. A sample runs in ``make test``. The long run
generates ``DIFFERENTIAL_CASES`` (as ``FIRST-LAST``) and takes a second and a half a case::

    pytest -s -m long tests/differential
    DIFFERENTIAL_CASES=343 pytest -s -m long tests/differential    # one case alone
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import pytest
from job_decided_differences import DECIDED, decided
from job_differential import Finding, Result, run_traces, smallest, summary
from job_trace_sample import SAMPLE
from job_trace_strategies import generate
from job_traces import ALL, Edit, End, Trace
from job_twins import Twins

from reconcile_job.plan import finish, manage

SEEDS_IN_SAMPLE = (2, 17, 51, 103, 343, 402)
"""Generated."""

CASES_DEFAULT = "0-399"
BATCH = 100
"""Cases that run at the same time. Their longest waits are shared; more would slow the servers down."""

SHRUNK_MAX = 5


def undecided(results: Sequence[Result]) -> list[Result]:
    """Those that differ in something that is not meant."""
    return [one for one in results if any(decided(finding) is None for finding in one.findings)]


def report(result: Result) -> str:
    """All about one case."""
    alone = f"DIFFERENTIAL_CASES={result.trace.name} pytest -s -m long tests/differential\n"
    lines = [f"{result.trace}", *(str(one)[:2000] for one in result.findings if decided(one) is None)]
    return (alone if result.trace.name.isdigit() else "") + "\n".join(lines)


async def confirmed(twins: Twins, results: Sequence[Result]) -> list[Result]:
    """Those that differ again when they are run again.

    What differs but once is a step that fell between two looks of one of the controllers: it is shown, and no failure.
    """
    suspects = undecided(results)
    if not suspects:
        return []
    again = undecided(await run_traces(twins, [one.trace for one in suspects]))
    kept = {one.trace.name for one in again}
    for one in suspects:
        if one.trace.name not in kept:
            print(f"differed once, and not again:\n{report(one)}")
    return again


@pytest.mark.asyncio
async def test_the_sample_goes_as_under_kube_controller_manager() -> None:
    """Each rule once, chosen by hand, and a few generated cases: nothing differs but what is meant to."""
    traces = [*SAMPLE, *map(generate, SEEDS_IN_SAMPLE)]
    async with Twins() as twins:
        results = await run_traces(twins, traces)
        print(summary(results))
        failing = await confirmed(twins, results)
    for one in failing:
        print(report(one))
    assert [one.trace.name for one in failing] == [], "see above"
    # A sample that is refused, or stands still, would agree about nothing.
    ended = Counter(one.ended_as for one in results)
    assert ended["Complete"] >= 10
    assert ended["Failed"] >= 6


@pytest.mark.asyncio
@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_generated_cases_go_as_under_kube_controller_manager() -> None:
    """Jobs of every field, and traces of all that can happen to them."""
    first, _, last = os.environ.get("DIFFERENTIAL_CASES", CASES_DEFAULT).partition("-")
    seeds = range(int(first), int(last or first) + 1)
    is_whole = len(seeds) >= BATCH
    traces = [*(SAMPLE if is_whole else ()), *map(generate, seeds)]
    results: list[Result] = []
    async with Twins() as twins:
        for at in range(0, len(traces), BATCH):
            batch = await run_traces(twins, traces[at : at + BATCH])
            print(f"{batch[0].trace.name} – {batch[-1].trace.name}: {len(undecided(batch))} differ", flush=True)
            results += batch
        failing = await confirmed(twins, results)
        shrunk = [await smallest(twins, one, decided) for one in failing[:SHRUNK_MAX]]
    print(summary(results))
    met = Counter(entry.name for one in results for entry in _entries(one.findings))
    print("\n".join(f"decided, in {met[entry.name]} cases: {entry.name}" for entry in DECIDED))
    for one in (*shrunk, *failing[SHRUNK_MAX:]):
        print(report(one))
    assert [one.trace.name for one in failing] == [], "see above"
    if is_whole:
        assert [one.name for one in DECIDED if not met[one.name] and not one.is_by_chance] == [], "decided, never met"


def _entries(findings: Sequence[Finding]) -> set[object]:
    return {entry for finding in findings if (entry := decided(finding)) is not None}


# -- a controller that is wrong is found ---------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.long
async def test_a_controller_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rules are broken, each in a way that one trace must show."""
    monkeypatch.setattr(finish, "_failed_indexes", lambda *_: None)
    monkeypatch.setattr(manage, "to_remove", lambda *_, **__: [])
    monkeypatch.setattr(finish, "completion", lambda *_: None)
    traces = [
        Trace(
            {"completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 0},
            ((End((0,), "Failed"),), (End(ALL, "Succeeded"),)),
            "failed indexes",
        ),
        Trace({"parallelism": 2}, ((Edit({"parallelism": 1}),),), "too many Pods"),
        Trace({"completions": 1}, ((End(ALL, "Succeeded"),),), "completions reached"),
        Trace({"completions": 2}, ((Edit({"suspend": True}),), (Edit({"suspend": False}),)), "alike"),
    ]
    async with Twins() as twins:
        results = await run_traces(twins, traces)
    assert [one.trace.name for one in results if not one.findings] == ["alike"]
