"""The few ASN.1 types that keys and certificates are made of, encoded in DER (X.690)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime


def _tagged(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + content


def sequence(*parts: bytes) -> bytes:
    """SEQUENCE."""
    return _tagged(0x30, b"".join(parts))


def set_of(parts: Iterable[bytes]) -> bytes:
    """SET OF: DER wants its members sorted."""
    return _tagged(0x31, b"".join(sorted(parts)))


def integer(value: int) -> bytes:
    """INTEGER, not negative."""
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def boolean(*, value: bool) -> bytes:
    """BOOLEAN."""
    return _tagged(0x01, b"\xff" if value else b"\x00")


def bit_string(content: bytes, *, unused_bits: int = 0) -> bytes:
    """BIT STRING."""
    return _tagged(0x03, bytes([unused_bits]) + content)


def octet_string(content: bytes) -> bytes:
    """OCTET STRING."""
    return _tagged(0x04, content)


def utf8_string(text: str) -> bytes:
    """UTF8String."""
    return _tagged(0x0C, text.encode())


def object_identifier(dotted: str) -> bytes:
    """OBJECT IDENTIFIER, such as ``2.5.4.3``."""
    first, second, *others = (int(part) for part in dotted.split("."))
    content = bytearray([first * 40 + second])
    for number in others:
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(0x80 | (number & 0x7F))
        content.extend(reversed(digits))
    return _tagged(0x06, bytes(content))


def time(moment: datetime) -> bytes:
    """UTCTime until 2049, GeneralizedTime after (RFC 5280, section 4.1.2.5)."""
    moment = moment.astimezone(UTC)
    if moment.year < 2050:
        return _tagged(0x17, moment.strftime("%y%m%d%H%M%SZ").encode("ascii"))
    return _tagged(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode("ascii"))


def explicit(number: int, content: bytes) -> bytes:
    """A context-specific tag around a complete value."""
    return _tagged(0xA0 | number, content)


def implicit(number: int, content: bytes) -> bytes:
    """A context-specific tag in place of a primitive value's own."""
    return _tagged(0x80 | number, content)
