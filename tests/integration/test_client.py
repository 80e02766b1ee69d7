"""The client on a real API server: every verb and its outcome, every way that a connection is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.client.config import load_config
from reconcile.client.connect import connect
from reconcile.errors import (
    AlreadyExistsError,
    ApiError,
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    TooManyRequestsError,
    TransportError,
    UnauthorizedError,
    UnknownKindError,
)
from reconcile.instrumentation.hooks import Fact, Hooks, RequestSent
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, from_plain
from reconcile.model.patch import ApplyPatch, JSONPatch, MergePatch, StrategicMergePatch
from reconcile.model.resource import Kind, Resource
from reconcile.model.watch_event import Bookmark, Deleted, Upserted, WatchEvent
from reconcile.model.write import Applied, Outcome, Refused
from reconcile.testing.envtest import ControlPlane

CONFIG_MAPS = Resource(Kind("", "v1", "ConfigMap"), "configmaps")
PODS = Resource(Kind("", "v1", "Pod"), "pods")
JOBS = Resource(Kind("batch", "v1", "Job"), "jobs")
BUDGETS = Resource(Kind("policy", "v1", "PodDisruptionBudget"), "poddisruptionbudgets")


@pytest_asyncio.fixture
async def client(kubeconfig: Path) -> AsyncIterator[Client]:
    async with connect(load_config(kubeconfig)) as client:
        yield client


def config_map(namespace: str, name: str = "cm", data: dict[str, str] | None = None, **metadata: Any) -> Object:
    return from_plain(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, **metadata},
            "data": data or {"a": "1"},
        }
    )


def pod(namespace: str, name: str = "web") -> Object:
    return from_plain(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web"}},
            "spec": {
                "automountServiceAccountToken": False,
                "containers": [{"name": "c", "image": "busybox"}],
                "terminationGracePeriodSeconds": 0,
            },
        }
    )


def job(namespace: str) -> Object:
    template = {"spec": {"containers": [{"name": "c", "image": "busybox"}], "restartPolicy": "Never"}}
    return from_plain(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "job", "namespace": namespace},
            "spec": {"template": template, "suspend": True},
        }
    )


def applied(outcome: Outcome) -> Object:
    assert isinstance(outcome, Applied), outcome
    assert outcome.object is not None
    return outcome.object


def refused(outcome: Outcome, error: type[ApiError]) -> ApiError:
    assert isinstance(outcome, Refused), outcome
    assert type(outcome.error) is error
    return outcome.error


# -- reading --------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_version_and_where_kinds_are_served(client: Client) -> None:
    """Discovery knows plural and scope; an unknown kind is an error that names its neighbours."""
    assert (await client.version()).major == "1"
    assert await client.resource(Kind.parse("batch/v1/Job")) == JOBS
    assert (await client.resource(Kind.parse("v1/Node"))).namespaced is False
    with pytest.raises(UnknownKindError, match=r"batch/v1/Jub; in batch/v1 it has: CronJob, Job"):
        await client.resource(Kind.parse("batch/v1/Jub"))
    with pytest.raises(UnknownKindError, match=r"does not serve example.com/v1"):
        await client.resource(Kind.parse("example.com/v1/Widget"))


@pytest.mark.asyncio
async def test_a_list_comes_in_pages_and_narrows_by_selectors(client: Client, namespace: str) -> None:
    """Every object once, in whatever pages; labels and fields are the server's to check."""
    for number in range(7):
        labels = {"parity": "odd" if number % 2 else "even"}
        applied(await client.send(writes.create(CONFIG_MAPS, config_map(namespace, f"cm-{number}", labels=labels))))
    names: list[str] = []
    token, pages = "", 0
    while True:
        page = await client.list_page(CONFIG_MAPS, namespace=namespace, limit=3, continue_token=token)
        objects, bad = page.decode()
        assert not bad
        names += [obj.name for obj in objects if obj.name.startswith("cm-")]
        pages += 1
        token = page.continue_token
        if not token:
            break
    assert names == [f"cm-{number}" for number in range(7)]
    assert pages >= 3
    odd, _ = (await client.list_page(CONFIG_MAPS, namespace=namespace, label_selector="parity=odd")).decode()
    assert [obj.name for obj in odd] == ["cm-1", "cm-3", "cm-5"]
    one, _ = (await client.list_page(CONFIG_MAPS, namespace=namespace, field_selector="metadata.name=cm-2")).decode()
    assert [obj.name for obj in one] == ["cm-2"]


