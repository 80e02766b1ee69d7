"""podFailurePolicy, successPolicy, backoff: tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from job_builders import NOW, job, pod

from reconcile_job.plan.backoff import BackoffRecord, finished_at, remaining_seconds, remaining_seconds_of_index
from reconcile_job.plan.failure_policy import Verdict, judge
from reconcile_job.plan.indexes import Indexes
from reconcile_job.plan.success_policy import matching_rule


def policy(*rules):
    return job(podFailurePolicy={"rules": list(rules)}).spec.pod_failure_policy


def codes(action, operator, *values, container=None):
    named = {} if container is None else {"containerName": container}
    return {"action": action, "onExitCodes": {"operator": operator, "values": list(values), **named}}


def condition(action, type, status="True"):
    return {"action": action, "onPodConditions": [{"type": type, "status": status}]}


COUNTED = Verdict()


@pytest.mark.parametrize(
    ("rules", "failed", "verdict"),
    [
        ([], pod("a", "Failed", codes={"main": 1}), COUNTED),
        ([codes("Ignore", "In", 1)], pod("a", "Failed", codes={"main": 1}), Verdict(counts=False, action="Ignore")),
        ([codes("Ignore", "In", 2)], pod("a", "Failed", codes={"main": 1}), COUNTED),
        ([codes("Ignore", "NotIn", 2)], pod("a", "Failed", codes={"main": 1}), Verdict(counts=False, action="Ignore")),
        ([codes("Ignore", "NotIn", 2)], pod("a", "Failed", codes={"main": 0}), COUNTED),
        (
            [codes("Count", "In", 1), codes("Ignore", "In", 1)],
            pod("a", "Failed", codes={"main": 1}),
            Verdict(action="Count"),
        ),
        (
            [codes("FailIndex", "In", 1)],
            pod("a", "Failed", codes={"main": 1}),
            Verdict(fails_index=True, action="FailIndex"),
        ),
        ([codes("Ignore", "In", 1, container="side")], pod("a", "Failed", codes={"main": 1, "side": 2}), COUNTED),
        (
            [codes("Ignore", "In", 2, container="side")],
            pod("a", "Failed", codes={"main": 1, "side": 2}),
            Verdict(counts=False, action="Ignore"),
        ),
        (
            [codes("FailJob", "In", 3)],
            pod("a", "Failed", codes={"main": 0}, init_codes={"init": 3}),
            Verdict(
                job_failure="Container init for pod ns/p-a failed with exit code 3 matching FailJob rule at index 0",
                action="FailJob",
            ),
        ),
        (
            [codes("Ignore", "In", 9), condition("FailJob", "Config", "True")],
            pod("a", "Failed", conditions={"Config": "True"}),
            Verdict(job_failure="Pod ns/p-a has condition Config matching FailJob rule at index 1", action="FailJob"),
        ),
        ([condition("Ignore", "Config", "False")], pod("a", "Failed", conditions={"Config": "True"}), COUNTED),
        (
            [condition("Ignore", "DisruptionTarget")],
            pod("a", "Failed", conditions={"DisruptionTarget": "True"}, codes={"main": 1}),
            Verdict(counts=False, action="Ignore"),
        ),
        ([codes("Ignore", "In", 1)], pod("a", "Failed", restarts=2), COUNTED),
    ],
)
def test_the_first_rule_that_matches_decides(rules, failed, verdict):
    """Exit codes only of containers that have ended with non-zero; conditions by type and status."""
    assert judge(policy(*rules), failed, "ns") == verdict


@pytest.mark.parametrize(
    ("rules", "succeeded", "position"),
    [
        ([{"succeededIndexes": "0-2"}], [0, 1, 2], 0),
        ([{"succeededIndexes": "0-2"}], [0, 1], None),
        ([{"succeededIndexes": "0-2", "succeededCount": 2}], [0, 2], 0),
        ([{"succeededIndexes": "0-2", "succeededCount": 2}], [0, 3], None),
        ([{"succeededCount": 2}], [3, 4], 0),
        ([{"succeededCount": 2}], [3], None),
        ([{"succeededCount": 0}], [], None),
        ([{"succeededIndexes": "x"}, {"succeededIndexes": "4"}], [4], 1),
        ([{"succeededIndexes": "3-9"}], [3, 4], 0),
        ([], [0], None),
    ],
)
def test_enough_successes(rules, succeeded, position):
    """Indexes, a count of them, or a count of any; out of range is clamped, unreadable is skipped."""
    wanted = job(successPolicy={"rules": rules}).spec.success_policy
    assert matching_rule(wanted, Indexes.of(succeeded), 5) == position


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (8, 600), (10**6, 600)]
)
def test_the_delay_doubles_up_to_ten_minutes(failures, seconds):
    """10 s, 20 s, … 600 s, measured from the last failure."""
    assert remaining_seconds(failures, NOW, NOW) == seconds
    assert remaining_seconds(failures, NOW, NOW + timedelta(seconds=4)) == max(0, seconds - 4)
    assert remaining_seconds(failures, NOW, NOW + timedelta(seconds=601)) == 0


def record(succeeded, failed):
    def pods(times):
        return [pod(str(time), "Failed", codes={"main": 1}, finished=time) for time in times]

    return BackoffRecord(3, NOW).updated(pods(succeeded), pods(failed))


def test_the_record_of_failures():
    """More failures add up; a success resets; of both, only failures after the last success count."""

    def later(seconds):
        return NOW + timedelta(seconds=seconds)

    assert record([], []) == BackoffRecord(3, NOW)
    assert record([], [5, 9]) == BackoffRecord(5, later(9))
    assert record([4], []) == BackoffRecord()
    assert record([6], [5, 7, 8]) == BackoffRecord(2, later(8))
    assert record([6], [6]) == BackoffRecord()


def test_an_index_waits_for_its_own_failures():
    """The count of the failed Pod and its own failure; ignored failures wait too."""
    failed = pod("a", "Failed", index=0, counts=(1, 1), codes={"main": 1})
    assert remaining_seconds_of_index(failed, NOW) == 40
    assert remaining_seconds_of_index(None, NOW) == 0
    assert remaining_seconds_of_index(pod("a", "Failed", index=0, codes={"main": 1}), NOW) == 10


def test_when_a_pod_finished():
    """Containers, else readiness lost, else deletion asked for, else creation."""

    def later(seconds):
        return NOW + timedelta(seconds=seconds)

    assert finished_at(pod("a", "Failed", codes={"one": 1, "two": 0}, finished=7, created=1)) == later(7)
    assert finished_at(pod("a", "Failed", restarts=1, deleting=True, finished=40)) == later(10)
    assert finished_at(pod("a", "Failed", created=3)) == later(3)
    sidecar = [{"name": "side", "restartPolicy": "Always"}]
    late = pod("a", "Failed", codes={"main": 1}, init_codes={"side": 0, "plain": 0}, finished=7, initContainers=sidecar)
    assert finished_at(late) == later(7)


@pytest.mark.parametrize(
    ("grace_seconds", "deletion"),
    [
        (10**12, datetime(2149, 9, 19, 19, 13, 58, tzinfo=UTC)),  # what a real API server answered
        (2**63 - 1, datetime(2026, 11, 24, 18, 33, 37, tzinfo=UTC)),  # all but nothing is left of it after the overflow
    ],
)
def test_a_grace_period_past_all_bounds_is_taken_off_as_the_server_added_it(grace_seconds, deletion):
    """The API server admits any grace period, and its sum overflows; when the deletion was asked for is found."""
    gone = pod("a", deleting=True)
    metadata = msgspec.structs.replace(
        gone.metadata, deletion_timestamp=deletion, deletion_grace_period_seconds=grace_seconds
    )
    asked = finished_at(msgspec.structs.replace(gone, metadata=metadata))
    assert abs(asked - datetime(2026, 11, 24, 18, 33, 38, tzinfo=UTC)) <= timedelta(seconds=1)
