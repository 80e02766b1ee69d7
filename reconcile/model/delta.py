"""Delta: one change of a store. Both sides are kept, so that a changed owner or label wakes both parents."""

from __future__ import annotations

import msgspec

from reconcile.model.key import ObjectKey
from reconcile.model.object import Object


class Delta(msgspec.Struct, frozen=True, gc=False):
    """``old`` is None for a new object, ``new`` is None for one that is gone (or has left the selector)."""

    key: ObjectKey
    old: Object | None
    new: Object | None