@pytest.mark.asyncio
async def test_metadata_only_lists_and_watches_leave_the_rest_at_the_server(client: Client, namespace: str) -> None:
    """Objects of the right kind, with metadata and nothing else."""
    applied(await client.send(writes.create(CONFIG_MAPS, config_map(namespace))))
    page = await client.list_page(
        CONFIG_MAPS, namespace=namespace, field_selector="metadata.name=cm", metadata_only=True
    )
    [listed], _ = page.decode()
    async with client.watch(
        CONFIG_MAPS, namespace=namespace, field_selector="metadata.name=cm", resource_version="0", metadata_only=True
    ) as stream:
        event = (await anext(stream))[0]
    assert isinstance(event, Upserted)
    for obj in (listed, event.object):
        assert (obj.kind, obj.name, obj.rest) == (CONFIG_MAPS.kind, "cm", b"")


async def events_until(stream: Any, kind: type[WatchEvent]) -> list[WatchEvent]:  # type: ignore[valid-type]  # a union of classes
    events: list[WatchEvent] = []
    async for batch in stream:
        events += batch
        if any(isinstance(event, kind) for event in batch):  # type: ignore[arg-type]  # one class of the union
            return events
    raise AssertionError(events)


@pytest.mark.asyncio
async def test_a_watch_list_gives_the_state_and_then_the_changes(client: Client, namespace: str) -> None:
    """The initial state, the bookmark that ends it, then each change; deletion carries the last state."""
    applied(await client.send(writes.create(CONFIG_MAPS, config_map(namespace))))
    async with client.watch(
        CONFIG_MAPS, namespace=namespace, send_initial_events=True, resource_version_match="NotOlderThan"
    ) as stream:
        initial = await events_until(stream, Bookmark)
        assert [e.object.name for e in initial if isinstance(e, Upserted) if e.object.name == "cm"] == ["cm"]
        assert isinstance(initial[-1], Bookmark)
        assert initial[-1].initial_events_end
        await client.send(writes.patch(CONFIG_MAPS, ObjectKey(namespace, "cm"), MergePatch({"data": {"a": "2"}})))
        changed = (await events_until(stream, Upserted))[-1]
        assert isinstance(changed, Upserted)
        assert changed.object.field("data") == {"a": "2"}
        await client.send(writes.delete(CONFIG_MAPS, ObjectKey(namespace, "cm")))
        gone = (await events_until(stream, Deleted))[-1]
        assert isinstance(gone, Deleted)
        assert gone.object.uid == changed.object.uid


@pytest.mark.asyncio
async def test_a_watch_ends_when_the_server_ends_it(client: Client, namespace: str) -> None:
    """After its timeout, without an error."""
    page = await client.list_page(CONFIG_MAPS, namespace=namespace)
    async with client.watch(
        CONFIG_MAPS, namespace=namespace, resource_version=page.resource_version, timeout_seconds=1
    ) as stream:
        assert [event async for batch in stream for event in batch if not isinstance(event, Bookmark)] == []


@pytest.mark.asyncio
async def test_a_version_from_the_future_is_told_at_once(client: Client) -> None:
    """504 with its cause reaches the list-watch, which knows what to do; the client does not repeat it."""
    with pytest.raises(ApiError, match="Too large resource version") as caught:
        await client.list_page(CONFIG_MAPS, resource_version="999999999", resource_version_match="NotOlderThan")
    assert caught.value.code == 504
    assert caught.value.retry_after_seconds == 1


@pytest.mark.asyncio
async def test_a_stale_continue_token_is_refused(client: Client) -> None:
    """410 or 400: never half a list."""
    with pytest.raises(ApiError) as caught:
        await client.list_page(CONFIG_MAPS, continue_token="bm90IGEgdG9rZW4")
    assert caught.value.code in {400, 410}


# -- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_create_and_its_refusals(client: Client, namespace: str) -> None:
    """Applied with version and uid; taken names and broken objects are told apart."""
    created = applied(await client.send(writes.create(CONFIG_MAPS, config_map(namespace), field_manager="me")))
    assert created.uid
    assert created.resource_version
    assert b"managedFields" not in created.to_json()
    error = refused(await client.send(writes.create(CONFIG_MAPS, config_map(namespace))), AlreadyExistsError)
    assert "configmaps" in str(error)
    broken = config_map(namespace, "Not_A_Name")
    assert refused(await client.send(writes.create(CONFIG_MAPS, broken)), InvalidError).status.details is not None
    refused(await client.send(writes.create(CONFIG_MAPS, config_map("no-such-namespace"))), NotFoundError)


