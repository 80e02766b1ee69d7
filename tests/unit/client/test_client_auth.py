"""Credentials: token files, exec plugins as real processes, OIDC, and what of them may be seen."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from reconcile.client import auth
from reconcile.client.config import ClusterConfig, ExecAuth, OIDCAuth, TokenFileAuth
from reconcile.client.exec_plugin import OUTPUT_BYTES_MAX, redact, run_plugin
from reconcile.client.tls import KeyPair
from reconcile.errors import ConfigurationError, TransportError

CANARY = "canary-5f1e77a0-secret-value"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
V1 = "client.authentication.k8s.io/v1"


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float, /) -> None:
        self.now += seconds

    def random(self) -> float:
        return 0.5


def credential(token: str = "", expires_at: datetime | None = None, **status: Any) -> str:
    said: dict[str, Any] = {"token": token, **status} if token else dict(status)
    if expires_at is not None:
        said["expirationTimestamp"] = expires_at.isoformat().replace("+00:00", "Z")
    return json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": said})


@attrs.define
class Plugin:
    """A real program: it appends to a log, then does what its script says."""

    directory: Path

    def auth(self, script: str, **more: Any) -> ExecAuth:
        path = self.directory / "plugin.py"
        log = self.directory / "log"
        path.write_text(
            f"import json, os, sys, time\nopen({str(log)!r}, 'a').write(os.environ['KUBERNETES_EXEC_INFO'] + '\\n')\n{script}"
        )
        return ExecAuth(sys.executable, ("-S", str(path)), api_version=V1, **more)

    @property
    def runs(self) -> list[Any]:
        log = self.directory / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


@pytest.fixture(autouse=True)
def nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The canary, in every test of this file."""
    caplog.set_level(logging.DEBUG)
    yield
    assert CANARY not in caplog.text


# -- token files ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_token_file_is_read_again_within_a_minute(tmp_path: Path) -> None:
    """Projected tokens are renewed in place."""
    path, clock = tmp_path / "token", ManualClock()
    path.write_text("one\n")
    credentials = auth.TokenFileCredentials(TokenFileAuth(path), clock)
    assert await credentials.header() == "Bearer one"
    path.write_text("two")
    clock.now += 59
    assert await credentials.header() == "Bearer one"
    clock.now += 1
    assert await credentials.header() == "Bearer two"


@pytest.mark.asyncio
async def test_a_token_file_is_read_again_at_a_401(tmp_path: Path) -> None:
    """Renewed at once where the file has another token, refused where it has not."""
    path = tmp_path / "token"
    path.write_text("one")
    credentials = auth.TokenFileCredentials(TokenFileAuth(path), ManualClock())
    await credentials.header()
    assert not await credentials.renew("Bearer one")
    path.write_text("two")
    assert await credentials.renew("Bearer one")
    assert await credentials.header() == "Bearer two"


@pytest.mark.asyncio
async def test_a_token_file_that_is_gone_for_a_moment_keeps_the_last_token(tmp_path: Path) -> None:
    """But a first reading must succeed."""
    path, clock = tmp_path / "token", ManualClock()
    credentials = auth.TokenFileCredentials(TokenFileAuth(path), clock)
    with pytest.raises(ConfigurationError, match="cannot read the token file"):
        await credentials.header()
    path.write_text("")
    with pytest.raises(ConfigurationError, match="is empty"):
        await credentials.header()
    path.write_text("in\ntwo")
    with pytest.raises(ConfigurationError, match="has a line break"):
        await credentials.header()
    path.write_text("one")
    assert await credentials.header() == "Bearer one"
    for break_it in (lambda: path.write_text(" \n"), lambda: path.write_text("in\ntwo"), path.unlink):
        break_it()
        clock.now += 100
        assert await credentials.header() == "Bearer one"


# -- exec plugins ---------------------------------------------------------------------------------------------------


def exec_credentials(
    auth_: ExecAuth, clock: ManualClock, server_time: auth.ServerTime = lambda: NOW
) -> auth.ExecCredentials:
    return auth.ExecCredentials(auth_, clock, server_time)


