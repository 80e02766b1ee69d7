"""``reconcile run`` as a process against a real API server: what it serves, logs, needs, and how it ends."""

import asyncio
import json
import re
import signal
import sys
import urllib.error
import urllib.request

import certifi
import pytest
from prometheus_client.parser import text_string_to_metric_families
from service_process import service

from reconcile.errors import ConflictError
from reconcile.testing.waiting import eventually

MODULE = '''
import json

from reconcile import App, Context

app = App("mirror")


@app.controller("v1/ConfigMap", name="mirror", labels="mirror=yes")
async def mirror(obj: dict, ctx: Context) -> None:
    """Copies nothing; touches what a log must not show, and fails where it is told to."""
    secret = await ctx.read("v1/Secret", "canary")
    ctx.log.info("looked at %s", json.dumps(secret.to_dict()))
    ctx.log.info("with Authorization: Bearer %s", secret.to_dict()["data"]["token"])
    if obj.get("data", {}).get("fail"):
        raise ValueError(f"cannot use {secret.to_dict()}")
'''

CANARY = "YzRuNHJ5LXNlY3JldC12YWx1ZQ=="  # c4n4ry-secret-value

QUEUE = {"name": "mirror", "controller": "mirror"}
CONTROLLER = {"controller": "mirror"}
NAMES = {
    "workqueue_depth": QUEUE,
    "workqueue_adds_total": QUEUE,
    "workqueue_queue_duration_seconds_count": QUEUE,
    "workqueue_work_duration_seconds_count": QUEUE,
    "workqueue_unfinished_work_seconds": QUEUE,
    "workqueue_longest_running_processor_seconds": QUEUE,
    "workqueue_retries_total": QUEUE,
    "controller_runtime_reconcile_total": {**CONTROLLER, "result": "success"},
    "controller_runtime_reconcile_errors_total": CONTROLLER,
    "controller_runtime_terminal_reconcile_errors_total": CONTROLLER,
    "controller_runtime_reconcile_panics_total": CONTROLLER,
    "controller_runtime_reconcile_time_seconds_count": CONTROLLER,
    "controller_runtime_max_concurrent_reconciles": CONTROLLER,
    "controller_runtime_active_workers": CONTROLLER,
    "controller_runtime_reconcile_timeouts_total": CONTROLLER,
}


async def fetch(url):
    def blocking():
        try:
            with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310  the URL that our child logged
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(blocking)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "mirroring.py").write_text(MODULE)
    return tmp_path


def config_map(name, **data):
    return {"metadata": {"name": name, "labels": {"mirror": "yes"}}, "data": data}


@pytest.fixture
def objects(control_plane, namespace):
    """A Secret that must not show, an object that is reconciled, and one that fails."""
    path = f"/api/v1/namespaces/{namespace}"
    control_plane.rest.request("POST", f"{path}/secrets", {"metadata": {"name": "canary"}, "data": {"token": CANARY}})
    for one in (config_map("good"), config_map("bad", fail="yes")):
        control_plane.rest.request("POST", f"{path}/configmaps", one)
    return namespace


def samples(text):
    """Every sample of a scrape."""
    families = list(text_string_to_metric_families(text))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.asyncio
async def test_service_tells_all_and_shows_no_secret(control_plane, objects, project):
    """Probes, metrics under the known names, logs with key and id; a Secret's value, read, logged and raised by the
    user's code, is in none of them; SIGTERM ends it with 0."""
    async with service(project, control_plane.admin_kubeconfig, "--namespace", objects, app="mirroring:app") as running:
        health, metrics = await running.url("probes"), await running.url("metrics")

        async def failed_and_succeeded():
            found = samples((await fetch(f"{metrics}/metrics"))[1])
            results = [
                found.get(("controller_runtime_reconcile_total", (("controller", "mirror"), ("result", result))))
                for result in ("success", "error")
            ]
            return found if all(results) else None

        found = await eventually(failed_and_succeeded, seconds=60)
        ready = await fetch(f"{health}/readyz?verbose")
        live = await fetch(f"{health}/healthz")
        scraped = (await fetch(f"{metrics}/metrics"))[1]
        assert await running.stop() == 0
    assert not [record for record in running.records if record["level"] == "stray"]
    assert live == (200, "ok\n")
    assert ready[0] == 200
    assert ready[1] == "[+] caches\n[+] controllers\n[+] informer configmaps [mirror=yes]\nok\n"
    for name, labels in NAMES.items():
        assert (name, tuple(sorted(labels.items()))) in found, name
    assert sum(value for (name, _), value in found.items() if name == "rest_client_requests_total") > 0
    seen = [record for record in running.records if record["message"].startswith("looked at")]
    assert {record["key"] for record in seen} == {f"{objects}/good", f"{objects}/bad"}
    assert {record["controller"] for record in seen} == {"mirror"}
    assert all(record["reconcile_id"] for record in seen)
    failures = [record for record in running.records if "cannot use" in json.dumps(record)]
    assert failures
    for text in (running.log, scraped, ready[1], live[1]):
        assert CANARY not in text
        assert control_plane.admin_token not in text


