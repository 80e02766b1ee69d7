"""The types of the API: fields, list types, merge keys and defaults, of built-in kinds and of custom resources.

Built-in types come from ``data/schema.json``, which ``.ci/derive_schema.py`` takes from a real server's OpenAPI; one is
made when it is first asked for. Custom resources make theirs from a structural schema (``structural.py``).

Guarantees: a type is immutable once made, and equal only to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Any, Literal, TypeAlias

import attrs

from reconcile.model import json

__all__ = ["SCHEMA", "Anything", "Field", "ListType", "MapType", "Scalar", "Schema", "StructType", "Type"]

ListRelation: TypeAlias = Literal["atomic", "set", "map"]
Presence: TypeAlias = Literal["omitted", "kept", "always"]
"""What becomes of a field's zero value (0, false, "", empty list) when an object is written: it is left out, it is kept
if it was given (Go: a pointer), or it is written though nobody gave it."""


@attrs.frozen(eq=False)
class Scalar:
    """A value without parts.

    Attributes:
        name: string, bool, int32, int64, double, quantity, int-or-string, time, micro-time or bytes.
    """

    name: str


@attrs.frozen(eq=False)
class Anything:
    """A value that the API does not look into, such as a CustomResourceDefinition's ``default``.

    Attributes:
        is_granular: whether server-side apply owns the members of such an object one by one, as in what a custom
            resource keeps of unknown fields.
    """

    is_granular: bool = False


@attrs.frozen(eq=False)
class ListType:
    """A list: replaced as one (atomic), a set of scalars, or objects told apart by ``keys`` (map)."""

    items: Type
    relation: ListRelation = "atomic"
    keys: tuple[str, ...] = ()


@attrs.frozen(eq=False)
class MapType:
    """Values of one type under any name."""

    values: Type
    is_atomic: bool = False


class StructType:
    """An object with named fields; they are made when first asked for, because types refer to each other.

    Attributes:
        name: such as ``core.v1.PodSpec``, or a custom resource's kind.
        required: names of the fields that must be given.
        is_atomic: whether server-side apply owns it as one.
        is_open: whether unknown fields are kept (``x-kubernetes-preserve-unknown-fields``).
        is_custom: whether it is a custom resource's: such an object is stored as it was sent, without zero values
            being left out or filled in.
    """

    __slots__ = ("__dict__", "_make_fields", "is_atomic", "is_custom", "is_open", "name", "required")

    def __init__(
        self,
        name: str,
        make_fields: Callable[[], dict[str, Field]],
        *,
        required: tuple[str, ...] = (),
        is_atomic: bool = False,
        is_open: bool = False,
        is_custom: bool = False,
    ) -> None:
        self.name = name
        self.required = required
        self.is_atomic = is_atomic
        self.is_open = is_open
        self.is_custom = is_custom
        self._make_fields = make_fields

    def __repr__(self) -> str:
        return f"<StructType {self.name}>"

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """The fields by name."""
        return self._make_fields()

    @cached_property
    def always(self) -> tuple[Field, ...]:
        """The fields that are written though nobody gave them."""
        return tuple(field for field in self.fields.values() if field.presence == "always")

    @cached_property
    def go_name(self) -> str:
        """The name in error messages: ``v1.PodSpec``."""
        return ".".join(self.name.split(".")[-2:])


Type: TypeAlias = Scalar | ListType | MapType | StructType | Anything


@attrs.frozen(eq=False, slots=False)
class Field:
    """A named field of a struct.

    Attributes:
        default: what OpenAPI says an absent field means; None: nothing.
        enum: the values allowed; empty: any.
        patch_strategies: merge, replace, retainKeys: for strategic merge patches.
        merge_key: the field by which such a patch tells list items apart.
        is_atomic: whether server-side apply owns this field's object as one, whatever its type says.
    """

    name: str
    type: Type
    presence: Presence = "omitted"
    default: Any = None
    enum: tuple[str, ...] = ()
    patch_strategies: tuple[str, ...] = ()
    merge_key: str | None = None
    is_atomic: bool = False

    @cached_property
    def zero(self) -> Any:
        """The value written when nobody gave one."""
        match self.type:
            case Scalar("string") | Scalar("bytes"):
                return ""
            case Scalar("bool"):
                return False
            case Scalar("quantity"):
                return "0"
            case Scalar("time" | "micro-time") | ListType() | MapType() | Anything():
                return None
            case StructType():
                return {} if self.presence == "always" else None
            case Scalar():
                return 0


_PRESENCES: Mapping[str, Presence] = {"": "omitted", "?": "kept", "!": "always"}
_ANYTHING = Anything()


class Schema:
    """The built-in types: ``SCHEMA.type_for("apps", "v1", "Deployment")``."""

    @cached_property
    def _content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.decode(
            files("reconcile.cluster.api_server").joinpath("data/schema.json").read_bytes()
        )
        return content

    @cached_property
    def _made(self) -> dict[str, Type]:
        return {}

    @property
    def release(self) -> str:
        """The Kubernetes release whose types these are."""
        return str(self._content["release"])

    def kinds(self) -> list[tuple[str, str, str]]:
        """Group, version and kind of everything known."""
        return [_split(name) for name in self._content["kinds"]]

    def type_for(self, group: str, version: str, kind: str) -> StructType | None:
        """The type of a built-in kind, or None."""
        name = self._content["kinds"].get("/".join(part for part in (group, version, kind) if part))
        return None if name is None else self.struct(name)

    def struct(self, name: str) -> StructType:
        """A built-in type by name, such as ``meta.v1.ObjectMeta``. Raises KeyError."""
        found = self._named(name)
        if not isinstance(found, StructType):
            raise KeyError(name)
        return found

    def _named(self, name: str) -> Type:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._make(name, self._content["types"][name])
        return made

    def _make(self, name: str, entry: Any) -> Type:
        if not isinstance(entry, dict):
            return self._type(entry)
        if "fields" not in entry:
            return _ANYTHING
        return StructType(
            name,
            lambda: {one: self._field(one, value) for one, value in entry["fields"].items()},
            required=tuple(entry.get("required", ())),
            is_atomic=entry.get("atomic", False),
        )

    def _field(self, name: str, entry: Any) -> Field:
        if isinstance(entry, str):
            ending = entry[-1] if entry[-1] in "?!" else ""
            return Field(name, self._type(entry.rstrip("?!")), _PRESENCES[ending])
        return Field(
            name,
            self._type(entry),
            _PRESENCES[entry.get("presence", "")],
            default=entry.get("default"),
            enum=tuple(entry.get("enum", ())),
            patch_strategies=tuple(entry["patch"].split(",")) if "patch" in entry else (),
            merge_key=entry.get("mergeKey"),
            is_atomic=entry.get("as") == "atomic" and "list" not in entry,
        )

    def _type(self, entry: Any) -> Type:
        if isinstance(entry, str):
            if entry.startswith("#"):
                return self._named(entry[1:])
            return _ANYTHING if entry == "any" else _scalar(self._made, entry)
        if "list" in entry:
            return ListType(self._type(entry["list"]), entry.get("as", "atomic"), tuple(entry.get("keys", ())))
        if "map" in entry:
            return MapType(self._type(entry["map"]), is_atomic=entry.get("as") == "atomic")
        return self._type(entry["is"])


def _scalar(made: dict[str, Type], name: str) -> Type:
    return made.setdefault(name, Scalar(name))


def _split(name: str) -> tuple[str, str, str]:
    group, _, rest = name.rpartition("/")[0].rpartition("/")
    return group, rest, name.rpartition("/")[2]


SCHEMA = Schema()
