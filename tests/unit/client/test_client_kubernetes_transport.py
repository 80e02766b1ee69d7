"""The transport over real sockets on loopback: requests, streams, deadlines, proxies, faults of the network."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from client_loopback import CANARY, GET, Exchange, ok, serving, transport, trusting

from reconcile.client import kubernetes_transport
from reconcile.client.config import ClusterConfig, TokenAuth
from reconcile.client.kubernetes_transport import KubernetesTransport
from reconcile.client.sockets import make_socket
from reconcile.client.transport import HTTPRequest
from reconcile.errors import LeaseLostError, TransportError
from reconcile.testing.envtest.certificate_authority import CertificateAuthority

# -- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_request_and_its_answer(authority: CertificateAuthority, served_by: ssl.SSLContext) -> None:
    """Path, query, body, headers; the connection is used again."""
    async with serving(ok, served_by) as server:
        config = ClusterConfig(
            server.url + "/prefix",
            TokenAuth("tok"),
            trusting(authority),
            impersonate=(("Impersonate-Group", "a"), ("Impersonate-Group", "b")),
        )
        async with transport(config) as client:
            request = HTTPRequest(
                "PATCH", "/api/v1/a%20b", (("fieldManager", "a b&c"),), b"[]", "application/json-patch+json"
            )
            response = await client.request(request)
            await client.request(GET)
    first = server.exchanges[0]
    assert (response.status, response.body, response.headers["content-type"]) == (200, b"{}", "application/json")
    assert first.line == "PATCH /prefix/api/v1/a%20b?fieldManager=a+b%26c HTTP/1.1"
    assert first.body == b"[]"
    assert first.header("authorization") == ["Bearer tok"]
    assert first.header("content-type") == ["application/json-patch+json"]
    assert first.header("impersonate-group") == ["a", "b"]
    assert first.header("accept-encoding") == ["identity"]
    assert first.header("user-agent")[0].startswith("reconcile/")
    assert server.connections == 1


@pytest.mark.asyncio
async def test_bodies_up_to_the_servers_limit_are_sent() -> None:
    """3 MiB, without the warning that aiohttp has for large bytes."""
    async with serving(ok) as server, transport(ClusterConfig(server.url)) as client:
        await client.request(HTTPRequest("POST", "/x", body=b"z" * (3 * 1024 * 1024)))
    assert len(server.exchanges[0].body) == 3 * 1024 * 1024


@pytest.mark.asyncio
async def test_no_redirect_no_cookie_no_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials stay with the server that they are for."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine localhost login x password {CANARY}")
    monkeypatch.setenv("NETRC", str(netrc))

    async def redirect(exchange: Exchange) -> None:
        await exchange.answer(307, more=f"Location: {server.url}/elsewhere\r\nSet-Cookie: a=b; Path=/\r\n")

    async with serving(redirect) as server:
        server.url = server.url.replace("127.0.0.1", "localhost")  # cookies are kept for names only
        async with transport(ClusterConfig(server.url)) as client:
            assert (await client.request(GET)).status == 307
            await client.request(GET)
    assert [exchange.line.split()[1] for exchange in server.exchanges] == ["/api/v1/x", "/api/v1/x"]
    assert server.exchanges[1].header("cookie") == []
    assert server.exchanges[1].header("authorization") == []


@pytest.mark.asyncio
async def test_a_refused_connection_was_never_sent() -> None:
    """The URL and the reason, and that nothing arrived."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with transport(ClusterConfig(url)) as client:
            with pytest.raises(
                TransportError, match=f"GET {url}/api/v1/x: cannot connect: Connection refused"
            ) as caught:
                await client.request(GET)
    assert not caught.value.may_have_arrived


@pytest.mark.asyncio
async def test_an_unknown_host_was_never_sent() -> None:
    """A name that does not resolve (RFC 6761 reserves .invalid)."""
    async with transport(ClusterConfig("https://nowhere.invalid")) as client:
        with pytest.raises(TransportError, match=r"cannot resolve nowhere\.invalid") as caught:
            await client.request(GET)
    assert not caught.value.may_have_arrived


