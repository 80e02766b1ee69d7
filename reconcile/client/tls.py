"""TLS contexts that follow their files: certificates are rotated under a running controller.

Guarantees:
    * TLS 1.2 or later. A changed file makes a new context, used by new connections; the old ones end by themselves
      (kubernetes/kubernetes#119483).
    * A file that is half written or gone keeps the last good context, with a warning.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import tempfile
from pathlib import Path
from typing import TypeAlias

import attrs

from reconcile.client.clock import Clock
from reconcile.client.config import ClusterConfig
from reconcile.errors import ConfigurationError

_log = logging.getLogger("reconcile.client")

FILE_CHECK_SECONDS = 5.0
"""How often files are looked at (a ``stat`` each)."""

Stamp: TypeAlias = tuple[tuple[int, int, int], ...]


@attrs.frozen
class KeyPair:
    """A client certificate and its key, as PEM."""

    certificate: bytes
    key: bytes = attrs.field(repr=False)


class TLSContexts:
    """The current TLS context of one cluster. None throughout for plain http."""

    def __init__(self, config: ClusterConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._is_tls = config.server.startswith("https:")
        pems = (config.ca, config.client_certificate, config.client_key)
        self._files = [pem.path for pem in pems if pem is not None and pem.path is not None]
        self._context: ssl.SSLContext | None = None
        self._stamp: Stamp = ()
        self._pair: KeyPair | None = None
        self._check_at = 0.0

    def context(self, pair: KeyPair | None = None) -> ssl.SSLContext | None:
        """The context for a new connection.

        Args:
            pair: a client certificate from an exec plugin; it replaces that of the configuration.

        Raises:
            ConfigurationError: the first context cannot be made.
        """
        if not self._is_tls:
            return None
        if self._context is None:
            self._stamp = _stamp(self._files)
            self._context, self._pair = build_context(self._config, pair), pair
            return self._context
        now = self._clock.monotonic()
        if pair is not self._pair or (self._files and now >= self._check_at):
            self._check_at = now + FILE_CHECK_SECONDS
            stamp = _stamp(self._files)
            if pair != self._pair or stamp != self._stamp:
                self._renew(pair, stamp)
        return self._context

    def _renew(self, pair: KeyPair | None, stamp: Stamp) -> None:
        self._stamp = stamp
        try:
            self._context, self._pair = build_context(self._config, pair), pair
        except ConfigurationError as error:
            _log.warning("TLS files changed and cannot be used; going on with the last good ones: %s", error)
        else:
            _log.info("TLS files of %s changed; new connections use them", self._config.server)


def build_context(config: ClusterConfig, pair: KeyPair | None = None) -> ssl.SSLContext:
    """A client context from the configuration as its files stand now. Raises ConfigurationError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # As Go's verifier: an intermediate that is trusted is enough, and clusters' own authorities need not follow
    # every rule of RFC 5280 (Python 3.13 would ask for it).
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if config.insecure_skip_tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif config.ca is not None:
        try:
            context.load_verify_locations(cadata=config.ca.read("certificate-authority").decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigurationError(
                f"{config.source}: certificate-authority holds no usable certificate; want PEM"
            ) from error
    else:
        context.load_default_certs()
    if pair is None and config.client_certificate is not None and config.client_key is not None:
        pair = KeyPair(config.client_certificate.read("client-certificate"), config.client_key.read("client-key"))
    if pair is not None:
        _load_pair(context, pair, config.source)
    return context


def _load_pair(context: ssl.SSLContext, pair: KeyPair, source: str) -> None:
    # Python's ssl takes certificates and keys from files only: a private one, gone at once.
    descriptor, name = tempfile.mkstemp(prefix="reconcile-", suffix=".pem")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pair.certificate + b"\n" + pair.key + b"\n")
        # Without a password function OpenSSL would ask on the terminal for that of an encrypted key.
        context.load_cert_chain(name, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            f"{source}: client-certificate and client-key cannot be used: want PEM, a key without a password,"
            " and the two must belong together"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            Path(name).unlink()


def _stamp(files: list[Path]) -> Stamp:
    stamps = []
    for path in files:
        try:
            status = path.stat()
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            stamps.append((0, 0, 0))
    return tuple(stamps)
