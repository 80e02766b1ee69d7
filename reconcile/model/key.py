"""ObjectKey: the name under which an object is cached, queued and reconciled."""

from __future__ import annotations

import msgspec


class ObjectKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """Namespace and name. ``namespace`` is empty for cluster-scoped objects."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @classmethod
    def parse(cls, text: str) -> ObjectKey:
        """``namespace/name``, or ``name`` alone for what has no namespace."""
        namespace, slash, name = text.rpartition("/")
        return cls(namespace if slash else "", name)