@pytest.mark.asyncio
async def test_no_connection_in_time_was_never_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts, but never finishes the TLS handshake."""
    monkeypatch.setattr(kubernetes_transport, "CONNECT_SECONDS_MAX", 0.2)

    async def never(exchange: Exchange) -> None:
        raise AssertionError(exchange)

    async with serving(never) as server, transport(ClusterConfig(server.url.replace("http", "https"))) as client:
        with pytest.raises(TransportError, match=r"no connection within 0\.2 s") as caught:
            await client.request(GET)
    assert not caught.value.may_have_arrived


@pytest.mark.asyncio
async def test_an_answer_that_does_not_come_may_have_been_executed() -> None:
    """Neither headers, nor the rest of a body, within the request's time."""

    async def hang(exchange: Exchange) -> None:
        if "/slow-body" in exchange.line:
            exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        await asyncio.Event().wait()

    async with serving(hang) as server, transport(ClusterConfig(server.url)) as client:
        for path in ("/x", "/slow-body"):
            with pytest.raises(TransportError, match="no answer in time") as caught:
                await client.request(HTTPRequest("POST", path, timeout_seconds=0.2))
            assert caught.value.may_have_arrived


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST", "PATCH"])
@pytest.mark.asyncio
async def test_nothing_is_sent_twice_when_a_kept_connection_turns_out_dead(method: str) -> None:
    """aiohttp would send GET, PUT and DELETE again by itself, though the first may have been executed."""

    async def once(exchange: Exchange) -> None:
        if len(server.exchanges) == 1:
            await exchange.answer()
        else:
            exchange.writer.transport.abort()

    async with serving(once) as server, transport(ClusterConfig(server.url)) as client:
        await client.request(GET)
        with pytest.raises(TransportError) as caught:
            await client.request(HTTPRequest(method, "/x", body=b"" if method == "GET" else b"{}"))
    assert caught.value.may_have_arrived
    assert len(server.exchanges) == 2


@pytest.mark.asyncio
async def test_an_endless_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and the error names the way out."""
    monkeypatch.setattr(kubernetes_transport, "RESPONSE_BYTES_MAX", 1000)

    async def long(exchange: Exchange) -> None:
        await exchange.answer(body=b"x" * 5000)

    async with serving(long) as server, transport(ClusterConfig(server.url)) as client:
        with pytest.raises(TransportError, match="longer than 1000 bytes; list in pages"):
            await client.request(HTTPRequest("GET", "/x", (("token", CANARY),)))


@pytest.mark.asyncio
async def test_reads_are_asked_for_in_gzip_and_inflated() -> None:
    """An API server compresses long answers to those who accept it: a twentieth of the bytes, a third of the CPU."""
    packed = gzip.compress(b'{"items":[]}')

    async def compressed(exchange: Exchange) -> None:
        await exchange.answer(body=packed, more="Content-Encoding: gzip\r\n")

    async with serving(compressed) as server, transport(ClusterConfig(server.url)) as client:
        assert (await client.request(GET)).body == b'{"items":[]}'
    assert server.exchanges[0].header("accept-encoding") == ["gzip"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (gzip.compress(b"x" * 5000), "longer than 1000 bytes; list in pages"),
        (gzip.compress(b"x" * 900)[:-9], "cut off"),
        (b"plain", "is not"),
    ],
    ids=["bomb", "cut", "plain"],
)
async def test_a_broken_gzip_answer_is_refused(monkeypatch: pytest.MonkeyPatch, body: bytes, says: str) -> None:
    """A small answer that inflates beyond the bound, one that ends too soon, and one that is no gzip."""
    monkeypatch.setattr(kubernetes_transport, "RESPONSE_BYTES_MAX", 1000)

    async def broken(exchange: Exchange) -> None:
        await exchange.answer(body=body, more="Content-Encoding: gzip\r\n")

    async with serving(broken) as server, transport(ClusterConfig(server.url)) as client:
        with pytest.raises(TransportError, match=says):
            await client.request(HTTPRequest("GET", "/x", (("token", CANARY),)))


@pytest.mark.asyncio
@pytest.mark.parametrize("watch", [True, False])
async def test_an_encoding_that_was_not_asked_for_is_refused(watch: bool) -> None:
    """A proxy's doing; no half-understood bytes reach the decoder. Watches are asked for as they are."""
    encoding = "gzip" if watch else "br"

    async def packed(exchange: Exchange) -> None:
        await exchange.answer(body=gzip.compress(b"{}"), more=f"Content-Encoding: {encoding}\r\n")

    async with serving(packed) as server, transport(ClusterConfig(server.url)) as client:
        ask = client.stream(GET).__aenter__() if watch else client.request(GET)
        with pytest.raises(TransportError, match=f"came as {encoding}"):
            await ask


