"""Candidates with bad clocks, pauses, lost and late requests and meddling users: never two of them may write.

Each seed is one run of a discrete-event simulation in true time. A candidate sees only its own clock (another offset,
up to 10 % fast or slow) and does nothing while paused. After every event and at extra moments the run asks all
candidates that are awake whether they may write.
"""

from __future__ import annotations

import heapq
import os
import random
from datetime import UTC, datetime, timedelta

import pytest

from reconcile.core.leader_election import Election, LeaderElectionConfig, Read, State, Stop, Wait, Write
from reconcile.model.object import Object, from_plain

SEEDS = int(os.environ.get("RECONCILE_ELECTION_SEEDS", "1000"))
"""A long run sets more."""
SECONDS = 150.0


class Store:
    """One Lease with optimistic concurrency, as the API server keeps it."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 0
        self.uid = 0

    def put(self, body: dict, *, create: bool) -> Object | None:
        """The stored Lease, or None for a conflict."""
        metadata = body["metadata"]
        if create:
            if self.lease is not None:
                return None
            self.uid += 1
            metadata = {**metadata, "uid": f"u{self.uid}"}
        elif (
            self.lease is None
            or metadata["resourceVersion"] != self.lease.resource_version
            or metadata["uid"] != self.lease.uid
        ):
            return None
        self.version += 1
        self.lease = from_plain({**body, "metadata": {**metadata, "resourceVersion": str(self.version)}})
        return self.lease


class Candidate:
    def __init__(self, name: str, rng: random.Random, config: LeaderElectionConfig) -> None:
        self.name = name
        self.config = config
        self.election = Election(config)
        self.offset = rng.uniform(0, 1e5)
        self.rate = rng.uniform(0.9, 1.1)
        self.paused_until = 0.0
        self.stopped = False

    def local(self, now: float) -> float:
        return self.offset + self.rate * now

    def may_write(self, now: float) -> bool:
        return now >= self.paused_until and not self.stopped and self.election.is_leading(self.local(now))


class Simulation:
    def __init__(self, seed: int, *, faults: bool = True, meddling: bool = False, clones: bool = False) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.events: list[tuple[float, int, object]] = []
        self.sequence = 0
        self.store = Store()
        self.faults = faults
        self.led: dict[str, float] = {}
        self.log: list[str] = []
        count = self.rng.randint(2, 3)
        self.candidates = []
        for i in range(count):
            config = LeaderElectionConfig("l", "n", "clone" if clones else f"c{i}", 6.0, 4.0, 1.0)
            self.candidates.append(Candidate(f"c{i}", self.rng, config))
        for candidate in self.candidates:
            self.at(self.rng.uniform(0, 5), lambda candidate=candidate: self.step(candidate))
            if faults:
                self.at(self.rng.uniform(3, 40), lambda candidate=candidate: self.pause(candidate))
        if meddling:
            self.at(self.rng.uniform(2, 20), self.meddle)

    def at(self, when: float, action) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (when, self.sequence, action))

    def run(self) -> None:
        while self.events and self.events[0][0] <= SECONDS:
            when, _, action = heapq.heappop(self.events)
            for moment in (self.now + (when - self.now) * self.rng.random(), when):
                self.now = moment
                self.check()
            action()
            self.check()

    def check(self) -> None:
        writers = [candidate.name for candidate in self.candidates if candidate.may_write(self.now)]
        for name in writers:
            self.led.setdefault(name, self.now)
        assert len(writers) <= 1, f"{writers} may write at {self.now:.3f}\n" + "\n".join(self.log[-30:])

    def tell(self, candidate: Candidate, text: str) -> None:
        self.log.append(f"{self.now:8.3f} {candidate.name} {text} {candidate.election!r}")

    def awake(self, candidate: Candidate, action) -> None:
        """Do it now, or when the candidate wakes."""
        if self.now < candidate.paused_until:
            self.at(candidate.paused_until, lambda: self.awake(candidate, action))
        elif not candidate.stopped:
            action()

    def pause(self, candidate: Candidate) -> None:
        candidate.paused_until = self.now + self.rng.choice([0.5, 3.0, 7.0, 20.0, 60.0]) * self.rng.random()
        self.tell(candidate, f"paused until {candidate.paused_until:.3f}")
        self.at(candidate.paused_until + self.rng.uniform(1, 40), lambda: self.pause(candidate))

    def meddle(self) -> None:
        rng, lease = self.rng, self.store.lease
        action = rng.randrange(6)
        if lease is not None:
            if action == 0:
                self.store.lease = None
            else:
                body = lease.to_dict()
                spec = body["spec"] if isinstance(body.get("spec"), dict) else {}
                if action == 1:
                    spec["holderIdentity"] = rng.choice(
                        ["", "stranger", *(one.config.identity for one in self.candidates)]
                    )
                elif action == 2:
                    spec["leaseDurationSeconds"] = rng.choice([0, -1, 1, 2**31, "garbage", None])
                elif action == 3:
                    spec["renewTime"] = rng.choice(
                        ["garbage", "", None, "9999-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z"]
                    )
                elif action == 4:
                    spec["leaseTransitions"] = rng.choice([-1, 0, 2**31 - 1, 2**40, "garbage", None])
                else:
                    spec = rng.choice([None, {}, "garbage", []])
                self.store.put({**body, "spec": spec}, create=False)
            self.log.append(f"{self.now:8.3f} user: {action} → {self.store.lease and self.store.lease.field('spec')}")
        self.at(self.now + rng.choice([0.2, 3.0, 20.0]) * rng.random(), self.meddle)

    def delay(self) -> float:
        if not self.faults or self.rng.random() < 0.9:
            return self.rng.uniform(0.001, 0.05)
        return self.rng.uniform(0.0, 10.0)

    def step(self, candidate: Candidate) -> None:
        """Ask the machine, as the runtime does."""
        local = candidate.local(self.now)
        effect = candidate.election.next(local, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=local))
        match effect:
            case Wait(until):
                true = self.now + max(0.0, until - local) / candidate.rate
                self.at(true, lambda: self.awake(candidate, lambda: self.step(candidate)))
            case Stop(lost):
                self.tell(candidate, f"stop: {lost}")
                candidate.stopped = True
                if lost is not None:  # its supervisor starts it anew
                    candidate.election = Election(candidate.config)
                    candidate.stopped = False
                    self.at(
                        self.now + self.rng.uniform(0.1, 3), lambda: self.awake(candidate, lambda: self.step(candidate))
                    )
            case Read():
                self.send(candidate, local, effect)
            case Write():
                self.send(candidate, local, effect)

    def send(self, candidate: Candidate, sent: float, effect: Read | Write) -> None:
        """A request, its execution (perhaps after nobody waits for it any more), and its answer or the lack of it."""
        self.tell(candidate, f"sends {type(effect).__name__}")
        election, answered = candidate.election, []

        def once(report) -> None:
            if not answered and candidate.election is election:
                answered.append(True)
                report(candidate.local(self.now), self.rng.random())
                self.tell(candidate, "knows")
                self.check()
                self.step(candidate)

        def executed() -> None:
            match effect:
                case Read():
                    found = self.store.lease
                    answer = lambda now, chance: election.seen(found, now, chance)  # noqa: E731
                case Write(lease, create):
                    stored = self.store.put(lease.to_dict(), create=create)
                    if stored is None:
                        answer = election.refused
                    else:
                        answer = lambda now, chance: election.confirmed(stored, sent, now, chance)  # noqa: E731
            if not (self.faults and self.rng.random() < 0.1):
                self.at(self.now + self.delay(), lambda: self.awake(candidate, lambda: once(answer)))

        if not (self.faults and self.rng.random() < 0.05):
            late = self.rng.uniform(0, 30) if self.faults and self.rng.random() < 0.03 else self.delay()
            self.at(self.now + late, executed)
        timeout = self.now + candidate.config.request_seconds_max / candidate.rate
        self.at(timeout, lambda: self.awake(candidate, lambda: once(election.unanswered)))


@pytest.mark.parametrize("block", range(4))
def test_two_candidates_never_may_write_at_the_same_time(block):
    """Pauses up to 60 s, clock rates ±10 %, delays up to 10 s, lost requests, lost answers, requests that land late."""
    led = 0
    for seed in range(block * SEEDS // 4, (block + 1) * SEEDS // 4):
        simulation = Simulation(seed)
        simulation.run()
        led += bool(simulation.led)
    assert led > 0.9 * SEEDS / 4, "most runs must have had a leader, or they prove nothing"


@pytest.mark.parametrize("clones", [False, True])
def test_whatever_stands_in_the_lease_two_candidates_never_may_write_at_the_same_time(clones):
    """Users delete it, clear or change the holder, write impossible durations, times and counts; also with one name."""
    for seed in range(SEEDS // 4):
        Simulation(1_000_000 + seed, meddling=True, clones=clones).run()


def test_without_faults_somebody_leads_soon_and_stays():
    """The first leader comes one lease (and a little) after the start, and nobody else ever leads."""
    for seed in range(20):
        simulation = Simulation(seed, faults=False)
        simulation.run()
        assert len(simulation.led) == 1
        assert next(iter(simulation.led.values())) < 5 + 6 / 0.9 + 2 * 1.0 / 0.9 + 1


def test_a_killed_leader_is_replaced_within_a_lease_and_two_retries():
    """By the follower's clock, however slow."""
    for seed in range(50):
        simulation = Simulation(seed, faults=False)
        killed = []

        def kill(simulation=simulation, killed=killed) -> None:
            leader = next(one for one in simulation.candidates if one.may_write(simulation.now))
            leader.stopped = True
            killed.append(simulation.now)
            simulation.led.clear()

        simulation.at(40.0, kill)
        simulation.run()
        (started,) = simulation.led.values()
        assert started - killed[0] < (6 + 2 * 1.0) / 0.9 + 0.2


def test_a_released_lease_is_taken_at_once():
    """The follower's next look finds the mark; it need not wait for the lease to run out."""
    for seed in range(50):
        simulation = Simulation(seed, faults=False)
        released = []

        def release(simulation=simulation, released=released) -> None:
            leader = next(one for one in simulation.candidates if one.may_write(simulation.now))
            leader.election.release()
            assert not leader.may_write(simulation.now)
            released.append(simulation.now)
            simulation.led.clear()

        simulation.at(40.0, release)
        simulation.run()
        (started,) = simulation.led.values()
        assert started - released[0] < 1.0 + 2 * 1.5 / 0.9 + 0.2
        assert sum(one.election.state is State.RELEASED for one in simulation.candidates) == 1


def test_an_election_that_counts_from_the_answer_is_caught():
    """The simulation finds the classic mistake: a deadline counted from when the answer came."""

    class Mistaken(Election):
        def confirmed(self, lease, sent, now, random):
            super().confirmed(lease, now, now, random)

    def run_all() -> None:
        for seed in range(SEEDS):
            simulation = Simulation(seed)
            for candidate in simulation.candidates:
                candidate.election = Mistaken(candidate.config)
            simulation.run()

    with pytest.raises(AssertionError, match="may write at"):
        run_all()
