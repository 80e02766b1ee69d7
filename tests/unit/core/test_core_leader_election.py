from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconcile.core.leader_election import (
    Election,
    LeaderElectionConfig,
    Read,
    State,
    Stop,
    Wait,
    Write,
)
from reconcile.core.lease_record import RELEASED_ANNOTATION
from reconcile.errors import LeaseLostError, UsageError
from reconcile.model.object import from_plain

WALL = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONFIG = LeaderElectionConfig("lease", "default", "me")


def lease(version="1", annotations=None, **spec):
    metadata = {"name": "lease", "namespace": "default", "uid": "u", "resourceVersion": version}
    if annotations is not None:
        metadata["annotations"] = annotations
    return from_plain({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})


def stored(write, version):
    body = write.lease.to_dict()
    body["metadata"].update(uid="u", resourceVersion=version)
    return from_plain(body)


def leader(config=CONFIG):
    """An election that leads since 100.0 by a Write that was sent at 99.0."""
    election = Election(config)
    assert election.next(0.0, WALL) == Read()
    election.seen(lease(holderIdentity="other", leaseTransitions=4), 0.0, 0.0)
    while not isinstance(effect := election.next(99.0, WALL), Write):
        assert isinstance(effect, Read)
        election.seen(lease(holderIdentity="other", leaseTransitions=4), 99.0, 0.0)
    election.confirmed(stored(effect, "2"), 99.0, 100.0, 0.0)
    return election


def test_another_holders_lease_is_waited_for_from_when_it_was_last_seen_to_change():
    """A change restarts the wait; unchanged for the whole duration it is taken, one transition further."""
    election = Election(CONFIG)
    now = 0.0
    election.seen(lease("1", holderIdentity="other", leaseTransitions=4), now, 0.0)
    now = 14.0
    election.seen(lease("2", holderIdentity="other", leaseTransitions=4), now, 0.0)
    assert election.next(now, WALL) == Wait(16.0)
    for now in (16.0, 18.0, 20.0, 22.0, 24.0, 26.0):
        assert election.next(now, WALL) == Read()
        election.seen(lease("2", holderIdentity="other", leaseTransitions=4), now, 0.0)
    assert election.next(28.0, WALL) == Read()
    election.seen(lease("2", holderIdentity="other", leaseTransitions=4), 28.0, 0.0)
    assert election.next(28.9, WALL) == Wait(29.0)
    effect = election.next(29.0, WALL)
    assert isinstance(effect, Write)
    assert not effect.create
    assert effect.lease.resource_version == "2"
    assert effect.lease.field("spec") == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-02T03:04:05.000000Z",
        "renewTime": "2026-01-02T03:04:05.000000Z",
        "leaseTransitions": 5,
    }
    assert not election.is_leading(29.0)
    election.confirmed(stored(effect, "3"), 29.0, 29.5, 0.0)
    assert election.is_leading(29.5)
    assert election.fencing_token == 5


def test_a_missing_lease_is_made_as_nobodys_and_then_waited_for():
    """Its deleter does not make two leaders: the old one may not have noticed yet."""
    election = Election(CONFIG)
    election.seen(None, 0.0, 0.0)
    effect = election.next(0.0, WALL)
    assert isinstance(effect, Write)
    assert effect.create
    assert effect.lease.field("spec") == {}
    election.confirmed(stored(effect, "1"), 0.0, 1.0, 0.0)
    assert election.state is State.FOLLOWING
    assert isinstance(election.next(1.0, WALL), Wait)
    assert not election.is_leading(1.0)


def test_the_deadline_counts_from_sending_and_ends_leading_by_itself():
    """Sent at 99, answered at 100, 10 s long: over at 109, for check, for is_leading and for next."""
    election = leader()
    assert election.is_leading(108.999)
    assert not election.is_leading(109.0)
    with pytest.raises(LeaseLostError, match=r"default/lease: me does not lead \(not renewed in time, 1\.000 s late\)"):
        election.check(110.0)
    assert election.next(109.0, WALL) == Stop("not renewed in 10 s")
    assert election.state is State.LOST
    assert election.fencing_token is None


