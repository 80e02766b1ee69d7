"""Keys and certificates made in plain Python, checked against published numbers and by OpenSSL's own verification."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconcile.testing.envtest import der
from reconcile.testing.envtest.certificate_authority import Certificate, CertificateAuthority
from reconcile.testing.envtest.credentials import Credentials
from reconcile.testing.envtest.signing_key import SigningKey

NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("secret", "x", "y"),
    [
        # Known multiples of the generator of P-256 (NIST routines, point multiplication test vectors).
        (
            1,
            0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
            0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        ),
        (
            2,
            0x7CF27B188D034F7E8A52380304B51AC3C08969E277F21B35A60B48FC47669978,
            0x07775510DB8ED040293D9AC69F7430DBBA7DADE63CE982299E04B79D227873D1,
        ),
        (
            112233445566778899,
            0x339150844EC15234807FE862A86BE77977DBFB3AE3D96F4C22795513AEAAB82F,
            0xB1C14DDFDC8EC1B2583F51E85A5EB3A155840F2034730E9B5ADA38B674336A21,
        ),
        (
            0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632550,
            0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
            0xB01CBD1C01E58065711814B583F061E9D431CCA994CEA1313449BF97C840AE0A,
        ),
    ],
)
def test_public_keys_are_the_published_ones(secret: int, x: int, y: int) -> None:
    """The curve's arithmetic gives the points that the standard's test vectors give."""
    assert SigningKey(secret).public_point == b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


def test_a_key_survives_its_file() -> None:
    """Written as PEM and read again, it is the same key."""
    key = SigningKey.generate()
    assert SigningKey.from_pem(key.to_pem()) == key
    assert str(key.secret) not in repr(key)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (der.integer(0), "020100"),
        (der.integer(127), "02017f"),
        (der.integer(128), "02020080"),
        (der.octet_string(b"x" * 200), "0481c8" + "78" * 200),
        (der.octet_string(b"x" * 300), "0482012c" + "78" * 300),
        (der.object_identifier("1.2.840.113549"), "06062a864886f70d"),
        (der.boolean(value=True), "0101ff"),
        (der.set_of([b"\x02\x01\x02", b"\x02\x01\x01"]), "3106020101020102"),
        (der.time(datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)), "170d" + b"491231235959Z".hex()),
        (der.time(datetime(2050, 1, 1, tzinfo=UTC)), "180f" + b"20500101000000Z".hex()),
    ],
)
def test_values_are_encoded_as_x690_says(encoded: bytes, expected: str) -> None:
    """Lengths, signs, order and the two forms of time are those of DER."""
    assert encoded.hex() == expected


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> dict:
    """One TLS handshake between two contexts: what the server learned of the client's certificate.

    Raises the failure of the side that found fault, not the other's, which is told by an alert.
    """
    ours, theirs = socket.socketpair()
    failures: list[OSError] = []
    peers: list[dict | None] = []

    def side(tls: ssl.SSLContext, end: socket.socket, hostname: str | None) -> None:
        try:
            with tls.wrap_socket(end, server_side=hostname is None, server_hostname=hostname) as connection:
                if hostname is None:
                    peers.append(connection.getpeercert())
                    connection.sendall(b"x")
                else:
                    connection.recv(1)
        except OSError as error:
            failures.append(error)
        finally:
            end.close()

    thread = threading.Thread(target=side, args=(client, theirs, name))
    thread.start()
    side(server, ours, None)
    thread.join()
    for failure in failures:
        if isinstance(failure, ssl.SSLCertVerificationError):
            raise failure
    assert failures == []
    assert peers[0] is not None
    return peers[0]


def context(purpose: ssl.Purpose, authority: CertificateAuthority, own: Certificate, directory: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(purpose, cadata=authority.certificate_pem)
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT  # Python's default from 3.13
    path = directory / "pair.pem"
    path.write_text(own.certificate_pem + own.key_pem)
    made.load_cert_chain(path)
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "kubernetes.default.svc"])
def test_both_sides_of_tls_accept_the_certificates(tmp_path: Path, host: str) -> None:
    """In strict mode, OpenSSL verifies chain, names and purpose of both certificates, and reads user and groups."""
    authority = CertificateAuthority.create(NOW)
    serving = authority.serve(NOW, ["127.0.0.1", "localhost", "kubernetes.default.svc"])
    user = authority.identify(NOW, "alice", ["a", "b,c"])
    peer = handshake(
        context(ssl.Purpose.CLIENT_AUTH, authority, serving, tmp_path),
        context(ssl.Purpose.SERVER_AUTH, authority, user, tmp_path),
        host,
    )
    subject = [pair for part in peer["subject"] for pair in part]
    assert subject == [("organizationName", "a"), ("organizationName", "b,c"), ("commonName", "alice")]


def test_a_server_of_another_name_is_refused(tmp_path: Path) -> None:
    """The serving certificate is good for its own names alone."""
    authority = CertificateAuthority.create(NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(
            context(ssl.Purpose.CLIENT_AUTH, authority, authority.serve(NOW, ["127.0.0.1"]), tmp_path),
            context(ssl.Purpose.SERVER_AUTH, authority, authority.identify(NOW, "alice"), tmp_path),
            "example.invalid",
        )


def test_a_client_of_another_authority_is_refused(tmp_path: Path) -> None:
    """Equal names do not help: the signature has to be the authority's."""
    authority, other = CertificateAuthority.create(NOW), CertificateAuthority.create(NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(
            context(ssl.Purpose.CLIENT_AUTH, authority, authority.serve(NOW, ["127.0.0.1"]), tmp_path),
            context(ssl.Purpose.SERVER_AUTH, authority, other.identify(NOW, "alice"), tmp_path),
            "127.0.0.1",
        )


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    """Validity is a year from the given time."""
    authority = CertificateAuthority.create(NOW)
    long_ago = NOW - timedelta(days=400)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        handshake(
            context(ssl.Purpose.CLIENT_AUTH, authority, authority.serve(long_ago, ["127.0.0.1"]), tmp_path),
            context(ssl.Purpose.SERVER_AUTH, authority, authority.identify(NOW, "alice"), tmp_path),
            "127.0.0.1",
        )


def test_credentials_are_found_again(tmp_path: Path) -> None:
    """A second start in a directory uses what is there, so that kubeconfigs made before stay good."""
    made = Credentials.load_or_create(tmp_path, NOW)
    again = Credentials.load_or_create(tmp_path, NOW)
    assert (again.authority, again.admin_token) == (made.authority, made.admin_token)
    assert made.admin_token not in repr(made)


def test_the_same_user_keeps_one_kubeconfig_file(tmp_path: Path) -> None:
    """Paths are stable: the same user and groups are written to the same file, others to others."""
    credentials = Credentials.create(tmp_path, NOW)
    first, again, other = (
        credentials.kubeconfig("https://127.0.0.1:1", NOW, "alice", groups, "default")
        for groups in (["a"], ["a"], ["b"])
    )
    assert first == again != other