@pytest.mark.asyncio
async def test_a_plugin_runs_once_for_all_who_wait_and_is_told_the_protocol(plugin: Plugin) -> None:
    """Single flight, then cached."""
    said = plugin.auth(f"time.sleep(0.2)\nprint({credential('tok')!r})", cluster_info={"server": "https://x"})
    credentials = exec_credentials(said, ManualClock())
    headers = await asyncio.gather(*[credentials.header() for _ in range(20)])
    assert set(headers) == {"Bearer tok"}
    assert await credentials.header() == "Bearer tok"
    spec = {"interactive": False, "cluster": {"server": "https://x"}}
    assert plugin.runs == [{"apiVersion": V1, "kind": "ExecCredential", "spec": spec}]


@pytest.mark.asyncio
async def test_a_plugin_runs_again_shortly_before_its_credential_expires_on_the_servers_clock(plugin: Plugin) -> None:
    """Expiry minus skew; never more often than every ten seconds, however short-lived the credential is."""
    clock, server = ManualClock(), [NOW]
    said = plugin.auth(f"print({credential('tok', NOW + timedelta(minutes=10))!r})")
    credentials = exec_credentials(said, clock, lambda: server[0])
    await credentials.header()
    server[0] += timedelta(minutes=8, seconds=59)
    clock.now += 539
    await credentials.header()
    assert len(plugin.runs) == 1
    server[0] += timedelta(seconds=1)
    clock.now += 1
    for _ in range(5):
        await credentials.header()
    assert len(plugin.runs) == 2
    clock.now += auth.RENEWAL_SECONDS_MIN
    await credentials.header()
    assert len(plugin.runs) == 3


@pytest.mark.asyncio
async def test_a_401_runs_the_plugin_once_and_does_not_loop(plugin: Plugin) -> None:
    """Ten rejected requests at once share the new credential; a second rejection soon after runs nothing."""
    clock = ManualClock()
    script = "n = sum(1 for _ in open(sys.argv[0].replace('plugin.py', 'log')))\n"
    script += "print(json.dumps({'apiVersion': '" + V1 + "', 'kind': 'ExecCredential', 'status': {'token': f't{n}'}}))"
    credentials = exec_credentials(plugin.auth(script), clock)
    assert await credentials.header() == "Bearer t1"
    clock.now += 100
    assert all(await asyncio.gather(*[credentials.renew("Bearer t1") for _ in range(10)]))
    assert await credentials.header() == "Bearer t2"
    assert not await credentials.renew("Bearer t2")
    assert len(plugin.runs) == 2


@pytest.mark.asyncio
async def test_those_who_waited_for_a_plugin_that_failed_share_the_failure(plugin: Plugin) -> None:
    """Else each of them would wait for a run of its own, one after the other. Later it is tried again."""
    clock = ManualClock()
    credentials = exec_credentials(plugin.auth("time.sleep(0.2); sys.exit(7)"), clock)
    answers = await asyncio.gather(*[credentials.header() for _ in range(20)], return_exceptions=True)
    assert {(type(answer), str(answer)[-13:]) for answer in answers} == {(TransportError, "exited with 7")}
    assert len(plugin.runs) == 1
    clock.now += auth.RENEWAL_SECONDS_MIN
    plugin.auth(f"print({credential('tok')!r})")
    assert await credentials.header() == "Bearer tok"


@pytest.mark.asyncio
async def test_a_credential_serves_to_its_end_when_it_cannot_be_renewed(
    plugin: Plugin, caplog: pytest.LogCaptureFixture
) -> None:
    """The identity provider may be away for a minute; after the end there is nothing to send."""
    clock, server = ManualClock(), [NOW]
    credentials = exec_credentials(
        plugin.auth(f"print({credential('tok', NOW + timedelta(minutes=10))!r})"), clock, lambda: server[0]
    )
    await credentials.header()
    plugin.auth("sys.exit(7)")
    clock.now += 570
    server[0] += timedelta(seconds=570)
    assert await credentials.header() == "Bearer tok"
    assert "expires soon" in caplog.text
    clock.now += 30
    server[0] += timedelta(seconds=30)
    with pytest.raises(TransportError, match="exited with 7"):
        await credentials.header()