@pytest.mark.asyncio
async def test_readiness_names_the_resource_that_is_stuck(control_plane, namespace, project):
    """Without the right to list ConfigMaps the service lives, is not ready, and says which resource it is; why, is in
    the log."""
    kubeconfig = control_plane.kubeconfig(user="nobody-in-particular")
    async with service(project, kubeconfig, "--namespace", namespace, app="mirroring:app") as running:
        health = await running.url("probes")
        await running.logged("forbidden")

        async def not_ready():
            status, body = await fetch(f"{health}/readyz")
            return body if status == 503 and "informer" in body else None

        body = await eventually(not_ready, seconds=60)
        assert "[-] informer configmaps [mirror=yes]\n" in body
        assert "forbidden" not in body
        assert namespace not in body
        assert (await fetch(f"{health}/healthz"))[0] == 200
        assert await running.stop(signal.SIGINT) == 0


def free_lease(control_plane, namespace):
    """A Lease that its last holder has released, so that the next one does not have to wait for it."""
    lease = {
        "metadata": {"name": "mirror-lease", "annotations": {"reconcile.dev/released-at-transition": "3"}},
        "spec": {"holderIdentity": "", "leaseTransitions": 3},
    }
    control_plane.rest.request("POST", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", lease)


def lease_of(control_plane, namespace):
    return control_plane.rest.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/mirror-lease")


def election_flags(namespace):
    return (
        "--namespace",
        namespace,
        "--leader-elect",
        "--leader-elect-namespace",
        namespace,
        "--leader-elect-name=mirror-lease",
    )


@pytest.mark.asyncio
async def test_leader_says_so_and_releases_its_lease(control_plane, objects, project):
    """The metric says who leads, the Lease names it, and after SIGTERM nobody has to wait for it to expire."""
    free_lease(control_plane, objects)
    async with service(
        project, control_plane.admin_kubeconfig, *election_flags(objects), app="mirroring:app"
    ) as running:
        metrics = await running.url("metrics")
        await running.logged("looked at")
        found = samples((await fetch(f"{metrics}/metrics"))[1])
        assert [value for (name, _), value in found.items() if name == "leader_election_master_status"] == [1]
        assert lease_of(control_plane, objects)["spec"]["holderIdentity"]
        assert await running.stop() == 0
    assert not lease_of(control_plane, objects)["spec"].get("holderIdentity")


@pytest.mark.asyncio
async def test_lost_lease_exits_with_1(control_plane, objects, project):
    """Another holder in the Lease, and the process ends at its next look."""
    free_lease(control_plane, objects)
    async with service(
        project, control_plane.admin_kubeconfig, *election_flags(objects), app="mirroring:app"
    ) as running:
        await running.logged("looked at")
        for _ in range(20):  # against the renewals of the holder
            lease = lease_of(control_plane, objects)
            lease["spec"] |= {"holderIdentity": "somebody-else", "leaseTransitions": 7}
            try:
                control_plane.rest.request(
                    "PUT", f"/apis/coordination.k8s.io/v1/namespaces/{objects}/leases/mirror-lease", lease
                )
                break
            except ConflictError:
                continue
        async with asyncio.timeout(60):
            assert await running.process.wait() == 1
    assert "somebody-else" in running.log


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("token", ["401", "the credential is wrong or expired: check the kubeconfig's user"]),
        ("no token", ["403", "no credential was sent"]),
        ("server", ["https://127.0.0.1:9/", "Connection refused; is the server up, at this address (context "]),
        ("ca", ["certificate is refused", "check certificate-authority"]),
        ("yaml", ["bad YAML in line"]),
    ],
)
async def test_wrong_credentials_and_files_are_named(control_plane, namespace, project, broken, says):
    """A wrong token, CA or address ends it with 1, a file that is no kubeconfig with 2; the text names what is wrong
    and the way out, and never the token."""
    config = json.loads(control_plane.admin_kubeconfig.read_text())
    other = project / "kubeconfig"
    if broken == "token":
        config["users"][0]["user"] = {"token": "c4n4ryTokenThatIsWrong"}
    if broken == "no token":
        config["users"][0]["user"] = {}
    if broken == "server":
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"  # the port of "discard": nobody listens
    if broken == "ca":
        config["clusters"][0]["cluster"].pop("certificate-authority-data")
        config["clusters"][0]["cluster"]["certificate-authority"] = (
            certifi.where()
        )  # none of them signed for this server
    other.write_text("clusters: [unclosed" if broken == "yaml" else json.dumps(config))
    async with service(project, other, "--namespace", namespace, app="mirroring:app") as running:
        async with asyncio.timeout(60):
            status = await running.process.wait()
            await running._reader
    assert status == (2 if broken == "yaml" else 1)
    last = running.records[-1]["message"]
    for part in (*says, str(other) if broken in {"server", "ca", "yaml"} else ""):
        assert part in last
    assert "c4n4ryTokenThatIsWrong" not in running.log


