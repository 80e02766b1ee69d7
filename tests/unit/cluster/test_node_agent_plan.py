"""What the node agent does with a Pod's containers, moment by moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconcile.cluster.node_agent.plan import Moment, Plan, RestartDelays, plan
from reconcile.cluster.node_agent.view import ContainerRecord, PodSpec, PodView, records_of
from reconcile.cluster.runtimes.runtime import ContainerPhase, ContainerStatus
from reconcile.model.json import convert

START = datetime(2026, 1, 1, tzinfo=UTC)
DELAYS = RestartDelays()


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def running() -> ContainerRecord:
    return ContainerRecord(ContainerStatus("1", ContainerPhase.RUNNING, START))


def exited(code: int, *, streak: int = 0) -> ContainerRecord:
    return ContainerRecord(ContainerStatus("1", ContainerPhase.EXITED, START, START, code), streak=streak)


def absent() -> ContainerRecord:
    return ContainerRecord()


def spec(policy: str = "Never", initial: tuple[str, ...] = (), **fields: Any) -> PodSpec:
    """Containers ``a`` and ``b``; init containers by name, of which ``s…`` are sidecars."""
    steps = [{"name": name, "restartPolicy": "Always" if name.startswith("s") else ""} for name in initial]
    return convert(
        {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": steps, "restartPolicy": policy, **fields},
        PodSpec,
    )


def decide(of: PodSpec, records: dict[str, ContainerRecord], seconds: float = 0.0, **fields: Any) -> Plan:
    everything = {container.name: absent() for container in of.everything} | records
    return plan(Moment(of, everything, START, at(seconds), **fields), DELAYS)


def test_a_new_pod_starts_all_its_containers() -> None:
    """They do not wait for each other."""
    decided = decide(spec(), {})
    assert (decided.start, decided.phase) == (("a", "b"), "Pending")


def test_init_containers_run_one_after_the_other() -> None:
    """The next one starts when the one before has succeeded; the containers come last."""
    steps = spec(initial=("i", "j"))
    assert decide(steps, {}).start == ("i",)
    assert decide(steps, {"i": running()}).start == ()
    assert decide(steps, {"i": exited(0)}).start == ("j",)
    assert decide(steps, {"i": exited(0), "j": exited(0)}).start == ("a", "b")


def test_a_failed_init_container_fails_a_pod_that_restarts_nothing() -> None:
    """With another policy it is tried again."""
    assert decide(spec(initial=("i",)), {"i": exited(1)}).phase == "Failed"
    assert decide(spec("OnFailure", initial=("i",)), {"i": exited(1)}).start == ("i",)


def test_a_sidecar_is_waited_for_until_it_has_started_only() -> None:
    """Then the next step begins beside it."""
    steps = spec(initial=("s", "i"))
    assert decide(steps, {}).start == ("s",)
    assert decide(steps, {"s": running()}).start == ("i",)


def test_a_sidecar_restarts_while_the_pod_runs_and_ends_with_it() -> None:
    """Whatever the Pod's policy."""
    steps = spec(initial=("s",))
    assert decide(steps, {"s": exited(1), "a": running(), "b": running()}).start == ("s",)
    over = decide(steps, {"s": running(), "a": exited(0), "b": exited(0)})
    assert (over.start, over.stop, over.phase) == ((), ("s",), "Running")
    assert decide(steps, {"s": exited(143), "a": exited(0), "b": exited(0)}).phase == "Succeeded"


ENDS = [
    ("Never", 0, 0, "Succeeded", ()),
    ("Never", 0, 1, "Failed", ()),
    ("OnFailure", 0, 0, "Succeeded", ()),
    ("OnFailure", 0, 1, "Running", ("b",)),
    ("Always", 0, 0, "Running", ("a", "b")),
]


@pytest.mark.parametrize(("policy", "first", "second", "phase", "started"), ENDS)
def test_the_policy_decides_what_an_exit_means(
    policy: str, first: int, second: int, phase: str, started: tuple[str, ...]
) -> None:
    """Restarted at once the first time."""
    decided = decide(spec(policy), {"a": exited(first), "b": exited(second)})
    assert (decided.phase, decided.start) == (phase, started)


@pytest.mark.parametrize(("streak", "seconds"), [(1, 10), (2, 20), (5, 160), (6, 300), (5000, 300)])
def test_restarts_wait_longer_each_time(streak: int, seconds: float) -> None:
    """10 s, doubled up to 5 min; counted from the exit."""
    records = {"a": exited(1, streak=streak), "b": running()}
    early = decide(spec("Always"), records, seconds - 1)
    assert (early.start, dict(early.waiting), early.wake_seconds) == ((), {"a": seconds}, 1)
    assert decide(spec("Always"), records, seconds).start == ("a",)


def test_what_the_runtime_refused_is_tried_again_later() -> None:
    """After ten seconds, and the Pod is pending so long."""
    refused = ContainerRecord(refused=("CreateContainerError", "no"), refused_at=START)
    decided = decide(spec("Always"), {"a": refused, "b": running()}, 4)
    assert (decided.start, decided.wake_seconds, decided.phase) == ((), 6, "Pending")
    assert decide(spec("Always"), {"a": refused, "b": running()}, 10).start == ("a",)


def test_a_pod_past_its_deadline_is_stopped_and_then_failed() -> None:
    """The end is settled when it begins: an exit with 0 on SIGTERM does not make it a success."""
    late = spec(activeDeadlineSeconds=5, terminationGracePeriodSeconds=7)
    assert decide(late, {"a": running(), "b": running()}, 4).wake_seconds == 1
    stopping = decide(late, {"a": running(), "b": exited(0)}, 5)
    assert (stopping.stop, stopping.grace_seconds, stopping.reason) == (("a",), 7, "DeadlineExceeded")
    settled = (stopping.reason, stopping.message)
    ended = decide(late, {"a": exited(0), "b": exited(0)}, 6, failure=settled)
    assert (ended.phase, ended.reason) == ("Failed", "DeadlineExceeded")


def test_a_pod_that_is_over_has_no_deadline() -> None:
    """What has succeeded in time stays so while its sidecars end."""
    late = spec(initial=("s",), activeDeadlineSeconds=5)
    decided = decide(late, {"s": running(), "a": exited(0), "b": exited(0)}, 9)
    assert (decided.stop, decided.reason) == (("s",), "")


def test_a_deleted_pod_starts_nothing_and_ends_when_nothing_runs() -> None:
    """By its containers' exits, whatever its policy."""
    always = spec("Always")
    stopping = decide(always, {"a": running()}, deletion_grace_seconds=3)
    assert (stopping.start, stopping.stop, stopping.grace_seconds) == ((), ("a",), 3)
    assert decide(always, {"a": exited(0), "b": exited(0)}, deletion_grace_seconds=3).phase == "Succeeded"
    assert decide(always, {}, deletion_grace_seconds=3).phase == "Failed"


def test_a_new_agent_takes_running_containers_for_lost() -> None:
    """As a kubelet that does not find them: killed, for a reason of its own; what had ended stays as it was."""
    terminated = {"exitCode": 3, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"}
    statuses = [
        {"name": "a", "restartCount": 2, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}},
        {"name": "b", "state": {"terminated": terminated}},
    ]
    view = convert(
        {"spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": {"containerStatuses": statuses}}, PodView
    )
    records = records_of(view, at(5))
    lost, done = records["a"].current, records["b"].current
    assert lost is not None
    assert done is not None
    assert (lost.exit_code, lost.reason, records["a"].restarts) == (137, "ContainerStatusUnknown", 2)
    assert (done.exit_code, done.finished_at) == (3, at(1))