@pytest.mark.asyncio
async def test_a_cancelled_request_closes_its_connection() -> None:
    """The server sees that nobody waits any more, and the client goes on."""
    arrived = asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        if len(server.exchanges) == 1:
            arrived.set()
            await asyncio.wait_for(exchange_closed(exchange), 20)
            server.closed.set()
        else:
            await exchange.answer()

    async with serving(hang) as server, transport(ClusterConfig(server.url)) as client:
        task = asyncio.create_task(client.request(GET))
        await asyncio.wait_for(arrived.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.closed.wait(), 20)
        assert (await client.request(GET)).status == 200


async def exchange_closed(exchange: Exchange) -> None:
    while not exchange.writer.transport.is_closing():
        exchange.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await exchange.writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(("method", "body"), [("PATCH", b"{}"), ("PUT", b"x" * 200_000), ("GET", b"")])
@pytest.mark.asyncio
async def test_a_gate_that_closes_while_a_connection_is_made_lets_nothing_out(method: str, body: bytes) -> None:
    """What it raises reaches the caller; not even the head of the request arrives. An open gate changes nothing."""
    is_open = False
    asked = 0

    def gate() -> None:
        nonlocal asked
        asked += 1
        if not is_open:
            raise LeaseLostError("the lease went")

    async with serving(ok) as server, transport(ClusterConfig(server.url)) as client:
        for _ in range(3):
            with pytest.raises(LeaseLostError, match="the lease went"):
                await client.request(HTTPRequest(method, "/x", body=body, gate=gate))
        is_open = True
        assert (await client.request(HTTPRequest(method, "/x", body=body, gate=gate))).status == 200
    assert asked == 4
    assert [exchange.body for exchange in server.exchanges] == [body]


# -- streams --------------------------------------------------------------------------------------------------------


async def read(client: KubernetesTransport, idle_seconds_max: float | None = None) -> list[bytes]:
    async with client.stream(GET) as stream:
        return [chunk async for chunk in stream.chunks(idle_seconds_max=idle_seconds_max)]


@pytest.mark.asyncio
async def test_a_stream_gives_chunks_until_the_server_ends_it() -> None:
    """In order and complete."""

    async def watch(exchange: Exchange) -> None:
        await exchange.begin_stream()
        for part in (b"a" * 100_000, b"b", b"c\n"):
            await exchange.chunk(part)
        await exchange.chunk(b"")

    async with serving(watch) as server, transport(ClusterConfig(server.url)) as client:
        assert b"".join(await read(client)) == b"a" * 100_000 + b"bc\n"


@pytest.mark.asyncio
async def test_a_cut_stream_is_a_transport_error() -> None:
    """A connection that ends without the end of the body, politely or not."""
    for abort in (False, True):

        async def cut(exchange: Exchange, abort: bool = abort) -> None:
            await exchange.begin_stream()
            await exchange.chunk(b"a")
            if abort:
                exchange.writer.transport.abort()
            else:
                exchange.writer.close()

        async with serving(cut) as server, transport(ClusterConfig(server.url)) as client:
            with pytest.raises(TransportError, match="the stream was cut"):
                await read(client)


@pytest.mark.asyncio
async def test_a_silent_stream_is_given_up_and_a_slow_one_is_not() -> None:
    """The deadline counts from the last byte; it can be changed while the stream runs."""

    async def drip(exchange: Exchange) -> None:
        await exchange.begin_stream()
        for _ in range(8):
            await exchange.chunk(b"a")
            await asyncio.sleep(0.1)
        await asyncio.Event().wait()

    async with serving(drip) as server, transport(ClusterConfig(server.url)) as client:
        got = 0
        async with client.stream(GET) as stream:
            chunks = stream.chunks(idle_seconds_max=0.6)
            while got < 8:
                got += len(await anext(chunks))
            stream.set_idle_deadline(0.1)
            with pytest.raises(TransportError, match=r"silent for 0\.1 s"):
                await anext(chunks)
        assert got == 8


@pytest.mark.asyncio
async def test_a_busy_reader_is_not_a_silent_stream() -> None:
    """Time that the consumer takes is not counted."""

    async def two(exchange: Exchange) -> None:
        await exchange.begin_stream()
        await exchange.chunk(b"a")
        await asyncio.wait_for(go_on.wait(), 20)
        await exchange.chunk(b"b")
        await exchange.chunk(b"")

    go_on = asyncio.Event()
    async with serving(two) as server, transport(ClusterConfig(server.url)) as client, client.stream(GET) as stream:
        stream.set_idle_deadline(0.2)
        got = b""
        async for chunk in stream.chunks():
            got += chunk
            if not go_on.is_set():
                await asyncio.sleep(0.5)
                go_on.set()
    assert got == b"ab"


