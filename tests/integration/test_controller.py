"""A controller's life on the real API server: failures of one key, of one controller, stops and scopes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import pytest

from reconcile import (
    App,
    Client,
    Context,
    Kind,
    MergePatch,
    Object,
    ObjectKey,
    Request,
    RunOptions,
    TerminalError,
    UnknownKindError,
    UsageError,
    connect,
    load_config,
)
from reconcile.client import writes
from reconcile.instrumentation.hooks import ComponentFailed, Fact, LoopStalled, Reconciled
from reconcile.model.object import from_plain
from reconcile.model.write import Applied
from reconcile.runtime.controller import Controller
from reconcile.testing.envtest import ControlPlane
from reconcile.testing.waiting import eventually

CONFIG_MAP = Kind.parse("v1/ConfigMap")


@pytest.fixture
def client(control_plane: ControlPlane) -> Client:
    """Closed by the test, in its own loop."""
    return connect(load_config(control_plane.admin_kubeconfig))


async def make(client: Client, namespace: str, *names: str, **labels: str) -> None:
    resource = await client.resource(CONFIG_MAP)
    for name in names:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
        }
        assert isinstance(await client.send(writes.create(resource, from_plain(body))), Applied)


async def touch(client: Client, namespace: str, name: str, value: str) -> None:
    resource = await client.resource(CONFIG_MAP)
    patch = writes.patch(resource, ObjectKey(namespace, name), MergePatch({"data": {"touched": value}}))
    assert isinstance(await client.send(patch), Applied)


class Facts:
    """What an app told."""

    def __init__(self, app: App) -> None:
        self.all: list[Fact] = []
        app.hook(self.all.append)

    def outcomes(self, name: str) -> list[str]:
        return [fact.outcome for fact in self.all if isinstance(fact, Reconciled) and fact.key.name == name]

    def of(self, kind: type[Any]) -> list[Any]:
        return [fact for fact in self.all if isinstance(fact, kind)]


@pytest.mark.asyncio
async def test_a_failing_key_retries_and_delays_no_other(client: Client, namespace: str) -> None:
    """One key raises each time, and backs off; the others are served meanwhile."""
    app = App("failing")
    facts = Facts(app)

    @app.controller("v1/ConfigMap", labels="team=a", workers=1)
    async def failing(obj: Object, ctx: Context) -> None:
        if obj.name == "bad":
            raise ValueError("no luck")

    async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))):
        await make(client, namespace, "bad", "good-1", "good-2", team="a")
        await eventually(lambda: len(facts.outcomes("bad")) >= 3)
        await eventually(lambda: facts.outcomes("good-1") and facts.outcomes("good-2"))
    assert set(facts.outcomes("bad")) == {"error"}
    assert set(facts.outcomes("good-1")) == {"success"}
    delays = [fact.retry_after_seconds for fact in facts.of(Reconciled) if fact.key.name == "bad"]
    assert delays == sorted(delays)
    assert delays[1] == pytest.approx(2 * delays[0])


@pytest.mark.asyncio
async def test_a_panic_and_a_terminal_error_concern_their_key_alone(client: Client, namespace: str) -> None:
    """What is no Exception is a panic and retried; a TerminalError waits for the object to change."""
    app = App("panic")
    facts = Facts(app)

    class Odd(BaseException):
        pass

    @app.controller("v1/ConfigMap", labels="team=b")
    async def panicking(obj: Object, ctx: Context) -> None:
        if obj.name == "panic" and len(facts.outcomes("panic")) < 2:
            raise Odd
        if obj.name == "deep" and not facts.outcomes("deep"):
            raise RecursionError
        if obj.name == "terminal" and obj.field("data") is None:
            raise TerminalError("needs data")

    async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))):
        await make(client, namespace, "panic", "deep", "terminal", team="b")
        await eventually(
            lambda: facts.outcomes("panic")[-1:] == ["success"] and facts.outcomes("deep")[-1:] == ["success"]
        )
        await eventually(lambda: facts.outcomes("terminal"))
        assert facts.outcomes("terminal") == ["terminal"]
        await touch(client, namespace, "terminal", "now")
        await eventually(lambda: facts.outcomes("terminal") == ["terminal", "success"])
    assert facts.outcomes("panic") == ["panic", "panic", "success"]
    assert facts.outcomes("deep") == ["panic", "success"]


@pytest.mark.asyncio
async def test_a_reconcile_that_never_returns_is_cancelled_at_its_deadline(client: Client, namespace: str) -> None:
    """It counts as a timeout, and the only worker goes on with other keys."""
    app = App("stuck")
    facts = Facts(app)

    @app.controller("v1/ConfigMap", labels="team=c", workers=1, timeout_seconds=0.2)
    async def stuck(obj: Object, ctx: Context) -> None:
        if obj.name == "stuck":
            await anyio.sleep_forever()

    async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))):
        await make(client, namespace, "stuck", "fine", team="c")
        await eventually(lambda: facts.outcomes("stuck") and facts.outcomes("fine"))
    assert facts.outcomes("stuck")[0] == "timeout"
    assert facts.outcomes("fine") == ["success"]


@pytest.mark.asyncio
async def test_a_cancelled_future_in_a_reconcile_costs_no_worker(client: Client, namespace: str) -> None:
    """Waiting for something that somebody cancels is the key's failure: the only worker serves on."""
    app = App("cancelled")
    facts = Facts(app)

    @app.controller("v1/ConfigMap", labels="team=j", workers=1)
    async def waits(obj: Object, ctx: Context) -> None:
        if obj.name == "unlucky" and not facts.outcomes("unlucky"):
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))):
        await make(client, namespace, "unlucky", "fine", team="j")
        await eventually(lambda: facts.outcomes("unlucky")[-1:] == ["success"] and facts.outcomes("fine"))
    assert facts.outcomes("unlucky") == ["panic", "success"]


