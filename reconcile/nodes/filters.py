"""Which Pods a drain takes off a node, which it leaves, and which forbid it. Pure.

The rules are those of ``kubectl drain``, in its order; the first that does not say "evict" decides. Unlike there, every
warning on the way is kept.

1. A Pod that has been terminating for longer than asked is left to itself.
2. A DaemonSet's Pod is refused, or left with ``ignore_daemonsets``: its controller would put it back at once. One whose
   DaemonSet is gone is refused, or evicted with ``force``. One that has ended is evicted.
3. A mirror Pod is left: the kubelet, not the API, runs it.
4. A Pod with an ``emptyDir`` loses its data: refused, or evicted with ``delete_emptydir_data``. Not one that has ended.
5. A Pod without a controller does not come back: refused, or evicted with ``force``. Not one that has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, TypeAlias

import attrs
import msgspec

from reconcile.errors import UsageError
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object
from reconcile.model.owner import controller_of
from reconcile.model.resource import Kind

MIRROR_ANNOTATION: Final = "kubernetes.io/config.mirror"
DAEMON_SET: Final = Kind("apps", "v1", "DaemonSet")


class DryRun(Enum):
    """How far a command goes: all the way, to the server without persisting, or not even there."""

    NONE = "none"
    SERVER = "server"
    CLIENT = "client"


def _zero_or_more(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value < float("inf"):
        raise UsageError(f"{type(instance).__name__}.{attribute.name} is {value!r}: want seconds ≥ 0")


def _grace(_: object, __: object, value: int | None) -> None:
    if value is not None and value < 0:
        raise UsageError(f"DrainOptions.grace_period_seconds is {value}: want seconds ≥ 0, or None for the Pod's own")


@attrs.frozen(kw_only=True)
class DrainOptions:
    """What a drain may do. Named as the flags of ``kubectl drain``.

    Attributes:
        ignore_daemonsets: leave DaemonSets' Pods where they are, instead of refusing.
        delete_emptydir_data: evict Pods although what is in their ``emptyDir`` is lost.
        force: evict Pods that nothing will put back.
        grace_period_seconds: for each Pod to end; None for its own, 0 to kill it at once.
        timeout_seconds: for the whole of one node; 0 for none.
        disable_eviction: delete instead of evicting, past all PodDisruptionBudgets.
        pod_selector: only Pods with these labels.
        skip_wait_for_delete_timeout_seconds: leave Pods that have been terminating for longer; 0 to wait for them.
        dry_run: say what would be done.
    """

    ignore_daemonsets: bool = False
    delete_emptydir_data: bool = False
    force: bool = False
    grace_period_seconds: int | None = attrs.field(default=None, validator=_grace)
    timeout_seconds: float = attrs.field(default=0.0, validator=_zero_or_more)
    disable_eviction: bool = False
    pod_selector: str = ""
    skip_wait_for_delete_timeout_seconds: float = attrs.field(default=0.0, validator=_zero_or_more)
    dry_run: DryRun = DryRun.NONE


class DaemonSetState(Enum):
    """Whether the DaemonSet that a Pod names still exists."""

    PRESENT = "present"
    MISSING = "missing"


@attrs.frozen
class Evict:
    """Take it off the node, in spite of the ``warnings``."""

    pod: Object
    warnings: tuple[str, ...] = ()


@attrs.frozen
class Leave:
    """It stays, and does not hinder the drain."""

    pod: Object
    reason: str
    is_silent: bool = False


@attrs.frozen
class Refuse:
    """It must neither go nor stay: nothing of this node is drained."""

    pod: Object
    reason: str
    way_out: str


Verdict: TypeAlias = Evict | Leave | Refuse


class _Volume(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    empty_dir: dict[str, Any] | None = None


class _Spec(msgspec.Struct, frozen=True, gc=False):
    volumes: tuple[_Volume, ...] | None = None


class _Status(msgspec.Struct, frozen=True, gc=False):
    phase: str = ""


class _PodView(msgspec.Struct, frozen=True, gc=False):
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def has_ended(self) -> bool:
        return self.status.phase in {"Succeeded", "Failed"}

    @property
    def has_local_data(self) -> bool:
        return any(volume.empty_dir is not None for volume in self.spec.volumes or ())


def daemon_set_of(pod: Object) -> ObjectKey | None:
    """The DaemonSet that controls the Pod, if one does."""
    owner = controller_of(pod)
    if owner is None or owner.kind != DAEMON_SET.kind or owner.api_version.partition("/")[0] != DAEMON_SET.group:
        return None
    return ObjectKey(pod.namespace, owner.name)


def judge(
    pod: Object, options: DrainOptions, daemon_sets: Mapping[ObjectKey, DaemonSetState], now: datetime
) -> Verdict:
    """What becomes of one Pod.

    Args:
        pod: a Pod of the node.
        options: what the drain may do.
        daemon_sets: the state of each DaemonSet that ``daemon_set_of`` names.
        now: the wall clock, UTC.

    Raises:
        DecodeError: a Pod that cannot be read.
    """
    if is_long_terminating(pod, options.skip_wait_for_delete_timeout_seconds, now):
        return Leave(pod, "terminating for longer than is waited for")
    view = pod.decode(_PodView)
    warnings: list[str] = []
    daemon_set = daemon_set_of(pod)
    if daemon_set is not None and not view.has_ended:
        if daemon_sets[daemon_set] is DaemonSetState.PRESENT:
            if options.ignore_daemonsets:
                return Leave(pod, f"managed by DaemonSet {daemon_set}")
            return Refuse(pod, f"managed by DaemonSet {daemon_set}", "--ignore-daemonsets leaves it")
        if not options.force:
            return Refuse(pod, f"its DaemonSet {daemon_set} does not exist", "--force evicts it")
        warnings.append(f"its DaemonSet {daemon_set} does not exist: it does not come back")
    if MIRROR_ANNOTATION in pod.annotations:
        return Leave(pod, "a mirror of a static Pod", is_silent=True)
    if view.has_local_data and not view.has_ended:
        if not options.delete_emptydir_data:
            return Refuse(pod, "it has local data (emptyDir)", "--delete-emptydir-data evicts it")
        warnings.append("what is in its emptyDir is lost")
    if controller_of(pod) is None and not view.has_ended:
        if not options.force:
            return Refuse(pod, "it has no controller, so nothing puts it back", "--force evicts it")
        warnings.append("it has no controller: it does not come back")
    return Evict(pod, tuple(warnings))


def is_long_terminating(pod: Object, seconds_max: float, now: datetime) -> bool:
    """Whether the Pod's grace ended more than ``seconds_max`` ago; never where that is 0."""
    until = pod.metadata.deletion_timestamp
    if not seconds_max or until is None:
        return False
    return (now - datetime.fromisoformat(until)).total_seconds() > seconds_max
