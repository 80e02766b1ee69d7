"""Leader election, Events and finalizer patches on a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reconcile.client import writes
from reconcile.client.api import Client
from reconcile.client.config import load_config
from reconcile.client.connect import connect
from reconcile.core import finalizer
from reconcile.core.leader_election import LeaderElectionConfig
from reconcile.core.lease_record import LEASES, RELEASED_ANNOTATION
from reconcile.core.outcome import Retry, Terminal, decide
from reconcile.core.recorder import COMBINED, EVENTS
from reconcile.errors import InvalidError, LeaseLostError, NotFoundError
from reconcile.model.key import ObjectKey
from reconcile.model.object import Object, from_plain
from reconcile.model.patch import JSONPatch, MergePatch
from reconcile.model.resource import Kind, Resource
from reconcile.model.watch_event import Deleted
from reconcile.model.write import Applied, Refused
from reconcile.runtime.leader_election import LeaderElector
from reconcile.runtime.recorder import EventRecorder

CONFIG_MAPS = Resource(Kind("", "v1", "ConfigMap"), "configmaps")
OURS = "example.com/ours"


@pytest_asyncio.fixture
async def client(kubeconfig: Path) -> AsyncIterator[Client]:
    async with connect(load_config(kubeconfig)) as client:
        yield client


class Running:
    """Runs something as a task for as long as the test needs it."""

    def __init__(self, run: Callable[[], Awaitable[None]]) -> None:
        self.task: asyncio.Task[None] = asyncio.ensure_future(run())

    async def __aenter__(self) -> asyncio.Task[None]:
        return self.task

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def elector(client: Client, namespace: str, identity: str) -> LeaderElector:
    config = LeaderElectionConfig("lease", namespace, identity, 2.0, 1.6, 0.4)
    return LeaderElector(client, config)


@pytest.mark.asyncio
async def test_one_leads_renews_and_hands_over(client: Client, namespace: str) -> None:
    """The server accepts every form of the Lease that is written; the token grows; the mark is set and taken away."""
    one, two = elector(client, namespace, "one"), elector(client, namespace, "two")
    key = ObjectKey(namespace, "lease")
    async with asyncio.timeout(60), Running(one.run) as first:
        await one.wait_leading()
        async with Running(two.run):
            held = await client.get(LEASES, key)
            renewed = held
            while renewed.field("spec")["renewTime"] == held.field("spec")["renewTime"]:
                await asyncio.sleep(0.05)
                renewed = await client.get(LEASES, key)
            assert (one.is_leading, two.is_leading, one.fencing_token) == (True, False, 1)
            await one.release()
            await first
            released = await client.get(LEASES, key)
            assert RELEASED_ANNOTATION in released.annotations or released.field("spec")["holderIdentity"] == "two"
            await two.wait_leading()
            assert two.fencing_token == 2
            taken = await client.get(LEASES, key)
            assert taken.field("spec")["holderIdentity"] == "two"
            assert RELEASED_ANNOTATION not in taken.annotations


@pytest.mark.asyncio
@pytest.mark.parametrize("change", ["deleted", "given to another", "labelled"])
async def test_a_leader_whose_lease_is_changed(client: Client, namespace: str, change: str) -> None:
    """Deleted or given away: it ends at once. Only labelled: it goes on."""
    one = elector(client, namespace, "one")
    key = ObjectKey(namespace, "lease")
    async with asyncio.timeout(60), Running(one.run) as running:
        await one.wait_leading()
        if change == "deleted":
            await client.send(writes.delete(LEASES, key))
        else:
            wanted: dict[str, Any] = {"spec": {"holderIdentity": "x"}}
            if change == "labelled":
                wanted = {"metadata": {"labels": {"a": "b"}}}
            assert isinstance(await client.send(writes.patch(LEASES, key, MergePatch(wanted))), Applied)
        if change == "labelled":
            first = one._election.deadline
            while one._election.deadline == first:
                await asyncio.sleep(0.05)
            assert one.is_leading
            assert (await client.get(LEASES, key)).labels == {"a": "b"}
        else:
            with pytest.raises(LeaseLostError):
                await running
            assert not one.is_leading


@pytest.mark.asyncio
async def test_events_are_accepted_counted_and_combined(client: Client, namespace: str) -> None:
    """What `kubectl describe` shows: one Event with a count, and one for many that are alike."""
    created = await client.send(writes.create(CONFIG_MAPS, config_map(namespace)))
    assert isinstance(created, Applied)
    assert created.object is not None
    recorder = EventRecorder(client, "test-controller")
    async with asyncio.timeout(60), Running(recorder.run):
        await asyncio.sleep(0)
        for _ in range(3):
            recorder.event(created.object, "Same", "the same")
            await recorder.flush()
        for i in range(12):
            recorder.event(created.object, "Similar", f"number {i}\x1b[31m", type="Warning")
        await recorder.flush()
    page = await client.list_page(EVENTS, namespace=namespace)
    found = [event.to_dict() for event in page.decode()[0]]
    by_reason = {reason: [event for event in found if event["reason"] == reason] for reason in ("Same", "Similar")}
    (same,) = by_reason["Same"]
    assert (same["count"], same["involvedObject"]["name"], same["source"]) == (
        3,
        "cm",
        {"component": "test-controller"},
    )
    assert len(by_reason["Similar"]) == 10
    (combined,) = [event for event in by_reason["Similar"] if event["message"].startswith(COMBINED)]
    assert combined["count"] == 3
    assert recorder.dropped_total == 0


@pytest.mark.asyncio
async def test_events_of_cluster_scoped_objects_go_to_the_default_namespace(client: Client, namespace: str) -> None:
    """As the server demands."""
    obj = from_plain({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    recorder = EventRecorder(client, "test-controller")
    async with asyncio.timeout(60), Running(recorder.run):
        await asyncio.sleep(0)
        recorder.event(obj, "Seen", "a namespace")
        await recorder.flush()
    assert (recorder.written_total, recorder.dropped_total) == (1, 0)
    page = await client.list_page(EVENTS, namespace="default", field_selector=f"involvedObject.name={namespace}")
    assert len(page.decode()[0]) == 1


def config_map(namespace: str, **metadata: Any) -> Object:
    return from_plain(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm", "namespace": namespace, **metadata}}
    )


async def patched(client: Client, obj: Object, patch: JSONPatch) -> Applied | Refused:
    outcome = await client.send(writes.patch(CONFIG_MAPS, obj.key, patch, uid=obj.uid))
    assert isinstance(outcome, Applied | Refused)
    return outcome


@pytest.mark.asyncio
@pytest.mark.parametrize("others", [(), ("example.com/theirs",)])
async def test_a_finalizer_is_added_and_removed_exactly(
    client: Client, namespace: str, others: tuple[str, ...]
) -> None:
    """Beside others' or alone; the object goes when the last one is removed."""
    created = await client.send(writes.create(CONFIG_MAPS, config_map(namespace, finalizers=list(others))))
    assert isinstance(created, Applied)
    obj = created.object
    assert obj is not None
    added = await patched(client, obj, finalizer.adding(obj, OURS))
    assert isinstance(added, Applied)
    assert added.object is not None
    assert added.object.finalizers == (*others, OURS)

    again = await patched(client, obj, finalizer.adding(obj, OURS))
    assert isinstance(again, Refused)
    assert isinstance(again.error, InvalidError), "the object is not as it was read"
    decision = decide(again.error)
    assert isinstance(decision, Retry)
    assert decision.outcome == "conflict"

    await client.send(writes.delete(CONFIG_MAPS, obj.key))
    deleting = await client.get(CONFIG_MAPS, obj.key)
    assert finalizer.next_step(deleting, OURS) is finalizer.Step.CLEANUP
    for name in (OURS, *others):
        now = await client.get(CONFIG_MAPS, obj.key)
        assert isinstance(await patched(client, now, finalizer.removing(now, name)), Applied)
    with pytest.raises(NotFoundError):
        await client.get(CONFIG_MAPS, obj.key)


