"""Drain: takes the Pods off one node, with the semantics of ``kubectl drain`` and stricter where that one slips.

Guarantees:
    * A Pod that forbids it (``filters``) stops the drain before anything is evicted, and every such Pod is named.
    * Each eviction names the Pod's uid: a Pod that takes the name of one that is gone is never evicted in its place.
    * A PodDisruptionBudget that refuses is asked again until ``timeout_seconds`` has passed, and every refusal is told.
    * Returns once every evicted Pod is gone (or terminating for longer than ``skip_wait_for_delete_timeout_seconds``).
    * What fails for one Pod does not keep the others from going; all that failed is named at the end.

Assumptions:
    The node is cordoned (``operations.cordon``), so that no new Pods come. Rights needed: list Pods, create
    ``pods/eviction`` (or delete Pods), get DaemonSets.

Caveats:
    A drain that times out leaves the node cordoned and some Pods evicted. Nothing is rolled back here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import anyio
import attrs

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    ReconcileError,
    TooManyRequestsError,
    TransportError,
)
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.resource import Kind, Resource
from reconcile.model.write import Applied, Refused, Unknown, Write
from reconcile.nodes.filters import (
    DAEMON_SET,
    DaemonSetState,
    DrainOptions,
    DryRun,
    Evict,
    Leave,
    Refuse,
    Verdict,
    daemon_set_of,
    is_long_terminating,
    judge,
)
from reconcile.nodes.listing import list_all
from reconcile.runtime.clock import SYSTEM_CLOCK, Clock

POD: Final = Kind("", "v1", "Pod")

RETRY_SECONDS: Final = 5.0
"""Between two attempts at one Pod: a budget's state changes with a Pod's readiness, which takes seconds."""

LOOK_SECONDS: Final = 1.0
"""Between two looks at what is left. One list of the node's Pods a look, however many there are."""

IN_FLIGHT_MAX: Final = 32
"""Evictions asked for at the same time: a full node (110 Pods) takes four rounds, and the API server is not flooded."""

UNANSWERED_MAX: Final = 5
"""Attempts at one Pod without an answer before the drain of that Pod counts as failed."""


class DrainError(ReconcileError):
    """A node could not be drained (in full); the text names the node and each Pod that is in the way, and why.

    Attributes:
        node: its name.
        problems: one line each.
    """

    def __init__(self, node: str, problems: Sequence[str]) -> None:
        super().__init__(f"node {node} is not drained: {'; '.join(problems)}")
        self.node = node
        self.problems = tuple(problems)


class DrainRefusedError(DrainError):
    """Pods on the node forbid it; nothing was evicted."""


@attrs.frozen
class Warned:
    """A Pod goes (or stays) in spite of something."""

    pod: ObjectKey
    text: str


@attrs.frozen
class Evicting:
    """A Pod is asked to go. ``is_dry_run``: it would be."""

    pod: ObjectKey
    is_dry_run: bool = False


@attrs.frozen
class Blocked:
    """A Pod may not go yet; it is asked again in ``retry_seconds``."""

    pod: ObjectKey
    reason: str
    retry_seconds: float


@attrs.frozen
class Gone:
    """An evicted Pod is gone, or need not be waited for any longer."""

    pod: ObjectKey


Progress: TypeAlias = Warned | Evicting | Blocked | Gone
Report: TypeAlias = Callable[[Progress], None]


async def drain(
    client: Client,
    node: str,
    options: DrainOptions = DrainOptions(),  # noqa: B008  a frozen value
    *,
    report: Report = lambda _: None,
    clock: Clock = SYSTEM_CLOCK,
) -> Sequence[ObjectKey]:
    """Take the Pods off ``node``, which is cordoned.

    Args:
        client: of the node's cluster.
        node: its name.
        options: what may be done.
        report: called with each step as it happens. It must not raise.
        clock: time and waiting.

    Returns:
        The Pods that went (or would go, in a dry run).

    Raises:
        DrainRefusedError: Pods forbid it; nothing was done.
        DrainError: some Pods did not go (in time).
        ApiError, TransportError: the node's Pods could not be listed.
    """
    work = _Drain(client, node, options, report, clock, await client.resource(POD))
    if not options.timeout_seconds:
        return await work.run()
    with anyio.move_on_after(options.timeout_seconds):
        return await work.run()
    raise DrainError(node, [*work.failures, *work.unfinished(f"after {options.timeout_seconds:g} s")])


