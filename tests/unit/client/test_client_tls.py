"""The transport over real TLS on loopback: certificates and credentials that change under it, and who may see them."""

from __future__ import annotations

import json
import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
from client_loopback import CANARY, GET, Exchange, context_for, ok, serving, transport, trusting

from reconcile.client import tls
from reconcile.client.config import ClusterConfig, OIDCAuth, Pem, TokenAuth, TokenFileAuth
from reconcile.client.transport import HTTPRequest
from reconcile.errors import ConfigurationError, TransportError
from reconcile.testing.envtest.certificate_authority import Certificate, CertificateAuthority

# -- TLS ------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_server_of_another_authority_is_refused(served_by: ssl.SSLContext, tmp_path: Path) -> None:
    """The error names the field and the file; nothing was sent."""
    other = CertificateAuthority.create(datetime.now(UTC))
    async with serving(ok, served_by) as server:
        for ca in (trusting(other), None):
            async with transport(ClusterConfig(server.url, TokenAuth("t"), ca, source="kubeconfig K")) as client:
                with pytest.raises(TransportError, match=r"certificate-authority.*kubeconfig K") as caught:
                    await client.request(GET)
            assert not caught.value.may_have_arrived
    assert server.exchanges == []


@pytest.mark.asyncio
async def test_a_server_under_another_name_needs_tls_server_name(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    """As through a tunnel."""
    context = context_for(authority.serve(datetime.now(UTC), ["kubernetes"]), tmp_path)
    async with serving(ok, context) as server:
        config = ClusterConfig(server.url, ca=trusting(authority))
        async with transport(config) as client:
            with pytest.raises(TransportError, match="tls-server-name"):
                await client.request(GET)
        async with transport(attrs.evolve(config, tls_server_name="kubernetes")) as client:
            assert (await client.request(GET)).status == 200


@pytest.mark.asyncio
async def test_insecure_works_as_in_kubectl_and_warns(
    served_by: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked for explicitly, said loudly."""
    async with (
        serving(ok, served_by) as server,
        transport(ClusterConfig(server.url, insecure_skip_tls_verify=True)) as client,
    ):
        assert (await client.request(GET)).status == 200
    assert "insecure-skip-tls-verify" in caplog.text


def pair(directory: Path, certificate: Certificate) -> None:
    for name, text in {"crt": certificate.certificate_pem, "key": certificate.key_pem}.items():
        (directory / f"new.{name}").write_text(text)
        (directory / f"new.{name}").replace(directory / f"client.{name}")


@pytest.mark.asyncio
async def test_renewed_certificates_are_used_without_a_restart(
    authority: CertificateAuthority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CA and client certificate change in their files; new connections use them, half-written ones are waited out."""
    monkeypatch.setattr(tls, "FILE_CHECK_SECONDS", 0.0)
    now = datetime.now(UTC)
    second = CertificateAuthority.create(now)
    pair(tmp_path, authority.identify(now, "alice"))
    (tmp_path / "ca.crt").write_text(authority.certificate_pem)
    config = ClusterConfig(
        "https://127.0.0.1:1",
        ca=Pem(path=tmp_path / "ca.crt"),
        client_certificate=Pem(path=tmp_path / "client.crt"),
        client_key=Pem(path=tmp_path / "client.key"),
    )

    async def who(exchange: Exchange) -> None:
        certificate = exchange.writer.get_extra_info("peercert")
        await exchange.answer(body=json.dumps(certificate["subject"]).encode(), more="Connection: close\r\n")
        exchange.writer.close()

    first_context = context_for(authority.serve(now, ["127.0.0.1"]), tmp_path, clients=authority)
    async with serving(who, first_context) as server, transport(attrs.evolve(config, server=server.url)) as client:
        assert b"alice" in (await client.request(GET)).body
        pair(tmp_path, authority.identify(now, "bob"))
        assert b"bob" in (await client.request(GET)).body
        (tmp_path / "client.key").write_text("half writ")
        assert b"bob" in (await client.request(GET)).body
        pair(tmp_path, authority.identify(now, "carol"))
        assert b"carol" in (await client.request(GET)).body
        port = int(server.url.rpartition(":")[2])
        first_context.load_cert_chain(_file(tmp_path, second.serve(now, ["127.0.0.1"])))
        with pytest.raises(TransportError, match="certificate"):
            await client.request(GET)
        (tmp_path / "ca.crt").write_text(second.certificate_pem)
        assert b"carol" in (await client.request(GET)).body
        assert port


def _file(directory: Path, certificate: Certificate) -> Path:
    path = directory / "rotated.pem"
    path.write_text(certificate.certificate_pem + certificate.key_pem)
    return path


@pytest.mark.parametrize("field", ["ca", "client_certificate", "client_key"])
@pytest.mark.asyncio
async def test_a_first_certificate_that_cannot_be_used_is_a_configuration_error(
    authority: CertificateAuthority, field: str
) -> None:
    """Named by its field; the content is not shown."""
    certificate = authority.identify(datetime.now(UTC), "alice")
    config = ClusterConfig(
        "https://127.0.0.1:1",
        ca=trusting(authority),
        client_certificate=Pem(data=certificate.certificate_pem.encode()),
        client_key=Pem(data=certificate.key_pem.encode()),
        source="kubeconfig K",
    )
    broken = attrs.evolve(config, **{field: Pem(data=CANARY.encode())})
    with pytest.raises(ConfigurationError, match=r"kubeconfig K: (certificate-authority|client-certificate)") as caught:
        tls.build_context(broken)
    assert CANARY not in str(caught.value)


# -- credentials ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_401_renews_the_token_once_and_sends_again(
    authority: CertificateAuthority, served_by: ssl.SSLContext, tmp_path: Path
) -> None:
    """For requests and for streams; where the file has no other token, the 401 is the answer."""
    token = tmp_path / "token"
    token.write_text("one")

    async def check(exchange: Exchange) -> None:
        await exchange.answer(200 if exchange.header("authorization") == [f"Bearer {valid}"] else 401)

    valid = "one"
    async with (
        serving(check, served_by) as server,
        transport(ClusterConfig(server.url, TokenFileAuth(token), trusting(authority))) as client,
    ):
        assert (await client.request(GET)).status == 200
        valid = "two"
        assert (await client.request(GET)).status == 401
        token.write_text("two")
        assert (await client.request(GET)).status == 200
        valid = "three"
        token.write_text("three")
        async with client.stream(GET) as stream:
            assert stream.status == 200
    assert len(server.exchanges) == 6


@pytest.mark.asyncio
async def test_no_secret_is_in_an_error_or_a_log(
    authority: CertificateAuthority, served_by: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """Token, query and body, in whatever goes wrong, at the most talkative level."""
    caplog.set_level(logging.DEBUG)

    async def drop(exchange: Exchange) -> None:
        exchange.writer.transport.abort()

    async with serving(drop, served_by) as server:
        config = ClusterConfig(server.url, TokenAuth(CANARY), trusting(authority))
        async with transport(config) as client:
            request = HTTPRequest("POST", "/x", (("q", CANARY),), CANARY.encode())
            with pytest.raises(TransportError) as caught:
                await client.request(request)
            request = attrs.evolve(request, query=())
            for shown in (
                str(caught.value),
                repr(caught.value),
                repr(client),
                repr(request),
                repr(config),
                caplog.text,
            ):
                assert CANARY not in shown
    assert server.exchanges[0].header("authorization") == [f"Bearer {CANARY}"]


# kubernetes-asyncio uses what aiohttp 4 will drop.
@pytest.mark.filterwarnings("ignore:(BasicAuth|The .auth. parameter) is deprecated:DeprecationWarning")
@pytest.mark.asyncio
async def test_an_oidc_token_is_renewed_at_its_issuer_over_verified_tls(
    authority: CertificateAuthority, served_by: ssl.SSLContext
) -> None:
    """The issuer's certificate is checked; the new token serves the request that was refused."""

    async def answer(exchange: Exchange) -> None:
        if "openid-configuration" in exchange.line:
            await exchange.answer(body=json.dumps({"token_endpoint": f"{server.url}/token"}).encode())
        elif exchange.line.startswith("POST /token"):
            await exchange.answer(body=b'{"id_token": "new", "refresh_token": "r2"}')
        else:
            await exchange.answer(200 if exchange.header("authorization") == ["Bearer new"] else 401)

    async with serving(answer, served_by) as server:
        for ca_data, code in ((authority.certificate_pem.encode(), 200), (None, 0)):
            oidc = OIDCAuth(server.url, "id", "secret", "old", "r1", ca_data)
            async with transport(ClusterConfig(server.url, oidc, trusting(authority))) as client:
                if code:
                    assert (await client.request(GET)).status == code
                else:
                    with pytest.raises(TransportError, match="OIDC issuer"):
                        await client.request(GET)
