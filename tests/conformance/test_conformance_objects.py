"""Random objects and random changes: the embedded server and a real one say the same to each.

The same status, reason and causes for what is refused; the same object, with its defaults and its managedFields, for
what is taken. Requests are dry runs where nothing has to be stored. ``api_differences`` names what may differ, and why.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

import api_objects as objects
import api_workloads as workloads
import attrs
import pytest
from api_differences import reason_of
from api_objects import Draw
from api_twins import Answers, Twins
from real_server import RealServer

from reconcile.testing.envtest import ControlPlane

OBJECTS = 40
"""Of each kind in a run of all tests: two seconds a kind."""
OBJECTS_LONG = 3_000
CHANGES = 3


@attrs.frozen
class Kind:
    """Where objects of a kind live, what makes one, and what changes one."""

    path: str
    make: Callable[[Draw, str], dict[str, Any]]
    change: Callable[[Draw, dict[str, Any]], workloads.Change] | None = None


def core(plural: str) -> str:
    return f"/api/v1/namespaces/NAMESPACE/{plural}"


def of(group: str, plural: str) -> str:
    return f"/apis/{group}/v1/namespaces/NAMESPACE/{plural}"


def apps(kind: str) -> Kind:
    make = functools.partial(workloads.workload, kind=kind)
    return Kind(of("apps", f"{kind.lower()}s"), make, workloads.workload_change)


KINDS = {
    "Pod": Kind(core("pods"), objects.pod, workloads.pod_change),
    "Job": Kind(of("batch", "jobs"), workloads.job, workloads.job_change),
    "CronJob": Kind(of("batch", "cronjobs"), workloads.cron_job),
    "Deployment": apps("Deployment"),
    "ReplicaSet": apps("ReplicaSet"),
    "StatefulSet": apps("StatefulSet"),
    "ConfigMap": Kind(core("configmaps"), objects.config_map, workloads.data_change),
    "Secret": Kind(core("secrets"), objects.secret, workloads.data_change),
    "ServiceAccount": Kind(core("serviceaccounts"), objects.service_account),
    "Event": Kind(core("events"), objects.event),
    "Node": Kind("/api/v1/nodes", objects.node, workloads.node_change),
    "Lease": Kind(of("coordination.k8s.io", "leases"), objects.lease, workloads.lease_change),
    "PodDisruptionBudget": Kind(of("policy", "poddisruptionbudgets"), workloads.budget, workloads.budget_change),
    "Role": Kind(of(objects.RBAC, "roles"), objects.role),
    "RoleBinding": Kind(of(objects.RBAC, "rolebindings"), objects.role_binding),
}


@pytest.fixture
def twins(control_plane: ControlPlane, namespace: str) -> Iterator[Twins]:
    real = RealServer(control_plane.rest)
    twins = Twins(real)
    body = {"metadata": {"name": namespace}}
    assert twins.embedded("POST", "/api/v1/namespaces", body).status == 201
    yield twins
    real.close()


def check(answers: Answers, kind: str, seed: int, body: Any) -> None:
    if not answers.is_equal and reason_of(answers) is None:
        pytest.fail(f"{kind}, seed {seed}: {json.dumps(body)}\n{answers}")


def compare(twins: Twins, namespace: str, kind: str, seed: int) -> None:
    """One object: made, and if it is good changed a few times."""
    what, draw, name = KINDS[kind], Draw(seed), f"{namespace[-8:]}-{seed}"
    path = what.path.replace("NAMESPACE", namespace)
    body = what.make(draw, name)
    answers = twins.dry_run("POST", path, body)
    check(answers, kind, seed, body)
    if what.change is None or answers.real_status != 201:
        return
    stored = twins.request("POST", path, body)
    if stored.real_status != 201:
        return
    for _ in range(CHANGES):
        subresource, content_type, patch = what.change(draw, stored.real)
        one = f"{path}/{stored.real['metadata']['name']}{subresource}"
        check(twins.dry_run("PATCH", one, patch, content_type), kind, seed, patch)
    twins.request("DELETE", f"{path}/{stored.real['metadata']['name']}", {"gracePeriodSeconds": 0})


@pytest.mark.parametrize("kind", KINDS)
def test_objects_and_changes_are_answered_alike(twins: Twins, namespace: str, kind: str) -> None:
    """A sample of every kind."""
    for seed in range(OBJECTS):
        compare(twins, namespace, kind, seed)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_many_objects_and_changes_are_answered_alike(twins: Twins, namespace: str, kind: str) -> None:
    """Other seeds than the sample's; a minute or two a kind."""
    for seed in range(OBJECTS, OBJECTS_LONG):
        compare(twins, namespace, kind, seed)
