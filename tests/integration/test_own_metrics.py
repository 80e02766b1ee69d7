"""A controller's own metrics on a real API server: declared, reported, served; and conflicts, which are no errors."""

from __future__ import annotations

import logging
import re
import urllib.request
from collections.abc import Iterable

import pytest
from anyio import to_thread
from pods import Cluster
from prometheus_client.parser import text_string_to_metric_families

from reconcile import App, Context, Counter, Histogram, Kind, Measured, Object, RunOptions, connect, load_config
from reconcile.instrumentation.hooks import Fact, Reconciled
from reconcile.model.delta import Delta
from reconcile.testing.envtest import ControlPlane
from reconcile.testing.waiting import eventually

CONFIG_MAP = Kind.parse("v1/ConfigMap")

LOOKS = Counter("shop_looks_total", "Looks at a shelf", labels=("shelf",))
SECONDS = Histogram("shop_look_seconds", "How long it took", buckets=(1.0,))
SEEN = Counter("shop_seen_total", "Shelves seen to come")
NEVER = Counter("shop_never_total", "What does not happen")
UNDECLARED = Counter("shop_undeclared_total", "What was forgotten")


def config_map(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"shop": "yes"}}}


def comes(delta: Delta) -> Iterable[Measured]:
    return [Measured(SEEN, 1)] if delta.old is None else []


async def scrape(caplog: pytest.LogCaptureFixture) -> dict[tuple[str, ...], float]:
    """Every sample: by name and label values."""
    url = re.findall(r"serving metrics on (\S+)", caplog.text)[-1]

    def read() -> str:
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:  # noqa: S310  ours, on loopback
            return answer.read().decode()

    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(await to_thread.run_sync(read))
        for sample in family.samples
    }


@pytest.mark.asyncio
async def test_what_a_controller_measures_is_served(
    control_plane: ControlPlane, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """From its reports and from what its watch sees; zero where nothing happened; an undeclared metric is an error."""
    caplog.set_level(logging.INFO, logger="reconcile")
    app = App("shop")

    async def shelf(request: object, ctx: Context) -> None:
        name = ctx.request.name
        ctx.report(LOOKS, 1, name)
        ctx.report(SECONDS, 0.5)
        if name == "odd":
            ctx.report(UNDECLARED, 1)

    app.add(
        app.builder("v1/ConfigMap", name="shelf", labels="shop=yes", measure=comes)
        .metrics(LOOKS, SECONDS, SEEN, NEVER)
        .options(retry_seconds_min=60.0, retry_seconds_max=60.0)
        .build(shelf)
    )
    options = RunOptions(namespaces=(namespace,), metrics_bind_address="127.0.0.1:0")
    async with (
        connect(load_config(control_plane.admin_kubeconfig)) as client,
        app.running(client=client, options=options),
    ):
        before = await scrape(caplog)
        for name in ("wine", "odd"):
            await Cluster(client, namespace).create(config_map(name))

        async def both_looked_at() -> bool:
            return ("shop_looks_total", "odd") in (found := await scrape(caplog)) and found.get(
                ("controller_runtime_reconcile_errors_total", "shelf"), 0
            ) == 1

        await eventually(both_looked_at)
        after = await scrape(caplog)
    assert before["shop_seen_total",] == before["shop_never_total",] == before["shop_look_seconds_count",] == 0
    assert after["shop_looks_total", "wine"] == after["shop_looks_total", "odd"] == 1
    assert after["shop_look_seconds_bucket", "1.0"] == after["shop_look_seconds_count",] == 2
    assert after["shop_seen_total",] == 2
    assert after["shop_never_total",] == 0
    assert "reports to metric shop_undeclared_total but does not declare it" in caplog.text


@pytest.mark.asyncio
async def test_a_conflict_is_an_outcome_of_its_own_and_runs_again(
    control_plane: ControlPlane, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody wrote between the read and the write: no error in facts, metrics or log; the next run succeeds."""
    caplog.set_level(logging.INFO, logger="reconcile")
    app = App("shop")
    facts: list[Fact] = []
    app.hook(facts.append)
    async with connect(load_config(control_plane.admin_kubeconfig)) as client:
        where = Cluster(client, namespace)

        @app.controller("v1/ConfigMap", name="shelf", labels="shop=yes", retry_seconds_min=0.05)
        async def shelf(obj: Object, ctx: Context) -> None:
            if obj.field("data") is None:
                read = await ctx.read("v1/ConfigMap", obj.name)
                await where.patch(CONFIG_MAP, obj.name, {"data": {"by": "somebody else"}})
                await ctx.update(read)

        options = RunOptions(namespaces=(namespace,), metrics_bind_address="127.0.0.1:0")
        async with app.running(client=client, options=options):
            await where.create(config_map("wine"))
            await eventually(lambda: [one.outcome for one in facts if isinstance(one, Reconciled)][-1:] == ["success"])
            found = await scrape(caplog)
    first, *others = [one for one in facts if isinstance(one, Reconciled)]
    assert first.outcome == "conflict"
    assert first.error.startswith("ConflictError")
    assert first.retry_after_seconds == pytest.approx(0.05)
    assert {one.outcome for one in others} == {"success"}
    assert found["controller_runtime_reconcile_total", "shelf", "conflict"] == 1
    assert found["controller_runtime_reconcile_errors_total", "shelf"] == 0
    assert found["workqueue_retries_total", "shelf", "shelf"] == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