@pytest.mark.asyncio
async def test_code_that_blocks_the_loop_is_named(client: Client, namespace: str) -> None:
    """The watchdog says for how long, and which function it was."""
    app = App("blocking")
    facts = Facts(app)

    @app.controller("v1/ConfigMap", labels="team=d")
    async def blocks_the_loop(obj: Object, ctx: Context) -> None:
        time.sleep(0.4)

    async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))):
        await make(client, namespace, "slow", team="d")
        await eventually(lambda: facts.of(LoopStalled))
    stall = facts.of(LoopStalled)[0]
    assert stall.seconds >= 0.3
    assert "blocks_the_loop" in stall.stack


@contextmanager
def crashing_once(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The workers of one controller die at their first key."""
    work = Controller._work
    crashed: list[str] = []

    async def crash(self: Controller) -> None:
        if self.name == name and not crashed:
            crashed.append(name)
            raise OSError("the controller's own fault")
        await work(self)

    with monkeypatch.context() as patch:
        patch.setattr(Controller, "_work", crash)
        yield
    assert crashed


@pytest.mark.asyncio
async def test_a_controller_that_crashes_is_restarted_and_the_others_go_on(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported, readiness says so meanwhile, and its keys are served after the restart."""
    app = App("crashing")
    facts = Facts(app)
    served: list[str] = []

    async def note(obj: Object, ctx: Context) -> None:
        served.append(ctx.log.extra["controller"])  # type: ignore[index]  # set by the framework

    for name in ("fragile", "sturdy"):
        app.controller("v1/ConfigMap", name=name, labels="team=e")(note)
    with crashing_once("fragile", monkeypatch):
        async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))) as manager:
            await eventually(lambda: facts.of(ComponentFailed))
            assert "fragile" in manager.health.failures("ready")["controllers"]
            await make(client, namespace, "one", team="e")
            await eventually(lambda: "sturdy" in served)
            await eventually(lambda: "fragile" in served)
            assert not manager.health.failures("ready")
    assert facts.of(ComponentFailed)[0].component == "controller fragile"


