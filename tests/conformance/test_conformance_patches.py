"""Random patches, applied configurations and custom resources: answered alike by the embedded server and a real one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import api_patches as patches
import pytest
from api_differences import reason_of
from api_objects import Draw
from api_twins import Answers, Twins
from real_server import APPLY, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, RealServer

from reconcile.testing.envtest import ControlPlane
from reconcile.testing.waiting import eventually

PATCHES = 150
HISTORIES = 15
EXAMPLES = 80
TIMES_LONG = 40
"""How many times as many the long run makes."""
WRITES = 7
"""Of one object's history: enough for managers to share, take and lose fields."""
MANAGERS = ("m1", "m2", "m3", "kubectl")
KINDS = ("ConfigMap", "Deployment", "Example")
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@pytest.fixture
def twins(control_plane: ControlPlane, namespace: str) -> Iterator[Twins]:
    real = RealServer(control_plane.rest)
    twins = Twins(real)
    assert twins.embedded("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}).status == 201
    yield twins
    real.close()


def check(answers: Answers, what: Any) -> None:
    if not answers.is_equal and reason_of(answers) is None:
        pytest.fail(f"{json.dumps(what)}\n{answers}")


def compare_patches(twins: Twins, namespace: str, seeds: range) -> None:
    path = DEPLOYMENTS.format(namespace)
    check(twins.request("POST", path, patches.deployment("patched")), "the Deployment itself")
    for seed in seeds:
        patch = patches.strategic_patch(Draw(seed))
        answers = twins.dry_run("PATCH", f"{path}/patched", patch, STRATEGIC_MERGE_PATCH)
        check(answers, {"seed": seed, "patch": patch})


def test_strategic_merge_patches(twins: Twins, namespace: str) -> None:
    """Keyed lists, sets and every directive, in a Deployment."""
    compare_patches(twins, namespace, range(PATCHES))


@pytest.mark.long
def test_many_strategic_merge_patches(twins: Twins, namespace: str) -> None:
    """Other seeds than the sample's; some minutes."""
    compare_patches(twins, namespace, range(PATCHES, PATCHES * TIMES_LONG))


def test_json_patches(twins: Twins, namespace: str) -> None:
    """Each operation, where it fits and where it does not."""
    path = DEPLOYMENTS.format(namespace)
    check(twins.request("POST", path, patches.deployment("patched")), "the Deployment itself")
    for patch in patches.JSON_PATCHES:
        check(twins.dry_run("PATCH", f"{path}/patched", patch, JSON_PATCH), patch)


def write_history(twins: Twins, path: str, kind: str, seed: int, group: str) -> None:
    """An object's life under several managers, who apply, put and patch it."""
    draw, name = Draw(seed), f"h{seed}"
    stored: dict[str, Any] | None = None
    done = []
    for _ in range(WRITES):
        body, manager = patches.configuration(draw, name, kind, group), draw.one(*MANAGERS)
        verb = draw.one("apply", "apply", "apply", "put", "merge") if stored else draw.one("apply", "create")
        done.append((verb, manager, body))
        match verb:
            case "apply":
                force = draw.one("true", "false")
                answers = twins.request("PATCH", f"{path}/{name}", body, APPLY, fieldManager=manager, force=force)
            case "create":
                answers = twins.request("POST", path, body, fieldManager=manager)
            case "put":
                body["metadata"] |= draw.one({}, {"managedFields": []}, {"managedFields": [{}]})
                body["metadata"] |= {} if kind != "Example" else {"resourceVersion": ""}
                answers = put(twins, f"{path}/{name}", body, manager)
            case _:
                answers = twins.request("PATCH", f"{path}/{name}", body, MERGE_PATCH, fieldManager=manager)
        check(answers, {"seed": seed, "done": done})
        if not answers.is_equal:
            return  # an explained difference: the two objects are not the same any more
        if answers.real_status < 300:
            stored = answers.real


def put(twins: Twins, path: str, body: dict[str, Any], manager: str) -> Answers:
    """A replacement: custom resources want the version, which is each server's own."""
    if "resourceVersion" not in body["metadata"]:
        return twins.request("PUT", path, body, fieldManager=manager)
    _, real = twins.real.request("GET", path)
    embedded = json.loads(twins.embedded("GET", path).body)
    answers = []
    for stored, send in ((real, twins.real.request), (embedded, twins.embedded)):
        version = stored["metadata"]["resourceVersion"]
        own = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
        answers.append(send("PUT", path, own, fieldManager=manager))
    return Answers(*answers[0], answers[1].status, json.loads(answers[1].body))


@asynccontextmanager
async def served(twins: Twins, namespace: str, kind: str) -> AsyncIterator[tuple[str, str]]:
    """The path of a kind's objects, and the group of a custom one, which is served as long as this lasts."""
    if kind != "Example":
        yield (DEPLOYMENTS if kind == "Deployment" else "/api/v1/namespaces/{}/configmaps").format(namespace), ""
        return
    group = f"{namespace[-8:]}.example.com"
    path = f"/apis/{group}/v1/namespaces/{namespace}/examples"
    try:
        assert twins.real.request("POST", DEFINITIONS, patches.definition(group))[0] == 201
        assert twins.embedded("POST", DEFINITIONS, patches.definition(group)).status == 201
        # A real server serves a definition a moment later, and knows its type for server-side apply later still.
        body = {"apiVersion": f"{group}/v1", "kind": "Example", "metadata": {"name": "probe"}}
        body["spec"] = {"n": 1, "l": [{"k": "a"}]}
        await eventually(lambda: twins.real.dry_run("PATCH", f"{path}/probe", body, APPLY, fieldManager="p")[0] == 201)
        yield path, group
    finally:
        twins.real.request("DELETE", f"{DEFINITIONS}/examples.{group}")


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KINDS)
async def test_objects_under_several_managers(twins: Twins, namespace: str, kind: str) -> None:
    """Ownership, conflicts, removal of what is no longer applied, resets of managedFields."""
    async with served(twins, namespace, kind) as (path, group):
        for seed in range(HISTORIES):
            write_history(twins, path, kind, seed, group)


@pytest.mark.long
@pytest.mark.asyncio
@pytest.mark.parametrize("kind", KINDS)
async def test_many_objects_under_several_managers(twins: Twins, namespace: str, kind: str) -> None:
    """Other seeds than the sample's; some minutes."""
    async with served(twins, namespace, kind) as (path, group):
        for seed in range(HISTORIES, HISTORIES * TIMES_LONG):
            write_history(twins, path, kind, seed, group)


@pytest.mark.asyncio
async def test_custom_resources(twins: Twins, namespace: str) -> None:
    """Pruning, defaults, nulls and every rule of a structural schema."""
    async with served(twins, namespace, "Example") as (path, group):
        for seed in range(EXAMPLES):
            body = patches.example(Draw(seed), f"e{seed}", group)
            for validation in ("Warn", "Strict"):
                answers = twins.dry_run("POST", path, body, fieldValidation=validation)
                check(answers, {"seed": seed, "validation": validation, "body": body})
