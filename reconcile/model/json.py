"""The one place that knows JSON (msgspec behind it)."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from reconcile.errors import DecodeError

T = TypeVar("T")

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode(value: Any) -> bytes:
    """``value`` as JSON. Raises DecodeError for what JSON cannot say (NaN, infinity, lone surrogates)."""
    try:
        return _encoder.encode(value)
    except (TypeError, ValueError, UnicodeEncodeError, msgspec.MsgspecError, RecursionError) as error:
        raise DecodeError(f"cannot encode {type(value).__name__} as JSON: {error}") from error


def encode_for_people(value: Any) -> str:
    """``value`` as indented JSON. Raises as ``encode``."""
    return msgspec.json.format(encode(value), indent=2).decode()


def decode(data: bytes | str) -> Any:
    """The plain value of a JSON document. Raises DecodeError."""
    try:
        return _decoder.decode(data)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise DecodeError(f"invalid JSON: {error}") from error


def decode_as(data: bytes, kind: type[T]) -> T:
    """The JSON document as ``kind`` (a Struct, attrs class, dataclass or plain type). Raises DecodeError."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise DecodeError(f"not a {getattr(kind, '__name__', kind)}: {error}") from error


def decoder(kind: type[T]) -> msgspec.json.Decoder[T]:
    """A decoder made once for what is decoded per event. Raises msgspec's own errors: its caller adds the context."""
    return msgspec.json.Decoder(kind)


def convert(value: Any, kind: type[T]) -> T:
    """A plain value as ``kind``. Raises DecodeError."""
    try:
        return msgspec.convert(value, kind)
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise DecodeError(f"not a {getattr(kind, '__name__', kind)}: {error}") from error


def to_plain(value: Any) -> Any:
    """A Struct, attrs class, dataclass or container of them as dict, list, str and numbers. Raises DecodeError.

    What is None in a class is left out, since there it stands for a field that is not set; in a dict it stays.
    """
    try:
        return _plain(value)
    except (TypeError, ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise DecodeError(f"cannot turn {type(value).__name__} into plain values: {error}") from error


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        return {name: _plain(item) for name, item in value.items()}
    if kind is list or kind is tuple:
        return [_plain(item) for item in value]
    if value is None or kind is str:
        return value
    return _without_none(msgspec.to_builtins(value))


def _without_none(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {name: _without_none(item) for name, item in plain.items() if item is not None}
    if isinstance(plain, list | tuple):
        return [_without_none(item) for item in plain]
    return plain
