"""Exec credential plugins (KEP-541): run a program, read the credential that it prints.

Guarantees:
    * No shell. The program runs in its own session with a deadline, and is killed with its children when that passes
      or when the caller is cancelled.
    * Its output never reaches a log; of what it says on stderr, an error shows a short text with secrets taken out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from datetime import datetime

import attrs
import msgspec

from reconcile.client.config import ExecAuth, check_header
from reconcile.client.tls import KeyPair
from reconcile.errors import ConfigurationError, DecodeError, TransportError
from reconcile.model import json, timestamp

EXEC_SECONDS_MAX = 60.0
"""Plugins ask identity providers over the network; slower than this is hanging."""

OUTPUT_BYTES_MAX = 1024 * 1024
"""A credential with a certificate chain has some 10 KiB."""

_MESSAGE_LENGTH_MAX = 300

_SECRETS = (
    re.compile(r"(?i)((?:authorization|cookie)\w*[\"']?\s*[:=]).*"),  # headers: the rest of the line
    re.compile(r"(?i)\b((?:bearer|basic)\s+)\S+"),
    re.compile(r"(?i)((?:token|secret|passw(?:or)?d|passphrase|credential|key)\w*[\"']?\s*[:=]\s*)\S+"),
    re.compile(r"()[^\s\"'=:,;()\[\]{}]{16,}"),  # long words look like secrets
)


@attrs.frozen
class ExecCredential:
    """What a plugin printed."""

    token: str = attrs.field(default="", repr=False)
    key_pair: KeyPair | None = attrs.field(default=None, repr=False)
    expires_at: datetime | None = None


class _CredentialStatus(msgspec.Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: str | None = None


class _Credential(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    status: _CredentialStatus | None = None


async def run_plugin(auth: ExecAuth, *, timeout_seconds: float = EXEC_SECONDS_MAX) -> ExecCredential:
    """Run the plugin once.

    Raises:
        ConfigurationError: it cannot be started, or prints something else than a credential.
        TransportError: it failed or hung, as it does when its identity provider is away; trying again may help.
    """
    spec: dict[str, object] = {"interactive": False}
    if auth.cluster_info is not None:
        spec["cluster"] = dict(auth.cluster_info)
    info = json.encode({"apiVersion": auth.api_version, "kind": "ExecCredential", "spec": spec})
    environment = {**os.environ, **dict(auth.env), "KUBERNETES_EXEC_INFO": info.decode()}
    name = f"exec plugin {auth.command!r}"
    try:
        process = await asyncio.create_subprocess_exec(
            auth.command,
            *auth.args,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        hint = f"; {auth.install_hint}" if auth.install_hint else "; install it, or correct users[].user.exec.command"
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigurationError(f"{name} cannot be started: {reason}{hint}") from error
    try:
        async with asyncio.timeout(timeout_seconds):
            output, complaint = await asyncio.gather(_bounded(process.stdout), _bounded(process.stderr))
            code = await process.wait()
    except TimeoutError:
        raise TransportError(f"{name} gave no answer within {timeout_seconds:g} s", may_have_arrived=False) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if code != 0:
        words = redact(complaint.decode("utf-8", "replace"))
        raise TransportError(f"{name} exited with {code}" + (f": {words}" if words else ""), may_have_arrived=False)
    return _credential(output, auth.api_version, name)


def redact(text: str) -> str:
    """One line of at most 300 characters, without what follows a secret's name or looks like a secret."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1[redacted]", text)
    return " ".join(text.split())[:_MESSAGE_LENGTH_MAX]


async def _bounded(stream: asyncio.StreamReader | None) -> bytes:
    """All of a stream, kept up to a bound and read to its end."""
    kept = bytearray()
    while stream is not None and (chunk := await stream.read(65536)):
        kept += chunk[: max(0, OUTPUT_BYTES_MAX + 1 - len(kept))]
    return bytes(kept)


def _credential(output: bytes, api_version: str, name: str) -> ExecCredential:
    if len(output) > OUTPUT_BYTES_MAX:
        raise ConfigurationError(f"{name} printed more than {OUTPUT_BYTES_MAX} bytes")
    try:
        printed = json.decode_as(output, _Credential)
    except DecodeError:
        raise ConfigurationError(f"{name} did not print an ExecCredential (output not shown)") from None
    if printed.kind != "ExecCredential" or printed.api_version != api_version:
        raise ConfigurationError(f"{name} printed no ExecCredential of {api_version}, as its kubeconfig entry asks for")
    status = printed.status
    has_pair = status is not None and bool(status.client_certificate_data)
    if status is None or not (status.token or has_pair):
        raise ConfigurationError(f"{name} printed neither status.token nor status.clientCertificateData")
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise ConfigurationError(f"{name}: clientCertificateData and clientKeyData must come together")
    pair = KeyPair(status.client_certificate_data.encode(), status.client_key_data.encode()) if has_pair else None
    try:
        expires_at = None if status.expiration_timestamp is None else timestamp.parse(status.expiration_timestamp)
    except DecodeError:
        raise ConfigurationError(f"{name}: status.expirationTimestamp is not an RFC 3339 time") from None
    return ExecCredential(check_header(status.token, f"{name}: status.token"), pair, expires_at)