@pytest.mark.asyncio
async def test_headers_that_do_not_come_are_not_waited_for_for_ever() -> None:
    """The first byte has a deadline of its own."""

    async def hang(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with serving(hang) as server, transport(ClusterConfig(server.url)) as client:
        with pytest.raises(TransportError, match="no answer in time"):
            async with client.stream(attrs.evolve(GET, timeout_seconds=0.2)):
                pass


@pytest.mark.asyncio
async def test_watches_do_not_keep_requests_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty open watches, and one request connection is enough."""
    monkeypatch.setattr(kubernetes_transport, "REQUEST_CONNECTIONS_MAX", 1)

    async def either(exchange: Exchange) -> None:
        if exchange.line.startswith("GET /api/v1/x"):
            await exchange.begin_stream()
            await asyncio.Event().wait()
        await exchange.answer()

    async with (
        serving(either) as server,
        transport(ClusterConfig(server.url)) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(20):
            await stack.enter_async_context(client.stream(GET))
        async with asyncio.timeout(20):
            assert (await client.request(HTTPRequest("POST", "/y", body=b"{}"))).status == 200


@pytest.mark.asyncio
async def test_leaving_a_stream_closes_its_connection() -> None:
    """A watch that nobody reads is not kept in the pool."""

    async def watch(exchange: Exchange) -> None:
        await exchange.begin_stream()
        while True:
            await exchange.chunk(b"a" * 1000)
            await asyncio.sleep(0.01)

    async with serving(watch) as server, transport(ClusterConfig(server.url)) as client:
        async with client.stream(GET) as stream:
            await anext(stream.chunks())
        await asyncio.wait_for(server.closed.wait(), 20)


def test_sockets_notice_a_dead_peer() -> None:
    """Keepalive probes, and a bound on unacknowledged data."""
    with make_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


# -- proxies --------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_proxy_tunnels_to_the_server(
    authority: CertificateAuthority, served_by: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """proxy-url of the kubeconfig; TLS is with the API server, so the proxy sees no token."""
    monkeypatch.setenv("NO_PROXY", "*")
    asked: list[bytes] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        onward_reader, onward_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pump(reader, onward_writer), pump(onward_reader, writer))

    proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    url = f"http://user:pass@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    async with serving(ok, served_by) as server:
        config = ClusterConfig(server.url, TokenAuth(CANARY), trusting(authority), proxy_url=url)
        async with transport(config) as client:
            assert (await client.request(GET)).status == 200
    proxy.close()
    assert asked[0].startswith(b"CONNECT 127.0.0.1:")
    assert b"Proxy-Authorization: Basic" in asked[0]
    assert CANARY.encode() not in asked[0]


@pytest.mark.parametrize("by_environment", [True, False])
@pytest.mark.asyncio
async def test_a_proxy_that_refuses_is_named(by_environment: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """407 from the proxy, however that was chosen, is no answer of the API server; nothing arrived there."""

    async def refuse(exchange: Exchange) -> None:
        await exchange.answer(407)

    async with serving(refuse) as proxy:
        config = ClusterConfig("https://api.example.com", proxy_url="" if by_environment else proxy.url)
        if by_environment:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            monkeypatch.setenv("NO_PROXY", "example.org")
        async with transport(config) as client:
            with pytest.raises(TransportError, match="the proxy answered 407") as caught:
                await client.request(GET)
    assert not caught.value.may_have_arrived
    assert proxy.exchanges[0].line == "CONNECT api.example.com:443 HTTP/1.1"


# -- cost -----------------------------------------------------------------------------------------------------------


def test_a_network_client_does_not_load_the_generated_models() -> None:
    """kubernetes-asyncio costs 0.35 s and 40 MB as soon as any part of it is imported."""
    code = (
        "import sys\n"
        "from reconcile.client.config import ClusterConfig, TokenAuth\n"
        "from reconcile.client.connect import connect\n"
        "assert 'aiohttp' not in sys.modules\n"
        "connect(ClusterConfig('https://127.0.0.1:1', TokenAuth('t')))\n"
        "assert 'aiohttp' in sys.modules\n"
        "assert 'kubernetes_asyncio' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