@pytest.mark.asyncio
async def test_a_plugin_may_give_a_client_certificate(plugin: Plugin) -> None:
    """Instead of a token; then there is nothing to put into a header."""
    credentials = exec_credentials(
        plugin.auth(f"print({credential(clientCertificateData='C', clientKeyData=CANARY)!r})"), ManualClock()
    )
    assert await credentials.header() == ""
    assert credentials.key_pair == KeyPair(b"C", CANARY.encode())
    assert CANARY not in repr(credentials.key_pair)


@pytest.mark.asyncio
async def test_a_plugin_whose_token_can_be_no_header_is_named(plugin: Plugin) -> None:
    """Rather than that the first request fails."""
    with pytest.raises(ConfigurationError, match=r"exec plugin .* status\.token has a line break") as caught:
        await run_plugin(plugin.auth(f"print({credential(token=CANARY + chr(10))!r})"))
    assert CANARY not in str(caught.value)


@pytest.mark.asyncio
async def test_a_plugin_that_hangs_is_killed_with_its_children(plugin: Plugin) -> None:
    """A deadline, and nothing left behind."""
    pids = plugin.directory / "pids"
    script = (
        f"child = os.fork()\nif child: open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child}}')\ntime.sleep(3600)"
    )
    with pytest.raises(TransportError, match="no answer within 1 s") as caught:
        await run_plugin(plugin.auth(script), timeout_seconds=1)
    assert not caught.value.may_have_arrived
    for pid in map(int, pids.read_text().split()):
        await vanished(pid)


@pytest.mark.asyncio
async def test_a_plugin_of_a_cancelled_caller_is_killed(plugin: Plugin) -> None:
    """Cancellation at the wait leaves no process, and the next caller runs its own."""
    pids = plugin.directory / "pids"
    said = plugin.auth(f"open({str(pids)!r}, 'w').write(str(os.getpid()))\ntime.sleep(3600)")
    task = asyncio.create_task(run_plugin(said))
    async with asyncio.timeout(20):
        while not (pids.exists() and pids.read_text()):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await vanished(int(pids.read_text()))


async def vanished(pid: int) -> None:
    """Gone, or a zombie that init has yet to reap."""
    async with asyncio.timeout(20):
        while True:
            try:
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    return
            except (FileNotFoundError, ProcessLookupError):
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "error", "says"),
    [
        ("sys.exit(3)", TransportError, "exited with 3"),
        (f"sys.stderr.write('token: {CANARY}'); sys.exit(1)", TransportError, "exited with 1: token: \\[redacted\\]"),
        (f"sys.stderr.write('{CANARY}'); sys.exit(1)", TransportError, "redacted"),
        ("sys.stderr.write('you must log in first'); sys.exit(1)", TransportError, "you must log in first"),
        (f"print('{CANARY}')", ConfigurationError, "did not print an ExecCredential"),
        (f'print(\'{{"status":{{"token":["{CANARY}"]}}}}\')', ConfigurationError, "did not print an ExecCredential"),
        (f"print({credential(CANARY)!r}.replace('/v1', '/v9'))", ConfigurationError, "printed no ExecCredential of"),
        (f"print({credential()!r})", ConfigurationError, "neither status.token"),
        (f"print({credential(clientCertificateData='C')!r})", ConfigurationError, "must come together"),
        (f"print({credential('t', expirationTimestamp='soon')!r})", ConfigurationError, "not an RFC 3339 time"),
        (f"print('x' * {OUTPUT_BYTES_MAX + 9})", ConfigurationError, "more than"),
        (f"sys.stderr.write('x ' * {OUTPUT_BYTES_MAX}); sys.exit(1)", TransportError, "exited with 1"),
    ],
)
@pytest.mark.asyncio
async def test_a_plugin_that_fails_is_told_of_without_its_secrets(
    plugin: Plugin, script: str, error: type[Exception], says: str
) -> None:
    """Which plugin, what happened, and at most one redacted line of its own words."""
    with pytest.raises(error, match=says) as caught:
        await run_plugin(plugin.auth(script))
    assert CANARY not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.asyncio
