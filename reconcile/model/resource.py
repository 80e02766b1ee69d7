"""Kinds and resources: what an object is called, and where the API serves it."""

from __future__ import annotations

import functools
import re

import attrs

from reconcile.errors import UsageError

_GROUP = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_VERSION = re.compile(r"v[0-9]+((alpha|beta)[0-9]+)?")
_KIND = re.compile(r"[A-Z][A-Za-z0-9]*")


@attrs.frozen(order=True)
class Kind:
    """Group, version and kind. ``group`` is empty for the core API."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """What stands in an object's ``apiVersion``: ``v1``, ``batch/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        return f"{self.api_version}/{self.kind}"

    @classmethod
    def parse(cls, text: str) -> Kind:
        """``v1/Pod``, ``batch/v1/Job``, ``example.com/v1/Widget``. Raises UsageError that says which part is wrong."""
        parts = text.split("/")
        if len(parts) == 2:
            parts = ["", *parts]
        if len(parts) != 3:
            raise UsageError(f"kind {text!r}: want 'version/Kind' or 'group/version/Kind', such as 'batch/v1/Job'")
        group, version, kind = parts
        if group and not _GROUP.fullmatch(group):
            raise UsageError(f"kind {text!r}: {group!r} is not an API group (lower-case DNS name)")
        if not _VERSION.fullmatch(version):
            raise UsageError(f"kind {text!r}: {version!r} is not an API version, such as 'v1' or 'v1beta1'")
        if not _KIND.fullmatch(kind):
            raise UsageError(f"kind {text!r}: {kind!r} is not a kind (CamelCase), such as 'Job'")
        return cls(group, version, kind)

    @classmethod
    def of(cls, api_version: str, kind: str) -> Kind:
        """From an object's ``apiVersion`` and ``kind``."""
        group, _, version = api_version.rpartition("/")
        return cls(group, version, kind)


_parse = functools.lru_cache(maxsize=1024)(Kind.parse)


def kind_of(kind: str | Kind) -> Kind:
    """A kind given as text or as a value; text is parsed once. Raises UsageError."""
    return kind if isinstance(kind, Kind) else _parse(kind)


@attrs.frozen(order=True)
class Resource:
    """Where a kind is served: its plural, and whether it lives in namespaces.

    Found by discovery (``Client.resource``), so that no plural is ever guessed.
    """

    kind: Kind
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The ``apiVersion`` of its objects."""
        return self.kind.api_version

    @property
    def group_resource(self) -> str:
        """``pods``, ``jobs.batch``: the field's usual short name, used in metrics and errors."""
        return f"{self.plural}.{self.kind.group}" if self.kind.group else self.plural

    def __str__(self) -> str:
        return self.group_resource
