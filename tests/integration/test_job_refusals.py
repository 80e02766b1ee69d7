"""What the API server refuses the Job controller: it is told on the Job, it is tried again, and it holds nothing else up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from job_cluster import Jobs
from pods import POD, job_manifest

from reconcile import InvalidError, Object
from reconcile.testing.waiting import eventually
from reconcile_job.plan.options import FINALIZER

POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"


async def _refuse_updates_of_pods(j: Jobs, pod: Object) -> None:
    """A policy for this namespace, and wait until it works."""
    meta = {"name": j.namespace}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": j.namespace}}
    constraints = {"resourceRules": [rule], "namespaceSelector": selector}
    policy = {"matchConstraints": constraints, "validations": [{"expression": "false", "message": "hands off"}]}
    j.rest.request("POST", POLICIES, {"metadata": meta, "spec": policy})
    binding = {"policyName": j.namespace, "validationActions": ["Deny"]}
    j.rest.request("POST", BINDINGS, {"metadata": meta, "spec": binding})

    async def refuses() -> bool:
        try:
            await j.patch(POD, pod.name, {"metadata": {"labels": {"probe": "yes"}}})
        except InvalidError as error:
            return "hands off" in str(error)
        return False

    await eventually(refuses)


def _allow_updates_of_pods(j: Jobs) -> None:
    j.rest.request("DELETE", f"{BINDINGS}/{j.namespace}")
    j.rest.request("DELETE", f"{POLICIES}/{j.namespace}")


@pytest.mark.asyncio
async def test_who_refuses_to_let_a_pod_go_is_told(jobs: Any) -> None:
    """A policy objects to the patch that takes the finalizer off: an Event says so, and the Job ends once it is gone."""
    async with jobs() as j:
        await j.create(job_manifest("stuck"))
        [pod] = await j.has_active("stuck", 1)
        await _refuse_updates_of_pods(j, pod)
        await j.end(pod, "Succeeded")

        async def is_told() -> bool:
            return any(
                reason == "FailedUntrack" and "hands off" in message for reason, message in await j.events("stuck")
            )

        await eventually(is_told)
        assert (await j.get(POD, pod.name)).finalizers == (FINALIZER,)
        _allow_updates_of_pods(j)
        await j.ends("stuck", "SuccessCriteriaMet/CompletionsReached", "Complete/CompletionsReached")

        async def is_let_go() -> bool:
            return not (await j.get(POD, pod.name)).finalizers

        await eventually(is_let_go)
        j.failures.clear()


@pytest.mark.asyncio
async def test_a_pod_of_a_job_that_is_gone_holds_no_namesake_up(jobs: Any) -> None:
    """Its finalizer may not be taken off: the new Job is told, and run all the same; it goes once that is allowed."""
    async with jobs() as j:
        gone = {"apiVersion": "batch/v1", "kind": "Job", "name": "again", "uid": "of-old", "controller": True}
        meta = {"name": "left", "finalizers": [FINALIZER], "ownerReferences": [gone], "labels": {"probe": "no"}}
        containers = [{"name": "main", "image": "local/none"}]
        bystander = await j.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bystander"}, "spec": {"containers": containers}}
        )
        await _refuse_updates_of_pods(j, bystander)
        await j.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": containers}})
        await j.create(job_manifest("again"))

        async def runs() -> bool:
            return (await j.status("again")).get("active") == 1

        await eventually(runs, why="the new Job runs")

        async def is_told() -> bool:
            return any(reason == "FailedUntrack" and "left" in message for reason, message in await j.events("again"))

        await eventually(is_told, why="an Event names the Pod")
        _allow_updates_of_pods(j)

        async def is_let_go() -> bool:
            return not (await j.get(POD, "left")).finalizers

        await eventually(is_let_go, why="the Pod is let go")
        j.failures.clear()


@pytest.mark.asyncio
async def test_a_deadline_passes_though_no_pod_can_be_made(jobs: Any) -> None:
    """The server finds each Pod invalid: that is tried again, and the Job fails when its deadline passes, no later."""
    async with jobs() as j:
        manifest = job_manifest("late", activeDeadlineSeconds=4)
        # A Job may say so, and a Pod may not.
        manifest["spec"]["template"]["spec"] |= {"nodeName": "n", "schedulingGates": [{"name": "example.com/never"}]}
        await j.create(manifest)
        status = await j.ends("late", "FailureTarget/DeadlineExceeded", "Failed/DeadlineExceeded")
        assert any(reason == "FailedCreate" for reason, _message in await j.events("late"))
        ended = datetime.fromisoformat(status["conditions"][-1]["lastTransitionTime"])
        assert 4 <= (ended - datetime.fromisoformat(status["startTime"])).total_seconds() <= 6
        assert len(j.failures) >= 2, "it is tried again"
        j.failures.clear()
