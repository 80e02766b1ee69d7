"""An object as the API server understands it: unknown fields dropped, zero values as in a real answer, types checked.

A real server reads JSON into Go structs and writes those. What that does to a document is the API's behaviour, and
clients see it: ``null`` is as good as absent, an empty list vanishes, ``resources: {}`` appears in every container,
a quantity is written in its canonical form.

Guarantees: the input is not changed; ``decode(type, decode(type, x).value).value`` equals ``decode(type, x).value``.
Caveats: the text of an error names Go's type of a string field always ``string``, since OpenAPI does not tell that a
field is, say, a ``v1.PullPolicy``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

import attrs

from reconcile.cluster.api_server.patching import json_kind
from reconcile.cluster.api_server.quantity import canonical_quantity
from reconcile.cluster.api_server.schema import Anything, Field, ListType, MapType, Scalar, StructType, Type
from reconcile.cluster.api_server.timestamp import canonical_micro_time, canonical_time
from reconcile.errors import DecodeError

__all__ = ["Decoded", "WrongTypeError", "decode"]


class WrongTypeError(DecodeError):
    """A value of a type that its field cannot hold; the text is what the API server says after the kind."""


@attrs.frozen
class Decoded:
    """What was understood.

    Attributes:
        value: the object, canonical.
        unknown: paths of fields that the type does not have, such as ``spec.containers[0].foo``, in document order.
    """

    value: dict[str, Any]
    unknown: tuple[str, ...]


def decode(struct: StructType, obj: dict[str, Any]) -> Decoded:
    """``obj`` as a value of ``struct``. Raises WrongTypeError."""
    reader = _Reader()
    value = reader.struct(struct, obj, "", "")
    return Decoded(value, tuple(reader.unknown))


_INTEGER_BOUNDS = {"int32": 2**31, "int64": 2**63}
_BASE64_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


class _Reader:
    """One walk over a document. ``path`` is the document's (with indexes), ``stack`` Go's (without)."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def struct(self, struct: StructType, value: Any, path: str, stack: str) -> dict[str, Any]:
        fields = struct.fields
        found: dict[str, Any] = {}
        for name, item in value.items():
            field = fields.get(name)
            if field is None:
                if struct.is_open:
                    found[name] = item
                else:
                    self.unknown.append(f"{path}.{name}" if path else name)
                continue
            if item is None:
                continue
            read = self.field(struct, field, item, f"{path}.{name}" if path else name, f"{stack}.{name}")
            if field.presence == "omitted" and not read and not isinstance(field.type, StructType):
                if name == "managedFields" and read == []:
                    found[name] = read  # it has a meaning: forget who owns what
                continue
            found[name] = read if read or not isinstance(field.type, ListType | MapType) else field.zero
        for field in struct.always:
            if field.name not in found:
                found[field.name] = self.absent(field)
        return found

    def absent(self, field: Field) -> Any:
        if isinstance(field.type, StructType):
            return self.struct(field.type, {}, "", "")
        return field.zero

    def field(self, owner: StructType, field: Field, value: Any, path: str, stack: str) -> Any:
        if isinstance(value, str) and isinstance(field.type, Scalar) and field.type.name == "string":
            return value  # most fields
        return self.value(field.type, value, path, f"Go struct field {owner.name.rpartition('.')[2]}{stack}", stack)

    def value(self, type: Type, value: Any, path: str, where: str, stack: str) -> Any:
        match type:
            case Scalar():
                return _SCALARS[type.name](type.name, value, where)
            case StructType():
                if not isinstance(value, dict):
                    raise _wrong(value, where, type)
                return self.struct(type, value, path, stack)
            case ListType():
                if not isinstance(value, list):
                    raise _wrong(value, where, type)
                return [
                    self.absent_item(type.items)
                    if item is None
                    else self.value(type.items, item, f"{path}[{index}]", where, stack)
                    for index, item in enumerate(value)
                ]
            case MapType():
                if not isinstance(value, dict):
                    raise _wrong(value, where, type)
                if isinstance(type.values, Scalar) and type.values.name == "quantity":
                    return {name: _amount(item) for name, item in value.items()}
                return {
                    name: self.absent_item(type.values)
                    if item is None
                    else self.value(type.values, item, f"{path}.{name}", where, f"{stack}.{name}")
                    for name, item in value.items()
                }
            case Anything():
                return value
            case _:
                assert_never(type)

    def absent_item(self, type: Type) -> Any:
        """What Go makes of ``null`` in a list or a map: the zero value."""
        if isinstance(type, StructType):
            return self.struct(type, {}, "", "")
        return Field("", type, "always").zero