@pytest.mark.asyncio
async def test_unknown_kind_exits_with_2(control_plane, namespace, tmp_path):
    """A kind that the server does not serve is refused by name."""
    (tmp_path / "mirroring.py").write_text(MODULE.replace("v1/ConfigMap", "example.com/v1/Gadget"))
    async with service(
        tmp_path, control_plane.admin_kubeconfig, "--namespace", namespace, app="mirroring:app"
    ) as running:
        async with asyncio.timeout(60):
            assert await running.process.wait() == 2
            await running._reader
    assert "example.com/v1/Gadget" in running.records[-1]["message"]


BOTH = """
from reconcile import App, Context, Request, mapped

app = App("both")

async def reconcile(request: Request, ctx: Context) -> None:
    ctx.log.info("looked at %s", request.key)

app.add(
    app.builder("v1/ConfigMap", name="both", labels="mirror=yes")
    .watches("v1/ConfigMap", enqueue=mapped(lambda obj: []), labels="mirror=yes", metadata_only=True)
    .build(reconcile)
)
"""


@pytest.mark.asyncio
async def test_one_kind_watched_in_full_and_as_metadata_has_two_checks(control_plane, objects, tmp_path):
    """Two informers of one kind and one selector are two names in the probe's answer."""
    (tmp_path / "both.py").write_text(BOTH)
    flags = ("--namespace", objects)
    async with service(tmp_path, control_plane.admin_kubeconfig, *flags, app="both:app") as running:
        health = await running.url("probes")
        await running.logged("looked at")
        _, body = await fetch(f"{health}/readyz?verbose")
        assert await running.stop() == 0
    assert "[+] informer configmaps [mirror=yes]\n[+] informer configmaps (metadata) [mirror=yes]\n" in body


STUBBORN = """
import time
import anyio
from reconcile import App, Context, Object, RunOptions
from reconcile.instrumentation.logging import configure_logging
import reconcile.app
import reconcile.runtime.controller

app = App("stubborn")

@app.controller("v1/ConfigMap", name="stubborn", labels="mirror=yes", timeout_seconds=0.2)
async def stubborn(obj: Object, ctx: Context) -> None:
    print("began", flush=True)
    await anyio.to_thread.run_sync(time.sleep, 600)

if __name__ == "__main__":
    import sys
    reconcile.runtime.controller.STUCK_SECONDS = 0.5
    reconcile.app.EXIT_SECONDS = float(sys.argv[3])
    configure_logging(format="text", level="info")
    app.run(options=RunOptions(kubeconfig=sys.argv[1], namespaces=(sys.argv[2],), drain_seconds=0.1))
"""


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("exit_seconds", "says"),
    [
        (1.0, "not stopped in 1.1 s, as after a reconcile that cannot be cancelled: exit at once"),
        (600.0, "second signal: exit at once"),
    ],
)
async def test_a_reconcile_that_cannot_be_cancelled_holds_up_no_stop(
    control_plane, objects, tmp_path, exit_seconds, says
):
    """It waits for a thread past its deadline, which is told with its key; the bound of the stop, or a second signal,
    ends the process with 1."""
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    arguments = [str(control_plane.admin_kubeconfig), objects, str(exit_seconds)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "stubborn.py",
        *arguments,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            log = ""
            while "goes on" not in log:
                log += (await process.stdout.readuntil(b"\n")).decode()
            process.send_signal(signal.SIGTERM)
            while "not drained in 0.1 s" not in log:
                log += (await process.stdout.readuntil(b"\n")).decode()
            if says.startswith("second signal"):
                process.send_signal(signal.SIGTERM)
            log += (await process.stdout.read()).decode()
            assert await process.wait() == 1
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert re.search(rf"{objects}/(good|bad)\].*cancelled at its deadline of 0.2 s and goes on", log)
    assert says in log
