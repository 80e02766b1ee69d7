"""An ECDSA key on the curve P-256: made, written as PEM, and used to sign, in plain integers.

A control plane needs a certificate authority and a key for ServiceAccount tokens. Neither Python's standard library
nor this project's dependencies can make one, and a test tool should not ask for OpenSSL or for a compiled package.

Guarantees: keys and signatures are those of FIPS 186-5 over P-256 with SHA-256; randomness comes from the system.
Caveats: the arithmetic takes a time that depends on the key. Whoever can measure that could learn the key, so it is
fit for a control plane on loopback that lives as long as its tests, and for nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

import attrs

from reconcile.testing.envtest import der

__all__ = ["SigningKey"]

# The curve y² = x³ - 3x + b over the field of P elements; G = (GX, GY) generates N points (SEC 2, section 2.4.2).
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_GX = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
_GY = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5

_PRIME256V1 = der.object_identifier("1.2.840.10045.3.1.7")
_EC_PUBLIC_KEY = der.object_identifier("1.2.840.10045.2.1")

# A point in Jacobian coordinates (X, Y, Z) stands for (X/Z², Y/Z³): additions need no division. Z = 0 is infinity.
_Point = tuple[int, int, int]


def _double(point: _Point) -> _Point:
    x, y, z = point
    y_squared = y * y % _P
    s = 4 * x * y_squared % _P
    z_squared = z * z % _P
    m = 3 * (x - z_squared) * (x + z_squared) % _P
    x_out = (m * m - 2 * s) % _P
    return x_out, (m * (s - x_out) - 8 * y_squared * y_squared) % _P, 2 * y * z % _P


def _add(left: _Point, right: _Point) -> _Point:
    if left[2] == 0:
        return right
    if right[2] == 0:
        return left
    left_z_squared, right_z_squared = left[2] * left[2] % _P, right[2] * right[2] % _P
    u_left, u_right = left[0] * right_z_squared % _P, right[0] * left_z_squared % _P
    s_left, s_right = left[1] * right_z_squared * right[2] % _P, right[1] * left_z_squared * left[2] % _P
    if u_left == u_right:
        return _double(left) if s_left == s_right else (0, 1, 0)
    h, r = (u_right - u_left) % _P, (s_right - s_left) % _P
    h_squared = h * h % _P
    h_cubed, v = h * h_squared % _P, u_left * h_squared % _P
    x_out = (r * r - h_cubed - 2 * v) % _P
    return x_out, (r * (v - x_out) - s_left * h_cubed) % _P, h * left[2] * right[2] % _P


def _multiply_generator(factor: int) -> tuple[int, int]:
    """``factor`` × G in affine coordinates; ``factor`` is in [1, N)."""
    result: _Point = (0, 1, 0)
    for bit in f"{factor:b}":
        result = _double(result)
        if bit == "1":
            result = _add(result, (_GX, _GY, 1))
    z_inverse = pow(result[2], -1, _P)
    z_inverse_squared = z_inverse * z_inverse % _P
    return result[0] * z_inverse_squared % _P, result[1] * z_inverse_squared * z_inverse % _P


def pem(label: str, content: bytes) -> str:
    """``content`` between the PEM lines of ``label`` (RFC 7468)."""
    text = base64.b64encode(content).decode("ascii")
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def pem_content(text: str) -> bytes:
    """The bytes of the first PEM block in ``text``."""
    body = text.split("-----")[2]
    return base64.b64decode("".join(body.split()))


@attrs.frozen
class SigningKey:
    """A private key; ``secret`` is the number that nobody else may know."""

    secret: int = attrs.field(repr=False)
    public_point: bytes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        x, y = _multiply_generator(self.secret)
        point = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")  # 4: uncompressed
        object.__setattr__(self, "public_point", point)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key."""
        return cls(secrets.randbelow(_N - 1) + 1)

    @classmethod
    def from_pem(cls, text: str) -> SigningKey:
        """The key that ``to_pem`` wrote."""
        # SEQUENCE (2 bytes of header), INTEGER 1 (3 bytes), OCTET STRING of 32 bytes (2 bytes of header).
        return cls(int.from_bytes(pem_content(text)[7:39], "big"))

    def to_pem(self) -> str:
        """The key as ``EC PRIVATE KEY`` (RFC 5915), which OpenSSL and Go read."""
        content = der.sequence(
            der.integer(1),
            der.octet_string(self.secret.to_bytes(32, "big")),
            der.explicit(0, _PRIME256V1),
            der.explicit(1, der.bit_string(self.public_point)),
        )
        return pem("EC PRIVATE KEY", content)

    def public_key_info(self) -> bytes:
        """The public half as SubjectPublicKeyInfo (RFC 5480), in DER."""
        return der.sequence(der.sequence(_EC_PUBLIC_KEY, _PRIME256V1), der.bit_string(self.public_point))

    def sign(self, message: bytes) -> bytes:
        """ECDSA with SHA-256 over ``message``, in DER."""
        digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
        while True:
            nonce = secrets.randbelow(_N - 1) + 1
            r = _multiply_generator(nonce)[0] % _N
            s = pow(nonce, -1, _N) * (digest + r * self.secret) % _N
            if r and s:
                return der.sequence(der.integer(r), der.integer(s))
