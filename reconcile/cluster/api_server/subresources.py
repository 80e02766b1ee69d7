"""The subresources that are more than a part of their object: scale, binding, eviction, finalize.

Source: the API reference of ``autoscaling/v1`` Scale, ``v1`` Binding and ``policy/v1`` Eviction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconcile.cluster.api_server import failure, semantics
from reconcile.cluster.api_server.backend import Backend, Call
from reconcile.cluster.api_server.body import check_options, read_object, read_patch
from reconcile.cluster.api_server.deletion import Options, deleted
from reconcile.cluster.api_server.failure import Failure, bad_request, cause
from reconcile.cluster.api_server.request import Request, Response, Target
from reconcile.cluster.api_server.storage import Stored
from reconcile.cluster.api_server.table_cells import at_path
from reconcile.cluster.api_server.writing import changed, updated
from reconcile.model import json, timestamp
from reconcile.model.resource import Kind
from reconcile.model.selector import LabelSelector

_SCALE = Kind("autoscaling", "v1", "Scale")
_BINDING = Kind("", "v1", "Binding")
_EVICTION = Kind("policy", "v1", "Eviction")
_RETRY_SECONDS = 10
"""What a refused eviction is told to wait for."""
_DISRUPTIONS_MAX = 2000
"""Evicted Pods that a budget remembers (kube-apiserver's ``MaxDisruptedPodSize``)."""


# -- scale --------------------------------------------------------------------------------------------------------


def get_scale(backend: Backend, call: Call) -> Response:
    del backend
    return Response(200, json.encode(_scale_of(call, _live(call).decode())))


def replace_scale(backend: Backend, call: Call) -> Response:
    check_options(call.request.query, "UpdateOptions")
    wanted = read_object(call.request, _SCALE)
    return _write_scale(backend, call, lambda _now: wanted)


def patch_scale(backend: Backend, call: Call) -> Response:
    check_options(call.request.query, "PatchOptions")
    change, media_type, resource = read_patch(call.request), call.request.media_type, call.resource
    return _write_scale(backend, call, lambda now: semantics.patched(resource, media_type, now, change, kind=_SCALE))


def _write_scale(backend: Backend, call: Call, change: Any) -> Response:
    """Move the replicas of a Scale into the object that it is of."""
    found = _live(call)

    def moved(live: dict[str, Any]) -> dict[str, Any]:
        scale = change(_scale_of(call, live))
        replicas = (scale.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or isinstance(replicas, bool):
            raise bad_request(f"Scale: spec.replicas is {replicas!r}: want a whole number")
        if replicas < 0:
            text = f"Invalid value: {replicas}: must be greater than or equal to 0"
            raise failure.invalid(
                "autoscaling", "Scale", call.target.name, [cause("FieldValueInvalid", text, "spec.replicas")]
            )
        metadata = {**live["metadata"]}
        said = (scale.get("metadata") or {}).get("resourceVersion")
        metadata["resourceVersion"] = said or metadata["resourceVersion"]
        return _with_value({**live, "metadata": metadata}, _paths_of(call)[0], replicas)

    one = changed(backend, call, found, moved, subresource="scale")
    return Response(200, json.encode(_scale_of(call, one.decode())))


def _paths_of(call: Call) -> tuple[str, str]:
    """Where the wanted and the present number of replicas are."""
    said = call.resource.scale_paths
    return (
        (".spec.replicas", ".status.replicas")
        if said is None
        else (
            said["specReplicasPath"],
            said["statusReplicasPath"],
        )
    )


def _with_value(obj: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the field at a path of names set."""
    first, _, rest = path.lstrip(".").partition(".")
    return {**obj, first: _with_value(obj.get(first) or {}, rest, value) if rest else value}


def _selector_text(call: Call, obj: dict[str, Any]) -> str:
    """Which Pods are counted, as text."""
    if call.resource.scale_paths is not None:
        path = call.resource.scale_paths.get("labelSelectorPath", "")
        return str(at_path(obj, path) or "") if path else ""
    selector = (obj.get("spec") or {}).get("selector") or {}
    if call.resource.name == "replicationcontrollers":
        selector = {"matchLabels": selector}
    return str(LabelSelector.from_plain(selector))


def _scale_of(call: Call, obj: dict[str, Any]) -> dict[str, Any]:
    metadata = obj["metadata"]
    shown = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    wanted_path, present_path = _paths_of(call)
    text = _selector_text(call, obj)
    state: dict[str, Any] = {"replicas": at_path(obj, present_path) or 0}
    if text:
        state["selector"] = text
    replicas = at_path(obj, wanted_path)
    wanted = {"replicas": replicas} if replicas else {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in shown if name in metadata},
        "spec": wanted,
        "status": state,
    }


# -- binding ------------------------------------------------------------------------------------------------------


def bind(backend: Backend, call: Call) -> Response:
    """Give a Pod its node; once."""
    check_options(call.request.query, "CreateOptions")
    binding = read_object(call.request, _BINDING)
    target = binding.get("target") or {}
    if target.get("kind") not in (None, "", "Node"):
        raise Failure(
            500,
            f'target.kind: Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"',
        )
    if not target.get("name"):
        raise Failure(500, "target.name: Required value")
    found, name = _live(call), call.target.name
    metadata = binding.get("metadata") or {}

    def bound(live: dict[str, Any]) -> dict[str, Any]:
        spec = live.get("spec") or {}
        if metadata.get("uid") and metadata["uid"] != found.uid:
            raise failure.conflict(
                "",
                "pods/binding",
                name,
                f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {found.uid}",
            )
        if live["metadata"].get("deletionTimestamp"):
            raise failure.conflict(
                "", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host"
            )
        if spec.get("nodeName"):
            raise failure.conflict(
                "", "pods/binding", name, f'pod {name} is already assigned to node "{spec["nodeName"]}"'
            )
        if spec.get("schedulingGates"):
            raise failure.conflict("", "pods/binding", name, f"pod {name} has non-empty .spec.schedulingGates")
        annotations = {**(live["metadata"].get("annotations") or {}), **(metadata.get("annotations") or {})}
        said = {**live["metadata"]} | ({"annotations": annotations} if annotations else {})
        status = {**(live.get("status") or {})}
        others = [one for one in status.get("conditions") or () if one.get("type") != "PodScheduled"]
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": timestamp.render(call.now),
        }
        status["conditions"] = [*others, scheduled]
        return {**live, "metadata": said, "spec": {**spec, "nodeName": target["name"]}, "status": status}

    # No ordinary update: a binding owns no fields, and is no new generation of what is wanted.
    obj = bound(found.decode())
    if not call.request.is_dry_run:
        backend.storage.put(call.table, found.key, obj)
    return Response(201, failure.success(code=201))


# -- eviction -----------------------------------------------------------------------------------------------------


def evict(backend: Backend, call: Call) -> Response:
    """Delete a Pod, if the disruption budgets that select it allow it."""
    check_options(call.request.query, "CreateOptions")
    eviction = read_object(call.request, _EVICTION)
    metadata = eviction.get("metadata") or {}
    if metadata.get("name") not in (None, "", call.target.name):
        raise bad_request("name in URL does not match name in Eviction object")
    pod = _live(call)
    options = _options(call, eviction)
    obj = pod.decode()
    spends = not _needs_no_budget(obj)
    budgets = [one for one in _budgets(backend, call.target.namespace) if _selects(one.decode(), pod)] if spends else []
    if len(budgets) > 1:
        raise Failure(
            500,
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )
    for one in budgets:
        _spend(backend, call, one, obj, is_dry_run=options.is_dry_run)
    deleted(backend, call, pod, options)
    return Response(201, failure.success(code=201))


def _options(call: Call, eviction: Mapping[str, Any]) -> Options:
    said = dict(eviction.get("deleteOptions") or {})
    if call.request.is_dry_run:
        said["dryRun"] = ["All"]
    request = Request("DELETE", call.request.path, {}, json.encode(said), "application/json")
    return Options.of(request)


def _needs_no_budget(pod: Mapping[str, Any]) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


def _budgets(backend: Backend, namespace: str) -> list[Stored]:
    table = backend.storage.table("poddisruptionbudgets.policy")
    return [table.objects[key] for key in table.keys_in(namespace)]


def _selects(budget: dict[str, Any], pod: Stored) -> bool:
    selector = (budget.get("spec") or {}).get("selector")
    return selector is not None and LabelSelector.from_plain(selector).matches(pod.labels)


def _spend(backend: Backend, call: Call, stored: Stored, pod: Mapping[str, Any], *, is_dry_run: bool) -> None:
    """Take one disruption from a budget. Raises Failure (429) where there is none."""
    budget = stored.decode()
    status, name = dict(budget.get("status") or {}), stored.name
    ready = any(
        one.get("type") == "Ready" and one.get("status") == "True"
        for one in (pod.get("status") or {}).get("conditions") or ()
    )
    always = (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
    healthy_enough = int(status.get("currentHealthy") or 0) >= int(status.get("desiredHealthy") or 0) > 0
    if not ready and (always or healthy_enough):
        return
    if int(status.get("observedGeneration") or 0) < int(budget["metadata"].get("generation") or 0):
        raise _too_many(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            f"The disruption budget {name} is still being processed by the server.",
        )
    disrupted = dict(status.get("disruptedPods") or {})
    if len(disrupted) > _DISRUPTIONS_MAX:
        raise failure.forbidden("policy", "poddisruptionbudgets", name, "DisruptedPods map too big")
    allowed = int(status.get("disruptionsAllowed") or 0)
    if allowed <= 0:
        raise _too_many(
            "Cannot evict pod as it would violate the pod's disruption budget.",
            f"The disruption budget {name} needs {int(status.get('desiredHealthy') or 0)} healthy pods and has"
            f" {int(status.get('currentHealthy') or 0)} currently",
        )
    if is_dry_run:
        return
    disrupted[pod["metadata"]["name"]] = timestamp.render(call.now)
    spent = {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}
    if allowed == 1:
        spent["conditions"] = _no_more_allowed(status, int(budget["metadata"].get("generation") or 0), call)
    resource = backend.registry.find("policy", "v1", "poddisruptionbudgets")
    assert resource is not None  # noqa: S101  it is built in
    request = Request("PUT", call.request.path, {"fieldManager": "kube-apiserver"})
    target = Target("policy", "v1", stored.namespace, "poddisruptionbudgets", name, "status")
    by_server = Call(request, target, resource, backend.table(resource), call.now)
    changed(backend, by_server, stored, lambda live: {**live, "status": spent}, operation="Update")


def _no_more_allowed(status: Mapping[str, Any], generation: int, call: Call) -> list[dict[str, Any]]:
    """The budget's conditions once its last disruption is spent."""
    others = [one for one in status.get("conditions") or () if one.get("type") != "DisruptionAllowed"]
    return [
        *others,
        {
            "type": "DisruptionAllowed",
            "status": "False",
            "observedGeneration": generation,
            "lastTransitionTime": timestamp.render(call.now),
            "reason": "InsufficientPods",
            "message": "",
        },
    ]


def _too_many(message: str, why: str) -> Failure:
    return Failure(
        429,
        message,
        details={"causes": [{"reason": "DisruptionBudget", "message": why}], "retryAfterSeconds": _RETRY_SECONDS}
        if "processed" in why
        else {"causes": [{"reason": "DisruptionBudget", "message": why}]},
    )


# -- finalize -----------------------------------------------------------------------------------------------------


def finalize(backend: Backend, call: Call) -> Response:
    """Set a namespace's finalizers: it goes when none is left."""
    check_options(call.request.query, "UpdateOptions")
    wanted = read_object(call.request, call.resource.gvk)
    finalizers = (wanted.get("spec") or {}).get("finalizers") or []

    def finalized(live: dict[str, Any]) -> dict[str, Any]:
        spec = {name: value for name, value in (live.get("spec") or {}).items() if name != "finalizers"}
        if finalizers:
            spec["finalizers"] = finalizers
        metadata = {**live["metadata"]}
        said = (wanted.get("metadata") or {}).get("resourceVersion")
        metadata["resourceVersion"] = said or metadata["resourceVersion"]
        return {**live, "metadata": metadata, "spec": spec}

    return updated(backend, call, finalized)


def _live(call: Call) -> Stored:
    found = call.table.get(call.key)
    if found is None:
        raise failure.not_found(call.resource.group, call.resource.plural, call.target.name)
    return found