@pytest.mark.asyncio
async def test_update_is_optimistic(client: Client, namespace: str) -> None:
    """The version that was read decides; unknown fields of the object survive."""
    first = applied(await client.send(writes.create(CONFIG_MAPS, config_map(namespace))))
    plain = first.to_dict()
    plain["data"] = {"a": "2"}
    second = applied(await client.send(writes.update(CONFIG_MAPS, from_plain(plain))))
    assert second.field("data") == {"a": "2"}
    refused(await client.send(writes.update(CONFIG_MAPS, from_plain(plain))), ConflictError)


@pytest.mark.asyncio
async def test_each_kind_of_patch_with_its_preconditions(client: Client, namespace: str) -> None:
    """Merge, strategic merge, JSON and apply; another uid or version is a conflict (for a JSON patch, invalid)."""
    key = ObjectKey(namespace, "cm")
    first = applied(await client.send(writes.create(CONFIG_MAPS, config_map(namespace))))
    changes = {
        "merge": MergePatch({"data": {"merge": "1"}}),
        "strategic": StrategicMergePatch({"data": {"strategic": "1"}}),
        "json": JSONPatch(({"op": "add", "path": "/data/json", "value": "1"},)),
        "apply": ApplyPatch({"data": {"apply": "1"}}, "me"),
    }
    version = first.resource_version
    for name, change in changes.items():
        write = writes.patch(CONFIG_MAPS, key, change, uid=first.uid, resource_version=version)
        result = applied(await client.send(write))
        assert result.field("data")[name] == "1"
        for wrong in ({"uid": "00000000-0000-0000-0000-000000000000"}, {"resource_version": version}):
            outcome = await client.send(writes.patch(CONFIG_MAPS, key, change, **wrong))
            refused(outcome, InvalidError if name == "json" else ConflictError)
        version = result.resource_version
    assert set(result.field("data")) == {"a", *changes}
    refused(await client.send(writes.patch(CONFIG_MAPS, ObjectKey(namespace, "x"), changes["merge"])), NotFoundError)


@pytest.mark.asyncio
async def test_apply_creates_owns_and_gives_up_fields(client: Client, namespace: str) -> None:
    """Server-side apply: created, the same again changes nothing, a field left out goes, conflicts need force."""
    key = ObjectKey(namespace, "cm")

    async def apply(data: dict[str, str], manager: str = "me", *, force: bool = True) -> Outcome:
        return await client.send(writes.patch(CONFIG_MAPS, key, ApplyPatch({"data": data}, manager, force)))

    first = applied(await apply({"a": "1", "b": "1"}))
    again = applied(await apply({"a": "1", "b": "1"}))
    assert again.resource_version == first.resource_version
    assert applied(await apply({"a": "1"})).field("data") == {"a": "1"}
    refused(await apply({"a": "2"}, "other", force=False), ConflictError)
    assert applied(await apply({"a": "2"}, "other")).field("data") == {"a": "2"}


@pytest.mark.asyncio
async def test_status_is_written_apart(client: Client, namespace: str) -> None:
    """By apply and by PUT; spec stays as it is."""
    created = applied(await client.send(writes.create(JOBS, job(namespace))))
    body = {"status": {"active": 0, "ready": 0, "startTime": None}}
    patch = ApplyPatch({"status": {"ready": 0, "terminating": 0}}, "me")
    patched = applied(await client.send(writes.patch(JOBS, created.key, patch, subresource="status", uid=created.uid)))
    assert patched.field("status")["terminating"] == 0
    plain = {**patched.to_dict(), **body, "spec": {**patched.field("spec"), "suspend": False}}
    updated = applied(await client.send(writes.update(JOBS, from_plain(plain), subresource="status")))
    assert updated.field("spec")["suspend"] is True
    assert "terminating" not in updated.field("status")


@pytest.mark.asyncio
async def test_delete_and_its_preconditions(client: Client, namespace: str) -> None:
    """Another uid or version: refused. Gone: not found, which asking again takes for done."""
    created = applied(await client.send(writes.create(CONFIG_MAPS, config_map(namespace))))
    wrong = writes.delete(CONFIG_MAPS, created.key, uid="00000000-0000-0000-0000-000000000000")
    refused(await client.send(wrong), ConflictError)
    refused(await client.send(writes.delete(CONFIG_MAPS, created.key, resource_version="1")), ConflictError)
    right = writes.delete(
        CONFIG_MAPS, created.key, uid=created.uid, resource_version=created.resource_version, propagation="Background"
    )
    assert await client.send(right) == Applied(right, None)
    refused(await client.send(right), NotFoundError)
    assert await client.resolve(right) == Applied(right, None)