@pytest.mark.asyncio
async def test_a_crash_loses_no_key_and_a_stop_does_not_wait_for_the_restart(
    client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys that the workers had run after the restart, and readiness says what it died of."""
    app = App("dying")
    facts = Facts(app)
    began: list[str] = []

    @app.controller("v1/ConfigMap", labels="team=h", workers=2)
    async def dying(obj: Object, ctx: Context) -> None:
        began.append(obj.name)
        if began == ["slow"]:
            await anyio.sleep_forever()

    settled = Controller._settled

    async def dies(self: Controller, key: ObjectKey) -> bool:
        if key.name == "fatal" and armed:
            armed.clear()
            raise OSError("its own fault")
        return await settled(self, key)

    armed = ["once"]
    monkeypatch.setattr(Controller, "_settled", dies)
    async with client:
        async with app.running(client=client, options=RunOptions(namespaces=(namespace,))) as manager:
            await make(client, namespace, "slow", team="h")
            await eventually(lambda: began == ["slow"])
            await make(client, namespace, "fatal", team="h")
            await eventually(lambda: facts.of(ComponentFailed))
            assert manager.health.failures("ready")["controllers"] == "dying: OSError: its own fault"
            await eventually(lambda: sorted(began) == ["fatal", "slow", "slow"])
            armed.append("again")
            await touch(client, namespace, "fatal", "again")
            await eventually(lambda: len(facts.of(ComponentFailed)) == 2)
            stopped_at = time.monotonic()
        assert time.monotonic() - stopped_at < 5


@pytest.mark.asyncio
async def test_a_lost_answer_is_asked_for_even_if_the_function_goes_on(client: Client, namespace: str) -> None:
    """A cancelled write may have been executed: it is sent again until that is known, whatever the function returned."""
    app = App("careless")
    facts = Facts(app)

    @app.controller("v1/ConfigMap", labels="team=i")
    async def careless(obj: Object, ctx: Context) -> None:
        if not facts.outcomes(obj.name):
            with anyio.move_on_after(0):
                await ctx.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "child"}})

    async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))) as manager:
        await make(client, namespace, "one", team="i")
        await eventually(lambda: facts.outcomes("one")[-1:] == ["success"])
        assert facts.outcomes("one") == ["error", "success"]
        assert manager.controllers[0].freshness.statistics().unknown == 0
        resource = await client.resource(CONFIG_MAP)
        assert (await client.get(resource, ObjectKey(namespace, "child"))).name == "child"


@pytest.mark.asyncio
async def test_an_exit_in_a_reconcile_ends_neither_the_process_nor_the_worker(client: Client, namespace: str) -> None:
    """A library that calls ``sys.exit`` is the key's failure, as any other."""
    app = App("exiting")
    facts = Facts(app)

    @app.controller("v1/ConfigMap", labels="team=j", workers=1)
    async def exiting(obj: Object, ctx: Context) -> None:
        if obj.name == "bad":
            raise SystemExit(3)

    async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))):
        await make(client, namespace, "bad", "good", team="j")
        await eventually(lambda: facts.outcomes("good") and len(facts.outcomes("bad")) >= 2)
    assert set(facts.outcomes("bad")) == {"panic"}


@pytest.mark.asyncio
async def test_two_versions_of_one_resource_are_watched_side_by_side(client: Client, namespace: str) -> None:
    """A controller that moves from one version to the next sees both, and readiness tells them apart."""
    app = App("versions")

    async def nothing(request: Request, ctx: Context) -> None: ...

    for version in ("v1", "v2"):
        app.add(app.builder(f"autoscaling/{version}/HorizontalPodAutoscaler", name=version).build(nothing))
    async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))) as manager:
        body = manager.health.routes()["/readyz"]({"verbose": ""}).body.decode()
    assert "[+] informer horizontalpodautoscalers.autoscaling v1\n" in body
    assert "[+] informer horizontalpodautoscalers.autoscaling v2\n" in body


@pytest.mark.asyncio
async def test_a_stop_lets_running_reconciles_end(client: Client, namespace: str) -> None:
    """Within the bound what runs may finish; its writes are not cut."""
    app = App("draining")
    began, ended = anyio.Event(), []

    @app.controller("v1/ConfigMap", labels="team=f")
    async def draining(obj: Object, ctx: Context) -> None:
        began.set()
        await ctx.read("v1/ConfigMap", obj.name)
        ended.append(obj.name)

    async with client:
        async with app.running(client=client, options=RunOptions(namespaces=(namespace,))) as manager:
            await make(client, namespace, "one", team="f")
            await began.wait()
            manager.stop()
            await manager.wait_stopped()
        assert ended == ["one"]


@pytest.mark.asyncio
async def test_a_stop_does_not_wait_for_a_backlog(client: Client, namespace: str) -> None:
    """What runs may end; keys that wait are the next process's, which lists everything anew."""
    app = App("laden")
    began: list[str] = []
    go_on = anyio.Event()

    @app.controller("v1/ConfigMap", labels="team=k", workers=1)
    async def laden(obj: Object, ctx: Context) -> None:
        began.append(obj.name)
        await go_on.wait()

    async with client:
        await make(client, namespace, *(f"key-{number}" for number in range(20)), team="k")
        async with app.running(client=client, options=RunOptions(namespaces=(namespace,))) as manager:
            await eventually(lambda: began)
            assert manager.controllers[0].queue.statistics().depth == 19
            manager.stop()
            await eventually(lambda: manager.controllers[0].queue.is_shut_down)
            go_on.set()
            await manager.wait_stopped()
    assert len(began) == 1


