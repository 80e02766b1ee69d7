"""The real control plane: who is who, what is started, and that nothing is left of it, however its holder ends."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import attrs
import pytest

from reconcile.errors import ForbiddenError, UnauthorizedError
from reconcile.runtime.clock import SYSTEM_CLOCK
from reconcile.testing.envtest import (
    AUDIT_EVERYTHING,
    BinariesUnavailableError,
    ControlPlane,
    ControlPlaneConfig,
    ControlPlaneError,
    Rest,
    programs,
    provide_binaries,
)
from reconcile.testing.envtest.certificate_authority import Certificate, CertificateAuthority
from reconcile.testing.envtest.process import is_supervised

pytestmark = pytest.mark.usefixtures("programs_at_hand")

DEADLINE_SECONDS = 60.0


@pytest.fixture(scope="module")
def programs_at_hand(control_plane: ControlPlane) -> None:
    """The tests below start control planes of their own: skip them as the fixture does where there can be none."""


def wait_until(what: str, is_true) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent (Z) does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def supervised(directory: Path) -> list[int]:
    """The supervisor of ``directory`` and its programs, by what the kernel says."""
    supervisor = int((directory / "supervisor.pid").read_text())
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [supervisor, *(int(pid) for pid in children)]


def as_user(control_plane: ControlPlane, kubeconfig: Path) -> Rest:
    """Requests as the user of a kubeconfig."""
    return as_holder(control_plane, *client_certificate(kubeconfig))


def as_holder(control_plane: ControlPlane, certificate: str, key: str) -> Rest:
    tls = ssl.create_default_context(cafile=str(control_plane.ca_file))
    path = control_plane.directory / f"test-{os.urandom(4).hex()}.pem"
    path.write_text(certificate + key)
    tls.load_cert_chain(path)
    return Rest("127.0.0.1", control_plane.rest.port, tls, token=None)


def client_certificate(kubeconfig: Path) -> tuple[str, str]:
    user = json.loads(kubeconfig.read_text())["users"][0]["user"]
    return tuple(base64.b64decode(user[f"client-{part}-data"]).decode() for part in ("certificate", "key"))


def whoami(rest: Rest) -> dict:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return rest.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)["status"]["userInfo"]


# ── users ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("user", "groups"),
    [
        ("alice", []),
        ("Zoë, of “operations”", ["a,b", "developers"]),
        (f"system:serviceaccount:{'n' * 63}:{'a' * 253}", ["system:serviceaccounts"]),
    ],
)
def test_a_user_is_known_by_name_and_groups(control_plane: ControlPlane, user: str, groups: list[str]) -> None:
    """Whatever the name and the groups, the API server knows the kubeconfig's user by exactly these."""
    known = whoami(as_user(control_plane, control_plane.kubeconfig(user=user, groups=groups)))
    assert known["username"] == user
    assert sorted(known["groups"]) == sorted([*groups, "system:authenticated"])


