"""Probes and scrapes over real sockets: what is answered, what is refused, and what a slow or hostile client can hold."""

import asyncio
import contextlib
import functools
import inspect
import logging
import socket
import urllib.error
import urllib.request

import anyio
import pytest
import uvloop

from reconcile.errors import ConfigurationError, UsageError
from reconcile.runtime import http_server
from reconcile.runtime.health import Health
from reconcile.runtime.http_server import Address, Answer, HTTPServer, loopback_only

LOCAL = Address("127.0.0.1", 0)


def on_both_loops(test):
    """Runs an async test on asyncio's loop and on uvloop, whose transports differ; the service uses either."""

    @functools.wraps(test)
    def run(run_loop, **fixtures):
        run_loop(test(**fixtures))

    parameter = inspect.Parameter("run_loop", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([parameter, *inspect.signature(test).parameters.values()])
    return pytest.mark.parametrize("run_loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])(run)


class Serving:
    """A server for the length of a test."""

    def __init__(self, routes, address=LOCAL):
        self.server = HTTPServer("probes", address, routes)

    async def __aenter__(self):
        await self.server.start()
        return self.server

    async def __aexit__(self, *exc):
        await self.server.stop()


async def fetch(url, *, method="GET", data=None):
    """Status, headers and body, by a client that is not the server's library."""

    def blocking():
        request = urllib.request.Request(url, method=method, data=data)  # noqa: S310  our own server
        try:
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
                return response.status, dict(response.headers), response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read().decode()

    return await asyncio.to_thread(blocking)


async def connect(server):
    host, port = server.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


def hello(query):
    return Answer(200, b"hello " + query.get("name", "nobody").encode())


@on_both_loops
async def test_port_zero_is_bound_and_the_url_is_logged(caplog):
    """Whoever lets the system choose the port learns it from the log."""
    caplog.set_level(logging.INFO, "reconcile.http")
    async with Serving({"/hello": hello}) as server:
        status, headers, body = await fetch(f"{server.url}/hello?name=you")
        assert (status, body) == (200, "hello you")
        assert headers["Connection"] == "close"
        assert headers["Server"] == "reconcile"
        assert f"serving probes on {server.url}" in caplog.text
    assert server.url == ""


@on_both_loops
async def test_only_known_paths_and_reading_methods_are_answered():
    """No other path, no other method, no body."""
    async with Serving({"/hello": hello}) as server:
        assert (await fetch(f"{server.url}/nothing"))[0] == 404
        assert (await fetch(f"{server.url}/hello/../hello"))[0] == 404
        assert (await fetch(f"{server.url}/hello", method="DELETE"))[0] == 405
        assert (await fetch(f"{server.url}/hello", method="GET", data=b"x" * 100_000))[0] == 413
        status, _, body = await fetch(f"{server.url}/hello", method="HEAD")
        assert (status, body) == (200, "")


@on_both_loops
async def test_handler_that_raises_answers_without_its_text():
    """The client learns that it failed, the log learns why."""

    def broken(query):
        raise RuntimeError("the secret reason")

    async with Serving({"/broken": broken, "/hello": hello}) as server:
        status, _, body = await fetch(f"{server.url}/broken")
        assert status == 500
        assert "secret" not in body
        assert (await fetch(f"{server.url}/hello"))[0] == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"nonsense\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["long line", "long header", "TLS hello", "no HTTP", "negative length"],
)
@on_both_loops
async def test_malformed_request_is_refused_and_the_server_goes_on(request_bytes):
    """Whatever arrives, the connection ends and the next one is served."""
    async with Serving({"/hello": hello}) as server:
        reader, writer = await connect(server)
        writer.write(request_bytes)
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        assert answer == b"" or b" 400 " in answer.split(b"\r\n", 1)[0]
        assert (await fetch(f"{server.url}/hello"))[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Slow: "], ids=["silent", "half a header"])
@on_both_loops
async def test_slow_client_is_cut(sent, monkeypatch):
    """Slowloris: a client that never completes its request loses its connection at the bound."""
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 0.2)
    async with Serving({"/hello": hello}) as server:
        reader, writer = await connect(server)
        writer.write(sent)
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionResetError):  # as good an end as an orderly one
                assert await reader.read() == b""
        writer.close()


@on_both_loops
async def test_client_that_never_reads_its_answer_is_cut(monkeypatch):
    """A large answer that nobody takes holds no memory for longer than the bound."""
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 0.3)
    async with Serving({"/large": lambda query: Answer(200, b"x" * 50_000_000)}) as server:
        reader, writer = await connect(server)
        writer.transport.pause_reading()
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(20):
            while not server._connections:
                await asyncio.sleep(0)
            while server._connections:
                await asyncio.sleep(0.01)
        writer.transport.resume_reading()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(50_000_000)
        writer.close()


@on_both_loops
async def test_probe_is_answered_while_slow_clients_hold_every_connection(monkeypatch):
    """One connection too many cuts the oldest, so an attacker's do not keep kubelet out."""
    monkeypatch.setattr(http_server, "CONNECTIONS_MAX", 8)
    async with Serving({"/hello": hello}) as server:
        held = [await connect(server) for _ in range(20)]
        assert (await fetch(f"{server.url}/hello"))[0] == 200
        assert len(server._connections) <= 8
        for _, writer in held:
            writer.close()