def test_a_leader_renews_and_its_deadline_moves_on():
    """Same transitions, same time of acquisition."""
    election = leader()
    assert election.next(100.0, WALL) == Wait(101.0)
    effect = election.next(101.0, WALL)
    assert isinstance(effect, Write)
    election.confirmed(stored(effect, "3"), 101.0, 104.0, 0.0)
    assert (election.deadline, election.fencing_token) == (111.0, 5)


def test_an_unanswered_renewal_does_not_count_even_if_the_lease_shows_it():
    """The Lease is read, found ours, and written again; until that is confirmed the old deadline holds."""
    election = leader()
    effect = election.next(101.0, WALL)
    election.unanswered(105.0, 0.0)
    assert election.next(106.0, WALL) == Read()
    election.seen(stored(effect, "3"), 106.0, 0.0)
    assert election.deadline == 109.0
    again = election.next(106.0, WALL)
    assert isinstance(again, Write)
    assert again.lease.resource_version == "3"
    election.confirmed(stored(again, "4"), 106.0, 107.0, 0.0)
    assert election.deadline == 116.0


@pytest.mark.parametrize(
    "found",
    [
        None,
        lease("9", holderIdentity="other", leaseTransitions=6),
        lease("9", holderIdentity="", leaseTransitions=5),
        lease("9", holderIdentity="me", leaseTransitions=6, acquireTime="2026-01-02T03:04:05Z"),
        lease("9", holderIdentity="me", leaseTransitions=5, acquireTime="2026-01-02T03:04:06Z"),
        lease("9"),
    ],
)
def test_a_leader_that_sees_the_lease_is_not_as_it_wrote_it_stops_at_once(found):
    """Gone, another's, nobody's, or a namesake's: not at the deadline, now."""
    election = leader()
    election.next(101.0, WALL)
    election.refused(101.1, 0.0)
    assert election.next(101.1, WALL) == Read()
    election.seen(found, 101.2, 0.0)
    assert not election.is_leading(101.2)
    stop = election.next(101.2, WALL)
    assert isinstance(stop, Stop)
    assert "lease is" in stop.lost


def test_an_edit_beside_the_point_costs_a_leader_a_read_and_nothing_else():
    """A label, or the server's own way to write the time."""
    election = leader()
    effect = election.next(101.0, WALL)
    election.refused(101.1, 0.0)
    election.next(101.1, WALL)
    body = stored(effect, "9").to_dict()
    body["metadata"]["labels"] = {"a": "b"}
    body["spec"] |= {"acquireTime": "2026-01-02T03:04:05Z", "strategy": "kept"}
    election.seen(from_plain(body), 101.2, 0.0)
    again = election.next(101.2, WALL)
    assert isinstance(again, Write)
    assert again.lease.labels == {"a": "b"}
    assert again.lease.field("spec")["strategy"] == "kept"


def test_an_acquisition_whose_answer_was_lost_is_recognised_and_confirmed_before_leading():
    """Its transitions and time say that it was this process; the old name alone would not."""
    election = Election(CONFIG)
    election.seen(lease("1", holderIdentity="other", leaseTransitions=4), 0.0, 0.0)
    election.next(14.0, WALL)
    election.seen(lease("1", holderIdentity="other", leaseTransitions=4), 14.0, 0.0)
    effect = election.next(15.0, WALL)
    assert isinstance(effect, Write)
    election.unanswered(20.0, 0.0)
    assert not election.is_leading(20.0)
    election.next(22.0, WALL)
    election.seen(stored(effect, "2"), 22.0, 0.0)
    assert not election.is_leading(22.0)
    again = election.next(22.0, WALL)
    assert isinstance(again, Write)
    assert again.lease.field("spec")["leaseTransitions"] == 5
    election.confirmed(stored(again, "3"), 22.0, 23.0, 0.0)
    assert election.is_leading(23.0)


def test_the_own_name_of_an_earlier_life_is_waited_for():
    """A restarted process with the same identity does not lead by what it did not write."""
    election = Election(CONFIG)
    election.seen(lease("1", holderIdentity="me", leaseTransitions=4), 0.0, 0.0)
    assert isinstance(election.next(0.0, WALL), Wait)


