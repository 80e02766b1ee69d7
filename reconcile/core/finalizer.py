"""The finalizer's rules: what to do next with an object that needs cleaning up after. It never waits.

============  ==================  =======  ==================================================================
the object    our finalizer       step     which means
============  ==================  =======  ==================================================================
lives         is not there        ADD      add it first: nothing outside may exist without it
lives         is there            APPLY    do the controller's work
is deleted    is there            CLEANUP  undo the work; when nothing is left, remove the finalizer
is deleted    is not there        NOTHING  it is other controllers' turn, or never was ours
============  ==================  =======  ==================================================================

The list of finalizers is never written back as a whole, since that would undo what others did to it meanwhile: both
patches change one entry and state what they expect to find. Where that does not hold, the server answers 422 without a
field, which ``reconcile.core.outcome`` takes for the conflict that it is.
"""

from __future__ import annotations

import re
from enum import StrEnum

from reconcile.errors import UsageError
from reconcile.model.object import Object
from reconcile.model.patch import JSONPatch

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_FINALIZERS = "/metadata/finalizers"
DOMAIN_CHARACTERS_MAX, NAME_CHARACTERS_MAX = 253, 63
"""What the API server allows of a qualified name."""


class Step(StrEnum):
    """The next thing to do."""

    ADD = "add"
    APPLY = "apply"
    CLEANUP = "cleanup"
    NOTHING = "nothing"


def check_name(finalizer: str) -> str:
    """The name, if it is a legal one. Raises UsageError."""
    domain, _, name = finalizer.partition("/")
    if not _NAME.fullmatch(finalizer) or len(domain) > DOMAIN_CHARACTERS_MAX or len(name) > NAME_CHARACTERS_MAX:
        raise UsageError(f"finalizer {finalizer!r}: want a domain of yours and a name, such as 'example.com/bucket'")
    return finalizer


def next_step(obj: Object, finalizer: str) -> Step:
    """What the table says."""
    if finalizer in obj.finalizers:
        return Step.CLEANUP if obj.is_deleting else Step.APPLY
    return Step.NOTHING if obj.is_deleting else Step.ADD


def adding(obj: Object, finalizer: str) -> JSONPatch:
    """The patch that adds the finalizer to the list as it was read."""
    if obj.finalizers:
        return JSONPatch(
            (
                {"op": "test", "path": _FINALIZERS, "value": list(obj.finalizers)},
                {"op": "add", "path": f"{_FINALIZERS}/-", "value": finalizer},
            )
        )
    # There is no list to test, so any change of the object since counts as one of the list.
    return JSONPatch(
        (
            {"op": "test", "path": "/metadata/resourceVersion", "value": obj.resource_version},
            {"op": "add", "path": _FINALIZERS, "value": [finalizer]},
        )
    )


def removing(obj: Object, finalizer: str) -> JSONPatch:
    """The patch that removes the finalizer, and nothing else. Assumes that the object has it."""
    entry = f"{_FINALIZERS}/{obj.finalizers.index(finalizer)}"
    return JSONPatch(({"op": "test", "path": entry, "value": finalizer}, {"op": "remove", "path": entry}))