@pytest.mark.asyncio
async def test_a_stop_cancels_what_does_not_end_within_the_bound(client: Client, namespace: str) -> None:
    """A reconcile that does not end cannot keep the process."""
    app = App("lingering")
    began = anyio.Event()

    @app.controller("v1/ConfigMap", labels="team=g")
    async def lingering(obj: Object, ctx: Context) -> None:
        began.set()
        await anyio.sleep_forever()

    options = RunOptions(namespaces=(namespace,), drain_seconds=0.1)
    async with client:
        with anyio.fail_after(10):
            async with app.running(client=client, options=options):
                await make(client, namespace, "one", team="g")
                await began.wait()


@pytest.mark.asyncio
async def test_a_failure_of_the_manager_cancels_the_body_and_is_raised(client: Client) -> None:
    """Who embeds the app hears of a kind that is not served, bare and by name."""
    app = App("unserved")

    @app.controller("example.com/v1/Nothing")
    async def nothing(obj: Object, ctx: Context) -> None: ...

    async with client:
        with pytest.raises(UnknownKindError, match=r"example\.com/v1/Nothing"):
            async with app.running(client=client):
                pytest.fail("the body runs only once the app has started")


@pytest.mark.asyncio
async def test_reading_an_undeclared_kind_from_the_cache_says_what_to_do(client: Client, namespace: str) -> None:
    """No informer is started behind anybody's back."""
    app = App("undeclared")
    said: list[str] = []

    @app.controller("v1/ConfigMap", labels="team=h")
    async def undeclared(obj: Object, ctx: Context) -> None:
        try:
            ctx.list("v1/Secret")
        except UsageError as error:
            said.append(str(error))

    async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))):
        await make(client, namespace, "one", team="h")
        await eventually(lambda: said)
    assert "v1/Secret" in said[0]
    assert "owns=" in said[0]
    assert "ctx.read" in said[0]


@pytest.mark.asyncio
async def test_offloaded_work_does_not_hold_the_loop(client: Client, namespace: str) -> None:
    """A worker process computes; the result comes back."""
    app = App("offloading")
    results: list[int] = []

    @app.controller("v1/ConfigMap", labels="team=i")
    async def offloading(obj: Object, ctx: Context) -> None:
        results.append(await ctx.offload(sum, range(1000)))

    async with client, app.running(client=client, options=RunOptions(namespaces=(namespace,))):
        await make(client, namespace, "one", team="i")
        await eventually(lambda: results)
    assert results[0] == 499500


def custom_resource_definition(plural: str, kind: str, group: str) -> dict[str, Any]:
    """A namespaced kind without a schema to speak of."""
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


@pytest.mark.asyncio
async def test_a_kind_that_is_not_served_yet_is_waited_for(
    control_plane: ControlPlane, client: Client, namespace: str
) -> None:
    """With ``missing_kinds="wait"`` the app starts once somebody has installed the definition."""
    group = f"{namespace[-8:]}.late.example.com"
    if group[0].isdigit():
        group = f"x{group}"
    app = App("waiting")
    seen: list[str] = []

    @app.controller(f"{group}/v1/Late")
    async def late(obj: Object, ctx: Context) -> None:
        seen.append(obj.name)

    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    options = RunOptions(namespaces=(namespace,), missing_kinds="wait")
    async with client, anyio.create_task_group() as tasks:
        started = anyio.Event()

        async def run() -> None:
            async with app.running(client=client, options=options):
                started.set()
                await eventually(lambda: seen, seconds=60)
            tasks.cancel_scope.cancel()

        tasks.start_soon(run)
        with pytest.raises(UnknownKindError):
            await client.resource(Kind.parse(f"{group}/v1/Late"))
        assert not started.is_set()
        control_plane.rest.request("POST", definitions, custom_resource_definition("lates", "Late", group))
        await started.wait()
        control_plane.rest.request(
            "POST",
            f"/apis/{group}/v1/namespaces/{namespace}/lates",
            {"apiVersion": f"{group}/v1", "kind": "Late", "metadata": {"name": "first"}},
        )
    assert seen == ["first"]
    control_plane.rest.request("DELETE", f"{definitions}/lates.{group}")