@pytest.mark.asyncio
async def test_a_delete_that_waits_for_a_finalizer_shows_the_object(client: Client, namespace: str) -> None:
    """Applied, with the version at which it began to go."""
    held = config_map(namespace, finalizers=["example.com/hold"])
    created = applied(await client.send(writes.create(CONFIG_MAPS, held)))
    going = applied(await client.send(writes.delete(CONFIG_MAPS, created.key, uid=created.uid)))
    assert going.is_deleting
    release = writes.patch(CONFIG_MAPS, created.key, MergePatch({"metadata": {"finalizers": None}}), uid=created.uid)
    applied(await client.send(release))
    with pytest.raises(NotFoundError):
        await client.get(CONFIG_MAPS, created.key)


@pytest.mark.asyncio
async def test_eviction_obeys_disruption_budgets(client: Client, namespace: str) -> None:
    """429 while the budget forbids it, told at once; done when it does not."""
    created = applied(await client.send(writes.create(PODS, pod(namespace))))
    budget = from_plain(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "b", "namespace": namespace},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        }
    )
    made = applied(await client.send(writes.create(BUDGETS, budget)))
    status = {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    observed = MergePatch({"status": {**status, "observedGeneration": made.metadata.generation}})
    applied(await client.send(writes.patch(BUDGETS, made.key, observed, subresource="status")))
    # A Pod that is not running may always be evicted: it has to look alive first.
    running = MergePatch({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    applied(await client.send(writes.patch(PODS, created.key, running, subresource="status")))
    refused(await client.send(writes.evict(PODS, created.key, uid=created.uid)), TooManyRequestsError)
    applied_budget = await client.send(writes.delete(BUDGETS, made.key))
    assert isinstance(applied_budget, Applied)
    gone = writes.evict(PODS, created.key, uid=created.uid, grace_period_seconds=0)
    assert await client.send(gone) == Applied(gone, None)
    assert await client.resolve(gone) == Applied(gone, None)


@pytest.mark.asyncio
async def test_a_repeated_create_knows_its_own(client: Client, namespace: str) -> None:
    """The identical request again: ours by the controller reference; somebody else's stays refused."""
    owner = applied(await client.send(writes.create(CONFIG_MAPS, config_map(namespace, "owner"))))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid, "controller": True}
    write = writes.create(CONFIG_MAPS, config_map(namespace, "child", ownerReferences=[reference]))
    first = applied(await client.send(write))
    assert applied(await client.resolve(write)).uid == first.uid
    other = writes.create(CONFIG_MAPS, config_map(namespace, "child", ownerReferences=[{**reference, "uid": "x"}]))
    refused(await client.resolve(other), AlreadyExistsError)


@pytest.mark.asyncio
async def test_an_object_that_is_too_large_is_refused(client: Client, namespace: str) -> None:
    """By the request limit (413) or by etcd's; the connection survives."""
    big = config_map(namespace, "big", {"a": "x" * (3 * 1024 * 1024 + 1)})
    outcome = await client.send(writes.create(CONFIG_MAPS, big))
    assert isinstance(outcome, Refused)
    assert outcome.error.code in {413, 422}
    applied(await client.send(writes.create(CONFIG_MAPS, config_map(namespace))))


# -- who may, and who answers -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_rights_are_the_servers_to_check(control_plane: ControlPlane, namespace: str) -> None:
    """A user without any: the error names verb, resource and user; discovery works for everybody."""
    async with connect(load_config(control_plane.kubeconfig(user="nobody", groups=["nothing"]))) as client:
        assert await client.resource(Kind.parse("v1/ConfigMap")) == CONFIG_MAPS
        with pytest.raises(ForbiddenError, match=r'"nobody" cannot list resource "configmaps"'):
            await client.list_page(CONFIG_MAPS, namespace=namespace)
        with pytest.raises(ForbiddenError, match="cannot watch"):
            async with client.watch(CONFIG_MAPS, namespace=namespace):
                pass
        refused(await client.send(writes.create(CONFIG_MAPS, config_map(namespace))), ForbiddenError)


def changed(kubeconfig: Path, tmp_path: Path, *, cluster: dict[str, Any] | None = None, user: Any = None) -> Path:
    document = json.loads(kubeconfig.read_text())
    document["clusters"][0]["cluster"].update(cluster or {})
    if user is not None:
        document["users"][0]["user"] = user
    path = tmp_path / "changed"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.asyncio
async def test_a_bad_token_is_unauthorized(kubeconfig: Path, tmp_path: Path) -> None:
    """401, and the token is in no text."""
    path = changed(kubeconfig, tmp_path, user={"token": "canary-5f1e77a0"})
    async with connect(load_config(path)) as client:
        with pytest.raises(UnauthorizedError) as caught:
            await client.list_page(CONFIG_MAPS)
    assert "canary" not in str(caught.value)


@pytest.mark.asyncio
async def test_a_token_of_the_control_plane_is_somebody(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path
) -> None:
    """The administrator's bearer token, instead of a client certificate; acting as somebody else has their rights."""
    user = {"token": control_plane.admin_token}
    async with connect(load_config(changed(kubeconfig, tmp_path, user=user))) as client:
        await client.list_page(CONFIG_MAPS)
    async with connect(load_config(changed(kubeconfig, tmp_path, user={**user, "as": "nobody"}))) as client:
        with pytest.raises(ForbiddenError, match='"nobody" cannot list'):
            await client.list_page(CONFIG_MAPS)


@pytest.mark.asyncio
async def test_an_exec_plugin_logs_in(control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path) -> None:
    """A program that prints a token, and one that prints a client certificate."""
    known = json.loads(kubeconfig.read_text())["users"][0]["user"]
    pem = {name: base64.b64decode(known[f"client-{name}-data"]).decode() for name in ("certificate", "key")}
    pair = {"clientCertificateData": pem["certificate"], "clientKeyData": pem["key"]}
    version = "client.authentication.k8s.io/v1"
    for status in ({"token": control_plane.admin_token}, pair):
        credential = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        (tmp_path / "credential.json").write_text(json.dumps(credential))
        plugin = {"apiVersion": version, "command": "cat", "args": [str(tmp_path / "credential.json")]}
        async with connect(load_config(changed(kubeconfig, tmp_path, user={"exec": plugin}))) as client:
            await client.list_page(CONFIG_MAPS)


@pytest.mark.asyncio
async def test_a_renewed_token_file_is_read_at_the_401(
    control_plane: ControlPlane, kubeconfig: Path, tmp_path: Path
) -> None:
    """Without a restart, and without the caller noticing."""
    token = tmp_path / "token"
    token.write_text("expired")
    async with connect(load_config(changed(kubeconfig, tmp_path, user={"tokenFile": str(token)}))) as client:
        with pytest.raises(UnauthorizedError):
            await client.list_page(CONFIG_MAPS)
        token.write_text(control_plane.admin_token)
        await client.list_page(CONFIG_MAPS)


@pytest.mark.asyncio
async def test_another_authority_than_the_servers_is_refused(kubeconfig: Path, tmp_path: Path) -> None:
    """The system's certificates do not vouch for a cluster; the error names the field and the file."""
    path = changed(kubeconfig, tmp_path, cluster={"certificate-authority-data": ""})
    async with connect(load_config(path)) as client:
        with pytest.raises(TransportError, match=f"certificate-authority.*{path}") as caught:
            await client.version()
    assert not caught.value.may_have_arrived


@pytest.mark.asyncio
async def test_an_unreachable_server_is_named(kubeconfig: Path, tmp_path: Path) -> None:
    """Nothing listens there: the URL and the reason, within seconds."""
    path = changed(kubeconfig, tmp_path, cluster={"server": "https://127.0.0.1:1"})
    async with connect(load_config(path)) as client:
        with pytest.raises(TransportError, match=r"https://127\.0\.0\.1:1/version: cannot connect: Connection refused"):
            await client.version()
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_config(tmp_path / "missing")


@pytest.mark.asyncio
async def test_requests_are_told_to_the_hooks(kubeconfig: Path, namespace: str) -> None:
    """Verb, host, resource and code, as rest_client_requests_total counts them."""
    facts: list[Fact] = []
    hooks = Hooks()
    hooks.add(facts.append)
    config = load_config(kubeconfig)
    async with connect(config, hooks=hooks) as client:
        with pytest.raises(NotFoundError):
            await client.get(CONFIG_MAPS, ObjectKey(namespace, "missing"))
        async with client.watch(CONFIG_MAPS, namespace=namespace, timeout_seconds=1):
            pass
    sent = [(fact.method, fact.resource, fact.code) for fact in facts if isinstance(fact, RequestSent)]
    assert sent == [("GET", "configmaps", 404), ("WATCH", "configmaps", 200)]
    assert {fact.host for fact in facts if isinstance(fact, RequestSent)} == {config.server.removeprefix("https://")}