def test_what_a_user_may_do_is_decided_by_rbac(control_plane: ControlPlane, namespace: str) -> None:
    """Nobody may anything until a binding allows it, and then no more than that."""
    rest = as_user(control_plane, control_plane.kubeconfig(user="alice", groups=["readers"]))
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    with pytest.raises(ForbiddenError):
        rest.request("GET", path)
    group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}
    control_plane.rest.request("POST", f"{group}/roles", {"metadata": {"name": "reader"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "readers"},
        "subjects": [{"kind": "Group", "name": "readers", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"},
    }
    control_plane.rest.request("POST", f"{group}/rolebindings", binding)

    def may_read() -> bool:
        try:
            rest.request("GET", path)
        except ForbiddenError:  # the authorizer reads bindings through a watch
            return False
        return True

    wait_until("the binding counts", may_read)
    with pytest.raises(ForbiddenError):
        rest.request("POST", path, {"metadata": {"name": "one"}})


def test_a_kubeconfig_is_for_this_user_of_the_machine_alone(control_plane: ControlPlane) -> None:
    """Files with keys and tokens can be read by their owner only."""
    control_plane.kubeconfig(user="alice")
    secret = [*control_plane.directory.glob("kubeconfig-*"), *control_plane.directory.glob("*.key")]
    assert len(secret) > 3
    assert {path.stat().st_mode & 0o777 for path in [*secret, control_plane.directory / "tokens.csv"]} == {0o600}


def test_the_administrator_has_a_token_too(control_plane: ControlPlane) -> None:
    """Bearer authentication works with the administrator's token, and with no other."""
    rest = control_plane.rest
    assert whoami(rest)["groups"] == ["system:masters", "system:authenticated"]
    assert rest.token == control_plane.admin_token
    with pytest.raises(UnauthorizedError):
        Rest(rest.host, rest.port, rest.tls, token="of somebody else").request("GET", "/api")


def test_a_certificate_of_another_authority_is_refused(control_plane: ControlPlane) -> None:
    """Anybody can sign the administrator's name; only this control plane's authority is believed."""
    forged: Certificate = CertificateAuthority.create(SYSTEM_CLOCK.wall()).identify(
        SYSTEM_CLOCK.wall(), "envtest-admin", ["system:masters"]
    )
    with pytest.raises(UnauthorizedError):
        as_holder(control_plane, forged.certificate_pem, forged.key_pem).request("GET", "/api")


def test_namespaces_are_fresh(control_plane: ControlPlane, namespace: str) -> None:
    """The fixture's namespace exists, is named after the test, and is empty."""
    assert namespace.startswith("test-namespaces-are-fresh-")
    found = control_plane.rest.request("GET", f"/api/v1/namespaces/{namespace}")
    assert found["status"]["phase"] == "Active"
    assert control_plane.rest.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"] == []


# ── what is started ────────────────────────────────────────────────────────────────────────────────────────────────

POD = {"containers": [{"name": "main", "image": "example.invalid/image"}]}


def pods_of(control_plane: ControlPlane, kind: str) -> list[dict]:
    pods = control_plane.rest.request("GET", "/api/v1/namespaces/default/pods")["items"]
    return [pod for pod in pods if pod["metadata"]["ownerReferences"][0]["kind"] == kind]


@pytest.mark.asyncio
async def test_controllers_can_be_chosen_and_exchanged() -> None:
    """With `*,-job-controller` ReplicaSets get Pods and Jobs get none, until a controller manager with it is started;
    the audit log says who made them."""
    config = ControlPlaneConfig(controllers="*,-job-controller", scheduler=True, audit_policy=AUDIT_EVERYTHING)
    async with ControlPlane(config) as control_plane:
        rest = control_plane.rest
        job = {"metadata": {"name": "one"}, "spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}}
        rest.request("POST", "/apis/batch/v1/namespaces/default/jobs", job)
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": POD}
        replica_set = {
            "metadata": {"name": "web"},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
        }
        rest.request("POST", "/apis/apps/v1/namespaces/default/replicasets", replica_set)
        wait_until("two Pods of the ReplicaSet", lambda: len(pods_of(control_plane, "ReplicaSet")) == 2)
        wait_until("the scheduler has looked at them", lambda: is_unschedulable(pods_of(control_plane, "ReplicaSet")))
        assert pods_of(control_plane, "Job") == []

        with pytest.raises(ControlPlaneError, match="runs already"):
            await control_plane.add_controller_manager("job-controller")
        await control_plane.stop_controller_manager()
        await control_plane.add_controller_manager("job-controller")
        wait_until("a Pod of the Job", lambda: len(pods_of(control_plane, "Job")) == 1)

        events = [json.loads(line) for line in control_plane.audit_log.read_text().splitlines()]
        makers = {
            event["user"]["username"]
            for event in events
            if event["verb"] == "create" and event["objectRef"].get("resource") == "pods"
        }
        assert makers == {f"system:serviceaccount:kube-system:{name}-controller" for name in ("job", "replicaset")}


def is_unschedulable(pods: list[dict]) -> bool:
    conditions = [condition for pod in pods for condition in pod["status"].get("conditions", [])]
    return any(condition.get("reason") == "Unschedulable" for condition in conditions)


def test_without_controllers_pods_need_no_service_account() -> None:
    """With the API server alone, a Pod can be created; with the ServiceAccount controller it gets an account."""
    script = """
        import anyio
        from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

        POD = {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "main", "image": "example.invalid/image"}]}}

        async def account(config):
            async with ControlPlane(config) as control_plane:
                await control_plane.create_namespace("other")
                pod = control_plane.rest.request("POST", "/api/v1/namespaces/other/pods", POD)
                print(pod["spec"].get("serviceAccountName"))

        anyio.run(account, ControlPlaneConfig())
        anyio.run(account, ControlPlaneConfig(controllers="serviceaccount-controller"))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("None\ndefault\n", "")


@pytest.mark.parametrize("program", ["kube-apiserver", "kube-controller-manager"])
@pytest.mark.asyncio
async def test_a_program_that_does_not_start_is_reported_with_its_log(tmp_path: Path, program: str) -> None:
    """The error says which program, how it ended and what it wrote last; and nothing is left running."""
    flags = ["--nonsense"]
    config = (
        ControlPlaneConfig(apiserver_arguments=flags)
        if program == "kube-apiserver"
        else ControlPlaneConfig(controllers="none", controller_manager_arguments=flags)
    )
    control_plane = ControlPlane(attrs.evolve(config, directory=tmp_path))
    with pytest.raises(ControlPlaneError, match=rf"(?s){program} has ended with exit code 1.*--nonsense"):
        await control_plane.start()
    assert not is_supervised(tmp_path)


@pytest.mark.asyncio
async def test_a_taken_port_is_exchanged_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that somebody else listens on, and answers on, is not mistaken for ours."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], free_port()]
        monkeypatch.setattr(programs, "_free_port", lambda: ports.pop(0))
        stranger = threading.Thread(target=answer_ok, args=[taken])
        stranger.start()
        try:
            async with ControlPlane() as control_plane:
                assert control_plane.rest.port != taken.getsockname()[1]
                assert control_plane.rest.request("GET", "/readyz") == "ok"
        finally:
            taken.shutdown(socket.SHUT_RDWR)
            stranger.join()
        assert ports == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def answer_ok(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.asyncio
async def test_a_given_directory_keeps_its_objects(tmp_path: Path) -> None:
    """A second start in the same directory finds what the first one's users made, and their kubeconfigs work."""
    config = ControlPlaneConfig(directory=tmp_path)
    async with ControlPlane(config) as control_plane:
        await control_plane.create_namespace("kept")
        with pytest.raises(ControlPlaneError, match=f"one runs already in {tmp_path}"):
            await ControlPlane(config).start()
        assert ControlPlane.look(tmp_path).url == control_plane.url
    assert ControlPlane.look(tmp_path) is None
    async with ControlPlane(config) as control_plane:
        assert control_plane.rest.request("GET", "/api/v1/namespaces/kept")["metadata"]["name"] == "kept"
        assert whoami(as_user(control_plane, control_plane.admin_kubeconfig))["username"] == "envtest-admin"


@pytest.mark.asyncio
async def test_the_release_is_what_the_server_says() -> None:
    """Clients that look at the server's version see the release that was asked for."""
    async with ControlPlane(ControlPlaneConfig(release="1.37.2")) as control_plane:
        version = control_plane.rest.request("GET", "/version")
        assert (version["major"], version["minor"], version["gitVersion"]) == ("1", "37", "v1.37.2")
        assert control_plane.release == "1.37.2"


# ── its end ────────────────────────────────────────────────────────────────────────────────────────────────────────

HOLDER = """
    import os, sys, threading, time
    import anyio
    from pathlib import Path
    from reconcile.testing.envtest import ControlPlane, ControlPlaneConfig

    async def hold():
        if len(sys.argv) > 1:
            control_plane = await ControlPlane.share(ControlPlaneConfig(), Path(sys.argv[1]))
        else:
            control_plane = ControlPlane()
            await control_plane.start()
        try:
            print(control_plane.directory, flush=True)
            await anyio.sleep_forever()
        finally:
            await control_plane.stop()

    {body}
"""


@contextlib.contextmanager
def holder(*arguments: str, body: str = "anyio.run(hold)"):
    """A process that holds a control plane; yields it and the directory once that runs."""
    script = textwrap.dedent(HOLDER.format(body=body))
    process = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGSEGV])
def test_nothing_is_left_when_the_holder_is_killed(number: signal.Signals) -> None:
    """However the process ends, by SIGKILL, Ctrl-C or a crash, its programs end and the directory is removed."""
    with holder() as (process, directory):
        pids = supervised(directory)
        assert len(pids) == 3
        process.send_signal(number)
        wait_until("every process has ended", lambda: not any(is_alive(pid) for pid in pids))
        wait_until("the directory is removed", lambda: not directory.exists())


def test_a_holder_may_start_it_from_a_thread_that_ends() -> None:
    """The programs live as long as the process, not as long as the thread that asked for them."""
    body = """
    async def start():
        control_plane = ControlPlane()
        await control_plane.start()
        return control_plane

    started = []
    thread = threading.Thread(target=lambda: started.append(anyio.run(start)))
    thread.start()
    thread.join()
    print(started[0].directory, flush=True)
    sys.stdin.read()
    """
    with holder(body=body.strip()) as (process, directory):
        pids = supervised(directory)
        assert len(pids) == 3
        # A dead thread's signal would have come by now: the kernel sends it as the thread ends.
        assert all(is_alive(pid) for pid in pids)
        process.kill()
        wait_until("every process has ended", lambda: not any(is_alive(pid) for pid in pids))


def test_a_fork_of_the_holder_does_not_keep_it_alive() -> None:
    """A child that inherited the connection, such as a worker of multiprocessing, is no holder."""
    body = """
    def fork_and_wait():
        if os.fork() == 0:
            print(os.getpid(), flush=True)
            time.sleep(600)

    async def hold_and_fork():
        async with ControlPlane() as control_plane:
            print(control_plane.directory, flush=True)
            fork_and_wait()
            await anyio.sleep_forever()

    anyio.run(hold_and_fork)
    """
    with holder(body=body.strip()) as (process, directory):
        fork = int(process.stdout.readline())
        try:
            pids = supervised(directory)
            process.kill()
            wait_until("every process has ended", lambda: not any(is_alive(pid) for pid in pids))
            wait_until("the directory is removed", lambda: not directory.exists())
            assert is_alive(fork)
        finally:
            os.kill(fork, signal.SIGKILL)


def test_the_programs_do_not_outlive_their_supervisor() -> None:
    """Even SIGKILL of the supervisor leaves no program behind."""
    with holder() as (_, directory):
        supervisor, *children = supervised(directory)
        os.kill(supervisor, signal.SIGKILL)
        wait_until("every program has ended", lambda: not any(is_alive(pid) for pid in children))
    shutil.rmtree(directory)  # nobody was left to do it


def test_an_open_watch_does_not_hold_up_the_end() -> None:
    """The API server waits for its watches; the supervisor does not wait for it beyond its bound."""
    with holder() as (process, directory):
        control_plane = ControlPlane.look(directory)
        rest = control_plane.rest
        connection = http.client.HTTPSConnection(rest.host, rest.port, context=rest.tls)
        connection.request("GET", "/api/v1/pods?watch=1", headers={"Authorization": f"Bearer {rest.token}"})
        assert connection.getresponse().status == 200
        pids = supervised(directory)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        wait_until("every process has ended", lambda: not any(is_alive(pid) for pid in pids))
        assert time.monotonic() - began < 15
        connection.close()


def test_a_shared_control_plane_ends_with_its_last_holder(tmp_path: Path) -> None:
    """Three processes get the same one; it survives the end of its starter, and ends with the last, by any signal."""
    directory = tmp_path / "shared"
    with holder(str(directory)) as (first, _):
        url = ControlPlane.look(directory).url
        pids = supervised(directory)
        with holder(str(directory)) as (second, _), holder(str(directory)) as (third, _):
            assert ControlPlane.look(directory).url == url
            first.kill()
            first.wait()
            second.send_signal(signal.SIGINT)
            second.wait()
            assert ControlPlane.look(directory).rest.request("GET", "/readyz") == "ok"
            assert all(is_alive(pid) for pid in pids)
            third.kill()
            wait_until("every process has ended", lambda: not any(is_alive(pid) for pid in pids))
            wait_until("the directory is removed", lambda: not directory.exists())


@pytest.mark.asyncio
async def test_a_program_that_ends_by_itself_is_reported() -> None:
    """After a crash of the API server, ``check`` says so, instead of leaving tests with refused connections."""
    async with ControlPlane() as control_plane:
        control_plane.check()
        _, *children = supervised(control_plane.directory)
        names = {Path(f"/proc/{pid}/comm").read_text().strip(): pid for pid in children}
        os.kill(names["kube-apiserver"], signal.SIGKILL)

        def error() -> str:
            try:
                control_plane.check()
            except ControlPlaneError as ended:
                return str(ended)
            return ""

        wait_until("it is reported", error)
        assert error().startswith("kube-apiserver has ended with exit code -9\nthe end of ")


@pytest.mark.asyncio
async def test_a_stopped_control_plane_says_so() -> None:
    """Use before the start and after the end gets an error that says what to do."""
    control_plane = ControlPlane()
    with pytest.raises(ControlPlaneError, match="not started: use `async with`"):
        _ = control_plane.url
    async with control_plane:
        pass
    with pytest.raises(ControlPlaneError, match="not started, or stopped"):
        control_plane.check()


# ── programs ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.asyncio
async def test_another_release_in_the_assets_directory_is_not_taken_for_the_one_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control_plane: ControlPlane
) -> None:
    """KUBEBUILDER_ASSETS counts when it is of the release, and when no release was asked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # no go, so nothing is built
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(control_plane.assets))
    names = ["etcd", "kube-apiserver"]
    expected = {name: control_plane.assets / name for name in names}
    assert await provide_binaries(names) == expected
    assert await provide_binaries(names, control_plane.release) == expected
    with pytest.raises(BinariesUnavailableError):
        await provide_binaries(names, "1.36.3" if control_plane.release != "1.36.3" else "1.37.2")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("has_go", [True, False], ids=["go on PATH", "go from the wheel"])
@pytest.mark.asyncio
async def test_etcd_is_built_from_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_go: bool) -> None:
    """With a Go on PATH, and without one, the build ends in a program that runs, and leaves nothing else behind."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if not has_go:
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = await provide_binaries(["etcd"])
    version = subprocess.run([found["etcd"], "--version"], capture_output=True, text=True).stdout
    assert version.startswith("etcd Version: 3.")
    assert sorted(path.name for path in found["etcd"].parent.iterdir()) == ["build.lock", "etcd"]