@pytest.mark.asyncio
async def test_a_finalizer_that_moved_in_the_list_is_not_confused_with_anothers(client: Client, namespace: str) -> None:
    """The entry is tested before it is removed."""
    created = await client.send(
        writes.create(CONFIG_MAPS, config_map(namespace, finalizers=["example.com/first", OURS, "example.com/last"]))
    )
    assert isinstance(created, Applied)
    obj = created.object
    assert obj is not None
    assert isinstance(await patched(client, obj, finalizer.removing(obj, "example.com/first")), Applied)
    moved = await patched(client, obj, finalizer.removing(obj, OURS))
    assert isinstance(moved, Refused)
    assert isinstance(decide(moved.error), Retry)
    now = await client.get(CONFIG_MAPS, obj.key)
    assert now.finalizers == (OURS, "example.com/last")
    for name in now.finalizers:
        now = await client.get(CONFIG_MAPS, obj.key)
        await patched(client, now, finalizer.removing(now, name))


@pytest.mark.asyncio
async def test_an_object_that_breaks_the_rules_is_terminal_and_a_terminating_namespace_too(
    client: Client, namespace: str
) -> None:
    """The server's own answers lead to the decisions of the table."""
    bad = from_plain({**config_map(namespace).to_dict(), "data": {"bad key!": "x"}})
    refused = await client.send(writes.create(CONFIG_MAPS, bad))
    assert isinstance(refused, Refused)
    assert isinstance(decide(refused.error), Terminal)

    keep = await client.send(writes.create(CONFIG_MAPS, config_map(namespace, finalizers=[OURS])))
    assert isinstance(keep, Applied)
    namespaces = Resource(Kind("", "v1", "Namespace"), "namespaces", namespaced=False)
    await client.send(writes.delete(namespaces, ObjectKey("", namespace)))
    other = from_plain({**config_map(namespace).to_dict(), "metadata": {"name": "other", "namespace": namespace}})
    refused = await client.send(writes.create(CONFIG_MAPS, other))
    assert isinstance(refused, Refused)
    assert isinstance(decide(refused.error), Terminal), refused.error
    assert keep.object is not None
    await patched(client, keep.object, finalizer.removing(keep.object, OURS))


