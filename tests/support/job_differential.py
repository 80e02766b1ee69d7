"""Runs many traces at the same time on the twins, and compares them after each step.

Quiet means: nothing in the case's namespaces has changed for ``QUIET_SECONDS`` on either server (which is longer than
kube-controller-manager's batch period and its first retry), our controller does nothing there, and is not about to
wake by itself. What differs then has ``PATIENCE_SECONDS`` more to become alike: the shortest backoff, and a batch.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
from job_normal_form import Difference
from job_traces import CreateAgain, Step, Trace, Wait
from job_twins import Case, Twins

Json = dict[str, Any]

QUIET_SECONDS = 2.2
QUIET_SECONDS_LAST = 4.0
UNQUIET_SECONDS_MAX = 90.0
ASK_SECONDS = 0.1
AT_A_TIME = 8
"""Cases in which a step is carried out at a time: its writes must be done within the batch period."""

BACKOFF_SECONDS = 10.0
PATIENCE_SECONDS = BACKOFF_SECONDS + 4.0
DUE_SECONDS = 2.0
"""A step does not begin so shortly before something falls due: the one server would see it before, the other after."""


@attrs.frozen
class Finding:
    """What differed after a step (0: the creation of the Job), or in the answers to it.

    Attributes:
        theirs, ours: the whole of what was compared.
    """

    trace: Trace
    step: int
    difference: Difference
    theirs: Json = attrs.field(repr=False)
    ours: Json = attrs.field(repr=False)

    def __str__(self) -> str:
        done = "its creation" if self.step == 0 else repr(self.trace.steps[self.step - 1])
        return f"after step {self.step}, {done}: {self.difference}"


@attrs.define
class Result:
    """How a trace went.

    Attributes:
        findings: the differences after the step at which it ended.
        ended_as: the Job's last condition that is True.
        steps: how many steps were compared; the creation of the Job is the first.
        refused: how many requests the servers refused.
    """

    trace: Trace
    findings: list[Finding] = attrs.field(factory=list)
    ended_as: str = ""
    steps: int = 0
    refused: int = 0


@attrs.define(eq=False)
class _Going:
    """A case under way, in which a step has just been carried out."""

    case: Case
    result: Result
    applied_at: float = 0.0
    wait_until: float = 0.0
    differing_since: float | None = None
    alike_at: float = -1.0

    @property
    def is_over(self) -> bool:
        return bool(self.result.findings) or self.result.steps > len(self.case.trace.steps)

    @property
    def is_last(self) -> bool:
        return self.result.steps == len(self.case.trace.steps)

    def find(self, differences: Iterable[Difference]) -> None:
        """The case has shown these."""
        theirs, ours = (seat.normal() for seat in self.case.seats)
        self.result.findings += [Finding(self.case.trace, self.result.steps, one, theirs, ours) for one in differences]

    async def carry_out(self) -> None:
        """The next step, on both servers; they must answer alike."""
        position, trace = self.result.steps, self.case.trace
        self.differing_since, self.alike_at = None, -1.0
        step: Step = (CreateAgain(),) if position == 0 else trace.steps[position - 1]
        for seat in self.case.seats:
            seat.words.step = position
        theirs, ours = await asyncio.gather(*(seat.act(trace, step) for seat in self.case.seats))
        self.applied_at = _now()
        self.wait_until = self.applied_at + max((one.seconds for one in step if isinstance(one, Wait)), default=0.0)
        self.result.refused += sum(answer != "ok" for answer in ours)
        if theirs != ours:
            self.find([Difference("answers", theirs, ours)])

    def judge(self, twins: Twins) -> float:
        """0 while the step is settled, alike or not; else how many seconds to wait before asking again."""
        now, namespace = _now(), self.case.ours.namespace
        if not twins.hold.is_idle(namespace):
            return ASK_SECONDS
        changed = max(seat.last_change for seat in self.case.seats)
        quiet = QUIET_SECONDS_LAST if self.is_last else QUIET_SECONDS
        at = max(self.applied_at + quiet, self.wait_until, changed + quiet)
        due, soon = twins.hold.due.get(namespace), BACKOFF_SECONDS if self.is_last else 0.0
        if due is not None and -DUE_SECONDS < due - now < soon + DUE_SECONDS:
            at = max(at, due + DUE_SECONDS)
        if at > now:
            if now > self.applied_at + UNQUIET_SECONDS_MAX:
                self.find([Difference("quiet", None, f"not within {UNQUIET_SECONDS_MAX} s")])
                return 0.0
            return at - now
        if self.alike_at >= changed:
            return 0.0
        found = self.case.differences()
        if not found:
            self.alike_at, self.differing_since = now, None
            return 0.0
        self.differing_since = self.differing_since or now
        if now < self.differing_since + PATIENCE_SECONDS:
            return ASK_SECONDS
        self.find(found)
        return 0.0


async def run_traces(twins: Twins, traces: Sequence[Trace]) -> list[Result]:
    """Run the traces, all at the same time; a case ends with its first difference."""
    cases = [_Going(await twins.case(trace), Result(trace)) for trace in traces]
    limit = asyncio.Semaphore(AT_A_TIME)

    async def carry_out(one: _Going) -> None:
        async with limit:
            await one.carry_out()

    while going := [one for one in cases if not one.is_over]:
        with twins.hold:
            await asyncio.gather(*map(carry_out, going))
        await _settle(twins, going)
        for one in going:
            one.result.steps += not one.result.findings
    for one in cases:
        one.result.ended_as = _standing(one.case)
        failures = twins.hold.failures.get(one.case.ours.namespace)
        if failures and not one.result.findings:
            one.find([Difference("errors", [], failures)])
    return [one.result for one in cases]


async def _settle(twins: Twins, going: Sequence[_Going]) -> None:
    """Wait until all are settled at the same moment: what falls due in one while others are waited for counts too."""
    while waits := [wait for one in going if not one.result.findings if (wait := one.judge(twins)) > 0]:
        await asyncio.sleep(max(ASK_SECONDS, min(waits)))


def _standing(case: Case) -> str:
    job = case.ours.job
    if job is None:
        return "no Job"
    true = [one["type"] for one in job["status"].get("conditions") or () if one["status"] == "True"]
    return (true or ["going on"])[-1]


def _now() -> float:
    return asyncio.get_running_loop().time()


# -- what was found -----------------------------------------------------------------------------------------------


async def smallest(twins: Twins, result: Result, decided: Callable[[Finding], object]) -> Result:
    """The same without the steps that its difference does not need. All ways of dropping one are run side by side."""
    result = attrs.evolve(result, trace=attrs.evolve(result.trace, steps=result.trace.steps[: result.findings[0].step]))
    while result.trace.steps:
        tried = await run_traces(twins, [result.trace.without_step(at) for at in range(len(result.trace.steps))])
        failing = [one for one in tried if any(decided(finding) is None for finding in one.findings)]
        if not failing:
            break
        result = failing[0]
    return result


def summary(results: Sequence[Result]) -> str:
    """Figures of a run."""
    ended = Counter(one.ended_as for one in results)
    used = Counter(name for one in results for name in one.trace.spec if name != "template")
    done = Counter(type(action).__name__ for one in results for step in one.trace.steps for action in step)
    steps, refused = sum(one.steps for one in results), sum(one.refused for one in results)
    return (
        f"{len(results)} cases, {steps} steps compared, {refused} requests refused by both alike\n"
        f"ended as: {_counts(ended)}\n"
        f"fields: {_counts(used)}\n"
        f"actions: {_counts(done)}"
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())
