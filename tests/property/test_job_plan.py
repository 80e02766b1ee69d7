"""Random Jobs, random Pods' fates, random crashes and edits: what must hold at every write and at the end (J1–J14)."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from job_history import numbers
from job_world import JobWorld

INDEX = "batch.kubernetes.io/job-completion-index"

CODES = st.sampled_from([1, 2, 42, 137])


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """A Job spec that the API server would admit."""
    indexed = draw(st.booleans())
    spec: dict[str, Any] = {
        "parallelism": draw(st.integers(0, 4)),
        "backoffLimit": draw(st.sampled_from([0, 1, 2, 6, 20])),
    }
    completions = draw(st.integers(0, 8)) if indexed else draw(st.none() | st.integers(0, 8))
    if completions is not None:
        spec["completions"] = completions
    if indexed:
        spec["completionMode"] = "Indexed"
        if draw(st.booleans()):
            spec["backoffLimitPerIndex"] = draw(st.integers(0, 2))
            spec["backoffLimit"] = draw(st.sampled_from([3, 2**31 - 1]))
            if draw(st.booleans()):
                spec["maxFailedIndexes"] = draw(st.integers(0, completions or 0))
        if completions and draw(st.integers(0, 3)) == 0:
            rule: dict[str, Any] = {"succeededCount": draw(st.integers(1, completions))}
            if draw(st.booleans()):
                rule = {"succeededIndexes": f"0-{completions - 1}" if completions > 1 else "0", **rule}
            spec["successPolicy"] = {"rules": [rule]}
    if draw(st.booleans()):
        spec["podReplacementPolicy"] = draw(st.sampled_from(["Failed", "TerminatingOrFailed"]))
    if draw(st.integers(0, 3)) == 0:
        actions = ["Ignore", "Count", "FailJob"] + (["FailIndex"] if "backoffLimitPerIndex" in spec else [])
        spec["podReplacementPolicy"] = "Failed"
        spec["podFailurePolicy"] = {
            "rules": [
                {"action": draw(st.sampled_from(actions)), "onExitCodes": {"operator": "In", "values": [42]}},
                {
                    "action": draw(st.sampled_from(actions)),
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
            ]
        }
    if draw(st.integers(0, 3)) == 0:
        spec["activeDeadlineSeconds"] = draw(st.integers(0, 100))
    return spec


POD = st.integers(0, 9)
CRASH = st.tuples(st.integers(0, 6), st.sampled_from(["before", "after", "lost", "refused"]))
"""(which write from now on, what happens at it)."""

MEANWHILE = st.tuples(st.integers(0, 4), POD, st.sampled_from(["Succeeded", "Failed", "run", "evict"]))
"""(before which write of the look, which Pod, what it does): the world moves while the controller is in a look."""

STEP = st.one_of(
    st.tuples(st.just("run"), POD),
    st.tuples(st.just("run all"), st.none()),
    st.tuples(st.just("succeed"), POD),
    st.tuples(st.just("fail"), st.tuples(POD, CODES)),
    st.tuples(st.just("evict"), POD),
    st.tuples(st.just("wait"), st.sampled_from([0.3, 1.0, 11.0, 60.0])),
    st.tuples(st.just("suspend"), st.booleans()),
    st.tuples(st.just("parallelism"), st.integers(0, 4)),
    st.tuples(st.just("elastic"), st.integers(0, 6)),
    st.tuples(st.just("restart"), st.none()),
)
STEPS = st.lists(st.tuples(STEP, st.booleans(), st.none() | CRASH, st.none() | MEANWHILE), min_size=1, max_size=25)
"""(what happens, whether the controller looks afterwards, where it crashes, what happens meanwhile)."""


def play(world: JobWorld, steps: list[Any]) -> None:
    world.look()
    for (what, value), looks, crash, meanwhile in steps:
        step(world, what, value)
        if looks:
            began = len(world.writes)
            if crash is not None:
                world.crash = (began + crash[0], crash[1])

            def before_write(began: int = began, meanwhile: Any = meanwhile) -> None:
                if meanwhile is not None and len(world.writes) == began + meanwhile[0]:
                    move(world, pick(world, meanwhile[1]), meanwhile[2])

            world.before_write = before_write
            world.look()
            world.crash, world.before_write = None, lambda: None


def step(world: JobWorld, what: str, value: Any) -> None:
    match what:
        case "run" | "evict":
            move(world, pick(world, value), what)
        case "run all":
            for name in list(world.pods):
                move(world, name, "run")
        case "succeed":
            move(world, pick(world, value), "Succeeded")
        case "fail":
            if (name := pick(world, value[0])) is not None:
                target = [{"type": "DisruptionTarget", "status": "True"}] if value[1] == 137 else []
                world.end_pod(name, "Failed", value[1], target)
        case "wait":
            world.advance(value)
        case "suspend":
            world.edit_job(suspend=value)
        case "parallelism":
            # The server takes back a success only of a Job with as many Pods as completions: shrink first, then look.
            if all(
                index < world.job["spec"].get("completions", 99)
                for index in numbers(world.status.get("completedIndexes", ""))
            ):
                world.edit_job(parallelism=value)
        case "elastic":
            spec = world.job["spec"]
            if (
                spec.get("completionMode") == "Indexed"
                and not world.conditions()
                and "successPolicy" not in spec
                and "maxFailedIndexes" not in spec
            ):
                world.edit_job(parallelism=value, completions=value)
        case "restart":
            world.restart()


def move(world: JobWorld, name: str | None, what: str) -> None:
    if name is None:
        return
    if what == "run":
        pod = world.pods[name]
        if pod["status"]["phase"] == "Pending" and not pod["metadata"].get("deletionTimestamp"):
            world.run_pod(name)
    elif what == "evict":
        world.delete_pod(name)
    else:
        world.end_pod(name, what)


def pick(world: JobWorld, number: int) -> str | None:
    names = sorted(world.pods)
    return names[number % len(names)] if names else None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs(), STEPS)
def test_nothing_is_counted_twice_or_lost(spec, steps):
    """At each write the invariants hold; once left alone with succeeding Pods the Job ends, and the counts are exact."""
    world = JobWorld(spec)
    play(world, steps)
    if world.job["spec"].get("suspend"):
        world.edit_job(suspend=False)
    world.look()
    if not world.job["spec"]["parallelism"]:
        world.edit_job(parallelism=1)
    world.settle(lambda _pod: "Succeeded")
    assert world.broken == []
    status = world.status
    assert world.conditions()
    assert world.conditions()[-1][0] in ("Complete", "Failed")
    assert status.get("uncountedTerminatedPods") == {}
    if world.conditions()[-1] == ("Complete", "CompletionsReached"):
        assert status.get("succeeded", 0) >= (world.job["spec"].get("completions") or 0)
    if spec.get("completionMode") != "Indexed":
        assert status.get("succeeded", 0) == len(world.counted_succeeded)
    assert status.get("failed", 0) == len(world.counted_failed)
    assert [name for name, pod in world.pods.items() if pod["metadata"].get("finalizers")] == []
    writes = len(world.writes)
    world.restart()
    world.look()
    assert len(world.writes) == writes, "a finished Job is written to"