@on_both_loops
async def test_stop_ends_at_once_though_clients_hang_on():
    """A half-sent request does not hold up the shutdown (aiohttp's own default would wait 60 s)."""
    server = HTTPServer("probes", LOCAL, {"/hello": hello})
    await server.start()
    held = [await connect(server) for _ in range(3)]
    held[0][1].write(b"GET /hello HTTP/1.1\r\nHost: x\r\n")
    async with asyncio.timeout(20):
        while len(server._connections) < 3:
            await asyncio.sleep(0)
        with anyio.fail_after(http_server.STOP_SECONDS + 5):
            await server.stop()
    for _, writer in held:
        writer.close()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", held[0][1].get_extra_info("peername")[1])


@on_both_loops
async def test_taken_port_is_the_operators_error():
    """The text names what could not be served, where, why, and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = HTTPServer("probes", Address("127.0.0.1", port), {})
        with pytest.raises(ConfigurationError, match=rf"cannot serve probes on 127\.0\.0\.1:{port}: .*port 0"):
            await server.start()


@on_both_loops
async def test_ipv6_url_has_brackets():
    """``[::1]:0`` can be pasted into a browser."""
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6; nothing to bind")
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("the IPv6 loopback is not up; nothing to bind")
    async with Serving({"/hello": hello}, Address("::1", 0)) as server:
        assert server.url.startswith("http://[::1]:")
        assert (await fetch(f"{server.url}/hello"))[0] == 200


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        (":0", "", 0),
        ("[::1]:65535", "::1", 65535),
        ("localhost:1", "localhost", 1),
    ],
)
def test_address_is_parsed(text, host, port):
    """The forms that Go's flags of the same names take."""
    address = Address.parse(text, flag="--health-bind-address")
    assert (address.host, address.port) == (host, port)


@pytest.mark.parametrize(
    "text", ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:80", "x:-1", "x:٣", f"x:{'9' * 9999}"]
)
def test_malformed_address_names_the_flag(text):
    """A wrong address is the operator's error, with the flag and the form."""
    with pytest.raises(ConfigurationError, match=r"--health-bind-address .*HOST:PORT"):
        Address.parse(text, flag="--health-bind-address")


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"])
def test_loopback_is_allowed_for_metrics(text):
    """Only this machine can reach it."""
    address = Address.parse(text, flag="--metrics-bind-address")
    assert loopback_only(address, flag="--metrics-bind-address") is address


@pytest.mark.parametrize("text", ["0.0.0.0:1", ":1", "[::]:1", "10.0.0.1:1", "metrics.example.com:1"])
def test_metrics_for_everybody_are_refused_with_the_way_out(text):
    """Metrics are cluster data: no TLS and authentication, no address that others reach."""
    with pytest.raises(ConfigurationError, match=r"--metrics-bind-address .*127\.0\.0\.1:1.*proxy"):
        loopback_only(Address.parse(text, flag="--metrics-bind-address"), flag="--metrics-bind-address")


@on_both_loops
async def test_health_answers_names_and_no_reasons(caplog):
    """Bodies are for everybody, so they hold names of checks; the reason is in the log, once."""
    caplog.set_level(logging.INFO, "reconcile.health")
    health = Health()
    state = {"reason": "403 of secret-namespace"}
    health.add("informer v1/Pod", lambda: state["reason"])
    health.add("leader election", lambda: None)
    async with Serving(health.routes()) as server:
        for _ in range(3):
            status, _, body = await fetch(f"{server.url}/readyz")
            assert (status, body) == (503, "[-] informer v1/Pod\n[+] leader election\nfailed\n")
        assert (await fetch(f"{server.url}/healthz"))[::2] == (200, "ok\n")
        state["reason"] = None
        assert (await fetch(f"{server.url}/readyz"))[::2] == (200, "ok\n")
        assert (await fetch(f"{server.url}/readyz?verbose"))[2] == "[+] informer v1/Pod\n[+] leader election\nok\n"
    assert [record.message for record in caplog.records if record.name == "reconcile.health"] == [
        "not ready: informer v1/Pod: 403 of secret-namespace",
        "ready: informer v1/Pod recovered",
    ]


def test_live_and_ready_are_apart():
    """What a restart does not mend must not restart the process."""
    health = Health()
    health.add("informer", lambda: "not synced")
    health.add("workers", lambda: "dead", probe="live")
    assert health.failures("ready") == {"informer": "not synced"}
    assert health.failures("live") == {"workers": "dead"}


def test_check_that_raises_has_failed():
    """No news is not good news."""
    health = Health()
    health.add("broken", lambda: 1 / 0)
    assert health.failures("ready") == {"broken": "ZeroDivisionError: division by zero"}


def test_check_names_are_unique():
    """A second check of one name would hide the first."""
    health = Health()
    health.add("informer", lambda: None)
    with pytest.raises(UsageError, match="'informer'"):
        health.add("informer", lambda: None)
