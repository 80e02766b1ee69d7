"""What a controller's ``field_validation`` brings about, on a real API server."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from pods import Cluster

from reconcile import ApiError, App, Context, Kind, Object, RunOptions, UsageError, connect, load_config
from reconcile.testing.envtest import ControlPlane
from reconcile.testing.waiting import eventually

CONFIG_MAP = Kind.parse("v1/ConfigMap")
WARNING = 'unknown field \\"spec.typo'


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("validation", "effects"), [("Warn", {"made", "warned"}), ("Strict", set()), ("Ignore", {"made"})]
)
async def test_an_unknown_field_is_told_refused_or_passed_over(
    control_plane: ControlPlane,
    namespace: str,
    caplog: pytest.LogCaptureFixture,
    validation: Any,
    effects: set[str],
) -> None:
    """``Warn`` logs the server's warning, ``Strict`` fails the write, and the error names the field."""
    caplog.set_level(logging.WARNING, logger="reconcile.client")
    app = App("shop")
    ended: list[str] = []

    @app.controller("v1/ConfigMap", labels="shop=yes", field_validation=validation)
    async def shelf(_: Object, ctx: Context) -> None:
        body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "made"}, "spec": job_spec()}
        try:
            await ctx.create(body)
        except ApiError as error:
            ended.append(str(error))
        else:
            ended.append("")

    options = RunOptions(kubeconfig=control_plane.admin_kubeconfig, namespaces=[namespace])
    async with connect(load_config(control_plane.admin_kubeconfig)) as client, app.running(options=options):
        await Cluster(client, namespace).create(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one", "labels": {"shop": "yes"}}}
        )
        await eventually(lambda: ended)
    if "made" in effects:
        assert ended[0] == ""
    else:
        assert "spec.typo" in ended[0]
    assert (WARNING in caplog.text) is ("warned" in effects)


def job_spec() -> dict[str, Any]:
    container = {"name": "main", "image": "local/none"}
    return {"typo": 1, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}


def test_another_word_is_refused() -> None:
    """Where it is declared; the error names the words there are."""
    with pytest.raises(UsageError, match=r"field_validation='strict': want one of \('Ignore', 'Warn', 'Strict'\)"):
        App("shop").controller("v1/ConfigMap", field_validation="strict")(_reconcile)


async def _reconcile(obj: Object, ctx: Context) -> None:
    raise AssertionError(obj, ctx)
