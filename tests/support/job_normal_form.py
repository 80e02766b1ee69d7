"""The normal form of a Job and its Pods: what two controllers that behave alike must agree on.

Guarantees: everything that the API server shows is compared, except what no two runs can have in common. That is
replaced: times by the step in which the field got its value, uids and generated names by words; and left out:
``managedFields``, ``resourceVersion`` and ``generateName``. Nothing else is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

Json = dict[str, Any]

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LEFT_OUT = ("managedFields", "resourceVersion", "generateName")


@attrs.define
class Words:
    """What stands for the uids, names and times of one case on one server.

    Attributes:
        step: the number of the step that is under way.
    """

    step: int = 0
    _names: dict[str, str] = attrs.field(factory=dict)
    _times: dict[tuple[str, str], tuple[str, int]] = attrs.field(factory=dict)

    def learn(self, kind: str, meta: Json) -> None:
        """An object was seen. A Pod whose name was generated is known as ``POD`` from now on."""
        self._names.setdefault(meta["uid"], f"{kind.upper()}-UID")
        if kind == "Pod" and not meta["name"].startswith("stray-"):
            self._names.setdefault(meta["name"], "POD")

    def text(self, text: str) -> str:
        """The text without uids, times and generated names. Of a refused object the uid was never seen elsewhere."""
        for name in (name for name in self._names if name in text):
            text = text.replace(name, self._names[name])
        return TIME.sub("TIME", UID.sub("UID", text))

    def normal(self, obj: Json) -> Json:
        """The object without what is peculiar to this server."""
        normal: Json = self._normal(obj, "", obj["metadata"]["uid"])
        return normal

    def _normal(self, value: Any, path: str, uid: str) -> Any:
        match value:
            case dict():
                return {
                    name: self._normal(item, f"{path}.{name}", uid)
                    for name, item in value.items()
                    if name not in LEFT_OUT
                }
            case list():
                return [self._normal(item, f"{path}[{at}]", uid) for at, item in enumerate(value)]
            case str() if TIME.fullmatch(value):
                known = self._times.get((uid, path))
                if known is None or known[0] != value:
                    known = self._times[uid, path] = (value, self.step)
                return f"since step {known[1]}"
            case str():
                return self.text(value)
            case _:
                return value


def sort_key(pod: Json) -> tuple[int, str]:
    """Orders normal forms of Pods: by index, then anyhow, but everywhere alike."""
    index = (pod["metadata"].get("annotations") or {}).get("batch.kubernetes.io/job-completion-index", "")
    return int(index) if index.isdigit() else -1, json.dumps(pod, sort_keys=True)


@attrs.frozen
class Difference:
    """One place in which the two disagree; None where it has nothing there."""

    path: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        return f"{self.path}: kube-controller-manager {self.theirs!r}, ours {self.ours!r}"


def differences(theirs: Json, ours: Json) -> list[Difference]:
    """Where two normal forms of a case (``job``, ``pods``, …) disagree."""
    rest_theirs, rest_ours = _unpaired(theirs["pods"], ours["pods"])
    return [
        *_compare("", {**theirs, "pods": len(theirs["pods"])}, {**ours, "pods": len(ours["pods"])}),
        *_compare("pods", rest_theirs, rest_ours),
    ]


def _unpaired(theirs: Iterable[Json], ours: Iterable[Json]) -> tuple[list[Json], list[Json]]:
    """The Pods that the other side has none like."""
    left, right = sorted(theirs, key=sort_key), sorted(ours, key=sort_key)
    for pod in tuple(left):
        if pod in right:
            left.remove(pod)
            right.remove(pod)
    return left, right


def _compare(path: str, theirs: Any, ours: Any) -> Iterator[Difference]:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for name in sorted({*theirs, *ours}):
            yield from _compare(f"{path}.{name}".lstrip("."), theirs.get(name), ours.get(name))
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for at, (left, right) in enumerate(zip(theirs, ours, strict=True)):
            yield from _compare(f"{path}[{at}]", left, right)
    elif theirs != ours:
        yield Difference(path, theirs, ours)