def _string(_: str, value: Any, where: str) -> str:
    if isinstance(value, str):
        return value
    raise _wrong(value, where, Scalar("string"))


def _bool(_: str, value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong(value, where, Scalar("bool"))


def _integer(name: str, value: Any, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        bound = _INTEGER_BOUNDS[name]
        if -bound <= value < bound:
            return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise WrongTypeError(f"json: cannot unmarshal number {value} into {where} of type {name}")
    raise _wrong(value, where, Scalar(name))


def _double(_: str, value: Any, where: str) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise _wrong(value, where, Scalar("double"))


def _amount(value: Any) -> str:
    """An amount in a list of resources: a real server's defaults round it up to thousandths."""
    return "0" if value is None else _quantity("", value, "", smallest_exponent=-3)


def _quantity(_: str, value: Any, __: str, *, smallest_exponent: int = -9) -> str:
    try:
        return canonical_quantity(value, smallest_exponent=smallest_exponent)
    except ValueError as error:
        raise WrongTypeError(str(error)) from None


def _int_or_string(_: str, value: Any, where: str) -> int | str:
    return value if isinstance(value, str) else _integer("int32", value, where)


def _time(name: str, value: Any, where: str) -> str | None:
    if not isinstance(value, str):
        raise WrongTypeError(f"json: cannot unmarshal {json_kind(value)} into Go value of type string")
    del where
    try:
        return (canonical_time if name == "time" else canonical_micro_time)(value)
    except ValueError as error:
        raise WrongTypeError(str(error)) from None


def _bytes(_: str, value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise WrongTypeError(f"json: cannot unmarshal {json_kind(value)} into {where} of type []uint8")
    text = value.replace("\n", "").replace("\r", "")
    padding = len(text) - len(text.rstrip("="))
    for index, character in enumerate(text[: len(text) - padding]):
        if character not in _BASE64_ALPHABET:
            raise WrongTypeError(f"illegal base64 data at input byte {index}")
    if len(text) % 4 or padding > 2:
        raise WrongTypeError(f"illegal base64 data at input byte {max(len(text) - 1 - len(text) % 4, 0)}")
    return text


_SCALARS: dict[str, Callable[[str, Any, str], Any]] = {
    "string": _string,
    "bool": _bool,
    "int32": _integer,
    "int64": _integer,
    "double": _double,
    "quantity": _quantity,
    "int-or-string": _int_or_string,
    "time": _time,
    "micro-time": _time,
    "bytes": _bytes,
}


def _wrong(value: Any, where: str, wanted: Type) -> WrongTypeError:
    return WrongTypeError(f"json: cannot unmarshal {json_kind(value)} into {where} of type {_go_type(wanted)}")


def _go_type(wanted: Type) -> str:
    match wanted:
        case Scalar():
            return {"double": "float64", "bytes": "[]uint8"}.get(wanted.name, wanted.name)
        case ListType():
            return f"[]{_go_type(wanted.items)}"
        case MapType():
            return f"map[string]{_go_type(wanted.values)}"
        case StructType():
            return wanted.go_name
        case Anything():
            return "interface {}"
        case _:
            assert_never(wanted)