async def test_a_plugin_that_is_not_installed_says_how_to_get_it() -> None:
    """The kubeconfig's own hint, else a general one."""
    with pytest.raises(ConfigurationError, match=r"no-such-plugin.*cannot be started.*get it from X"):
        await run_plugin(ExecAuth("no-such-plugin", install_hint="get it from X"))
    with pytest.raises(ConfigurationError, match=r"users\[\].user.exec.command"):
        await run_plugin(ExecAuth("/no/such/plugin"))


@pytest.mark.asyncio
async def test_plugins_get_no_terminal_and_no_shell(plugin: Plugin) -> None:
    """Standard input is empty; arguments arrive as they are."""
    script = (
        "assert sys.stdin.read() == ''\nassert sys.argv[1] == '$(id); *', sys.argv\n" + f"print({credential('t')!r})"
    )
    said = plugin.auth(script, env=(("A", "b"),))
    said = attrs.evolve(said, args=(*said.args, "$(id); *"))
    assert (await run_plugin(said)).token == "t"
    assert "A" not in os.environ


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("an error occurred (ExpiredToken)", "an error occurred (ExpiredToken)"),
        ("password=hunter2 user=x", "password=[redacted] user=x"),
        ('{"access_token": "abc"}', '{"access_token": [redacted]'),
        ("Authorization: Bearer abc.def", "Authorization:[redacted]"),
        ("sent Bearer abc, refused", "sent Bearer [redacted] refused"),
        ("GET / \nCookie: a=abc; b=abc\nfailed", "GET / Cookie:[redacted] failed"),
        ("got eyJhbGciOiJSUzI1NiIsImtpZCI6.eyJpc3Mi.x", "got [redacted]"),
        ("word " * 100, ("word " * 100)[:300]),
    ],
)
def test_redaction(text: str, shown: str) -> None:
    """Words stay; what is named a secret or looks like one goes; one short line remains."""
    assert redact(text) == shown


# -- OIDC and the rest ----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_oidc_token_is_renewed_when_the_server_refuses_it() -> None:
    """Once for all who were refused, and not in a loop."""
    asked: list[str] = []

    async def refresh(auth_: OIDCAuth) -> OIDCAuth:
        asked.append(auth_.refresh_token)
        await asyncio.sleep(0)
        return attrs.evolve(auth_, id_token=f"id{len(asked)}", refresh_token="r2")

    clock = ManualClock()
    credentials = auth.OIDCCredentials(OIDCAuth("https://i", "c", id_token="old", refresh_token="r1"), clock, refresh)
    assert await credentials.header() == "Bearer old"
    assert all(await asyncio.gather(*[credentials.renew("Bearer old") for _ in range(5)]))
    assert (await credentials.header(), asked) == ("Bearer id1", ["r1"])
    assert not await credentials.renew("Bearer id1")
    clock.now += 60
    assert await credentials.renew("Bearer id1")
    assert asked == ["r1", "r2"]


@pytest.mark.asyncio
async def test_credentials_are_not_sent_over_plain_http(tmp_path: Path) -> None:
    """As with kubectl: anybody on the way could read them."""

    async def refresh(auth_: OIDCAuth) -> OIDCAuth:
        raise AssertionError(auth_)

    (tmp_path / "token").write_text("t")
    for server, header in {"http://x": "", "https://x": "Bearer t"}.items():
        config = ClusterConfig(server, TokenFileAuth(tmp_path / "token"))
        credentials = auth.credentials_for(config, ManualClock(), lambda: None, refresh)
        assert await credentials.header() == header