@attrs.define(eq=False)
class _Drain:
    """One drain on its way."""

    client: Client
    node: str
    options: DrainOptions
    report: Report
    clock: Clock
    pods: Resource
    failures: list[str] = attrs.field(factory=list)
    _going: dict[str, Object] = attrs.field(factory=dict)
    """By uid: Pods that shall go and have neither gone nor failed."""
    _asked: set[str] = attrs.field(factory=set)
    """Uids of those whose eviction was accepted."""
    _hindrances: dict[str, str] = attrs.field(factory=dict)
    """By uid: why the last attempt did not succeed."""
    _went: list[ObjectKey] = attrs.field(factory=list)

    async def run(self) -> Sequence[ObjectKey]:
        verdicts = await self._verdicts()
        refused = [verdict for verdict in verdicts if isinstance(verdict, Refuse)]
        if refused:
            raise DrainRefusedError(
                self.node, [f"Pod {verdict.pod.key}: {verdict.reason} ({verdict.way_out})" for verdict in refused]
            )
        self._warn(verdicts)
        going = [verdict.pod for verdict in verdicts if isinstance(verdict, Evict)]
        if self.options.dry_run is DryRun.CLIENT:
            for pod in going:
                self.report(Evicting(pod.key, is_dry_run=True))
            return [pod.key for pod in going]
        self._going = {pod.uid: pod for pod in going}
        limiter = anyio.CapacityLimiter(IN_FLIGHT_MAX)
        async with anyio.create_task_group() as group:
            for pod in going:
                group.start_soon(self._evict, pod, limiter)
            while self._going:
                await self.clock.sleep(LOOK_SECONDS)
                if self._asked:
                    await self._look()
        if self.failures:
            raise DrainError(self.node, self.failures)
        return self._went

    def unfinished(self, when: str) -> Sequence[str]:
        """A line for each Pod that has not gone."""
        return [
            f"Pod {pod.key} is still there {when}: {self._hindrances.get(uid, 'its eviction was not answered')}"
            for uid, pod in self._going.items()
        ]

    # -- what is there --------------------------------------------------------------------------------------------

    async def _list(self) -> Sequence[Object]:
        """The node's Pods that are selected."""
        on_node, selector = f"spec.nodeName={self.node}", self.options.pod_selector
        return await list_all(self.client, self.pods, label_selector=selector, field_selector=on_node)

    async def _verdicts(self) -> Sequence[Verdict]:
        pods = await self._list()
        daemon_sets = {key: await self._daemon_set(key) for key in set(map(daemon_set_of, pods)) if key is not None}
        now = self.clock.wall()
        return [judge(pod, self.options, daemon_sets, now) for pod in pods]

    async def _daemon_set(self, key: ObjectKey) -> DaemonSetState:
        try:
            await self.client.get(await self.client.resource(DAEMON_SET), key)
        except NotFoundError:
            return DaemonSetState.MISSING
        return DaemonSetState.PRESENT

    def _warn(self, verdicts: Iterable[Verdict]) -> None:
        for verdict in verdicts:
            match verdict:
                case Evict(pod, warnings):
                    for warning in warnings:
                        self.report(Warned(pod.key, warning))
                case Leave(pod, reason, is_silent=False):
                    self.report(Warned(pod.key, f"left where it is: {reason}"))
                case Leave() | Refuse():
                    pass

    # -- taking them off ------------------------------------------------------------------------------------------

    async def _evict(self, pod: Object, limiter: anyio.CapacityLimiter) -> None:
        """Ask until the answer is final."""
        is_dry_run = self.options.dry_run is DryRun.SERVER
        self.report(Evicting(pod.key, is_dry_run=is_dry_run))
        write, unanswered = self._write(pod, is_dry_run=is_dry_run), 0
        while True:
            try:
                async with limiter:
                    outcome = await self.client.send(write)
            except TransportError as cut:
                outcome = Unknown(write, str(cut))
            match outcome:
                case Applied():
                    if is_dry_run:
                        self._gone(pod)
                    else:
                        self._asked.add(pod.uid)
                        self._hindrances[pod.uid] = "it is terminating"
                    return
                case Refused(error=error):
                    if isinstance(error, NotFoundError | ConflictError):  # gone, or another one has its name
                        self._gone(pod)
                        return
                    if self._is_terminating_with_namespace(pod, error):
                        self._asked.add(pod.uid)
                        self._hindrances[pod.uid] = "it is terminating"
                        return
                    if not _may_pass(error):
                        self._failed(pod, str(error))
                        return
                    await self._wait(pod, error.status.message, error.retry_after_seconds)
                case Unknown(reason=reason):
                    unanswered += 1
                    if unanswered >= UNANSWERED_MAX:
                        self._failed(pod, f"no answer {unanswered} times: {reason}")
                        return
                    await self._wait(pod, reason, None)

    def _write(self, pod: Object, *, is_dry_run: bool) -> Write:
        build = writes.delete if self.options.disable_eviction else writes.evict
        grace = self.options.grace_period_seconds
        return build(self.pods, pod.key, uid=pod.uid, grace_period_seconds=grace, dry_run=is_dry_run)

    async def _wait(self, pod: Object, reason: str, asked_seconds: float | None) -> None:
        seconds = RETRY_SECONDS if asked_seconds is None else max(asked_seconds, LOOK_SECONDS)
        self._hindrances[pod.uid] = reason
        self.report(Blocked(pod.key, reason, seconds))
        await self.clock.sleep(seconds)

    @staticmethod
    def _is_terminating_with_namespace(pod: Object, error: ApiError) -> bool:
        return pod.is_deleting and _says_namespace_terminating(error)

    async def _look(self) -> None:
        """Find out which of the evicted Pods are gone. A look that fails is made again: it changes nothing."""
        try:
            present = {pod.uid: pod for pod in await self._list()}
        except (TransportError, TooManyRequestsError) as error:
            for uid in self._asked:
                self._hindrances[uid] = str(error)
            return
        now, seconds = self.clock.wall(), self.options.skip_wait_for_delete_timeout_seconds
        for uid in tuple(self._asked):
            pod = present.get(uid)
            if pod is None or is_long_terminating(pod, seconds, now):
                self._gone(self._going[uid])

    def _gone(self, pod: Object) -> None:
        self._forget(pod)
        self._went.append(pod.key)
        self.report(Gone(pod.key))

    def _failed(self, pod: Object, reason: str) -> None:
        self._forget(pod)
        self.failures.append(f"Pod {pod.key}: {reason}")

    def _forget(self, pod: Object) -> None:
        self._asked.discard(pod.uid)
        self._going.pop(pod.uid, None)


def _may_pass(error: ApiError) -> bool:
    """Whether the same request may succeed later: a budget that is spent, or a namespace that is going."""
    return isinstance(error, TooManyRequestsError) or _says_namespace_terminating(error)


def _says_namespace_terminating(error: ApiError) -> bool:
    details = error.status.details
    if not isinstance(error, ForbiddenError) or details is None:
        return False
    return any(cause.reason == "NamespaceTerminating" for cause in details.causes or ())