def test_a_released_lease_is_free_and_one_whose_holder_was_cleared_is_not():
    """The mark must fit the transitions; client-go's release carries none and is waited for."""
    for marks, free in ((None, False), ({RELEASED_ANNOTATION: "3"}, False), ({RELEASED_ANNOTATION: "4"}, True)):
        election = Election(CONFIG)
        election.seen(lease("1", marks, holderIdentity="", leaseTransitions=4), 0.0, 0.0)
        effect = election.next(0.0, WALL)
        assert isinstance(effect, Write) == free
        if free:
            assert RELEASED_ANNOTATION not in effect.lease.annotations


def test_releasing_closes_the_gate_first_and_then_marks_the_lease():
    """Whatever becomes of the request, this process leads no more."""
    election = leader()
    election.release()
    assert not election.is_leading(100.5)
    with pytest.raises(LeaseLostError, match="releasing"):
        election.check(100.5)
    effect = election.next(100.5, WALL)
    assert isinstance(effect, Write)
    assert effect.lease.field("spec")["holderIdentity"] == ""
    assert effect.lease.annotations[RELEASED_ANNOTATION] == "5"
    election.confirmed(stored(effect, "3"), 100.5, 100.6, 0.0)
    assert election.next(100.6, WALL) == Stop(None)


@pytest.mark.parametrize("trouble", ["deadline", "taken", "never led"])
def test_releasing_ends_even_where_nothing_can_be_released(trouble):
    """The deadline passes, somebody else has it, or there was nothing."""
    election = Election(CONFIG) if trouble == "never led" else leader()
    election.release()
    if trouble == "deadline":
        assert isinstance(election.next(100.5, WALL), Write)
        election.unanswered(105.0, 0.0)
        assert isinstance(election.next(105.0, WALL), Wait)
        assert election.next(109.0, WALL) == Stop(None)
    elif trouble == "taken":
        election.next(100.5, WALL)
        election.refused(100.6, 0.0)
        assert election.next(100.6, WALL) == Read()
        election.seen(lease("9", holderIdentity="other", leaseTransitions=6), 100.7, 0.0)
        assert election.next(100.7, WALL) == Stop(None)
    else:
        assert election.next(100.5, WALL) == Stop(None)


@pytest.mark.parametrize("written", [0, -1, 2**31, 1, "15", None, True])
def test_a_duration_in_the_lease_never_shortens_the_wait(written):
    """Nor makes it endless."""
    election = Election(CONFIG)
    found = lease("1", holderIdentity="other", leaseDurationSeconds=written)
    election.seen(found, 0.0, 0.0)
    election.seen(found, 14.9, 0.0)
    assert election.next(14.9, WALL) == Wait(15.0)


def test_a_longer_duration_in_the_lease_is_respected():
    """Its holder may have been configured so."""
    election = Election(CONFIG)
    found = lease("1", holderIdentity="other", leaseDurationSeconds=60)
    election.seen(found, 0.0, 0.0)
    election.seen(found, 59.0, 0.0)
    assert election.next(59.0, WALL) == Wait(60.0)


def test_transitions_that_cannot_be_counted_further_stay_legal():
    """leaseTransitions is an int32."""
    election = Election(CONFIG)
    election.seen(lease("1", holderIdentity="other", leaseTransitions=2**31 - 1), 0.0, 0.0)
    election.seen(lease("1", holderIdentity="other", leaseTransitions=2**31 - 1), 15.0, 0.0)
    effect = election.next(15.0, WALL)
    assert effect.lease.field("spec")["leaseTransitions"] == 2**31 - 1


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ({"identity": ""}, "must not be empty"),
        ({"name": "My App"}, "lease default/My App: want the name of a Lease"),
        ({"name": "a" * 254}, "at most 253 lower-case letters"),
        ({"namespace": "team.a"}, "lease team.a/lease: want"),
        ({"lease_seconds": 0.5}, "lease_seconds is 0.5"),
        ({"lease_seconds": 10.0}, "two could lead at once"),
        ({"retry_seconds": 6.0}, "retry_seconds is 6.0"),
        ({"renew_deadline_seconds": float("nan")}, "renew_deadline_seconds is nan"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(numbers, match):
    """The error names the Lease, the field and what is wanted."""
    with pytest.raises(UsageError, match=match):
        LeaderElectionConfig(**{"name": "lease", "namespace": "default", "identity": "me", **numbers})