@pytest.mark.asyncio
async def test_what_deletes_are_answered_with(client: Client, namespace: str) -> None:
    """The read-your-writes gate builds on it: the version of a marked object, or no object at all."""
    created = await client.send(writes.create(CONFIG_MAPS, config_map(namespace, finalizers=[OURS])))
    assert isinstance(created, Applied)
    assert created.object is not None
    marked = await client.send(writes.delete(CONFIG_MAPS, created.object.key, uid=created.object.uid))
    assert isinstance(marked, Applied)
    assert marked.object is not None
    assert marked.object.is_deleting
    assert int(marked.resource_version) > int(created.resource_version)
    await patched(client, marked.object, finalizer.removing(marked.object, OURS))
    plain = await client.send(writes.create(CONFIG_MAPS, config_map(namespace)))
    assert isinstance(plain, Applied)
    gone = await client.send(writes.delete(CONFIG_MAPS, ObjectKey(namespace, "cm")))
    assert isinstance(gone, Applied)
    assert gone.object is None


@pytest.mark.asyncio
async def test_a_pod_that_is_deleted_at_once_is_answered_with_the_version_of_its_deletion(
    client: Client, namespace: str
) -> None:
    """So that an informer which has reached that version has seen it go."""
    pods = Resource(Kind("", "v1", "Pod"), "pods")
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": False},
    }
    created = await client.send(writes.create(pods, from_plain(body)))
    assert isinstance(created, Applied), created
    before = await client.list_page(pods, namespace=namespace)
    gone = await client.send(writes.delete(pods, ObjectKey(namespace, "p")))
    assert isinstance(gone, Applied)
    async with (
        asyncio.timeout(30),
        client.watch(pods, namespace=namespace, resource_version=before.resource_version) as stream,
    ):
        deleted = None
        async for events in stream:
            deleted = next((event.object for event in events if isinstance(event, Deleted)), None)
            if deleted is not None:
                break
    assert deleted is not None
    assert deleted.resource_version == gone.resource_version
