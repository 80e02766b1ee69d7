"""Validation without a server: what is said of common mistakes; against a real server it is in tests/conformance."""

from __future__ import annotations

from typing import Any

import pytest

from reconcile.cluster.api_server.decoding import decode
from reconcile.cluster.api_server.defaulting import default
from reconcile.cluster.api_server.schema import SCHEMA
from reconcile.cluster.api_server.structural import custom_type, read_custom
from reconcile.cluster.api_server.validation import validate_create, validate_custom_create, validate_update

SPEC = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}}}


def job(**spec: Any) -> dict[str, Any]:
    struct = SCHEMA.type_for("batch", "v1", "Job")
    assert struct is not None
    uid = "u"
    generated = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "j"}
    labels = {**generated, "controller-uid": uid, "job-name": "j"}
    template = {"metadata": {"labels": labels}, **SPEC["template"]}
    selector = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    sent = {"metadata": {"name": "j", "namespace": "n", "uid": uid}, "spec": {"template": template, **spec}}
    sent["spec"].setdefault("selector", selector)
    return default("batch", "v1", "Job", decode(struct, sent).value)


def fields(obj: dict[str, Any]) -> list[str]:
    return [one.field for one in validate_create("Job", obj, is_namespaced=True)]


def test_a_good_job_is_good() -> None:
    """As a server made it: with its generated selector and labels."""
    assert fields(job()) == []
    assert fields(job(completionMode="Indexed", completions=3, backoffLimitPerIndex=1, maxFailedIndexes=2)) == []


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"parallelism": -1}, "spec.parallelism"),
        ({"completionMode": "Indexed", "parallelism": 1}, "spec.completions"),
        ({"backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex"),
        ({"managedBy": "x"}, "spec.managedBy"),
        ({"successPolicy": {"rules": [{"succeededCount": 1}]}}, "spec.successPolicy"),
        ({"podFailurePolicy": {"rules": [{"action": "FailJob"}]}}, "spec.podFailurePolicy.rules[0]"),
        ({"podReplacementPolicy": "X"}, "spec.podReplacementPolicy"),
        ({"selector": {"matchLabels": {"a": "b"}}}, "spec.selector"),
    ],
)
def test_a_mistake_is_told_by_its_field(spec: dict[str, Any], field: str) -> None:
    """The first of what is wrong."""
    assert fields(job(**spec))[0] == field


def status(*true: str, **more: Any) -> dict[str, Any]:
    conditions = [{"type": kind, "status": "True"} for kind in true]
    return {"conditions": conditions, **more} if conditions else more


START, END = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (status(), status("Failed", startTime=START), "without the FailureTarget=true condition"),
        (status(), status("Complete", startTime=START, completionTime=END), "without the SuccessCriteriaMet=true"),
        (status(), status("SuccessCriteriaMet", "Complete", startTime=START), "completionTime is required"),
        (status("FailureTarget"), status(), "cannot disable the terminal FailureTarget=True"),
        (status(failed=2), status(failed=1), "cannot decrease the failed counter"),
        (status(startTime=START), status(startTime=END), "field is immutable for unsuspended job once set"),
        (status(), status("FailureTarget", "Failed", startTime=START, active=1), "active>0 is invalid"),
        (status(), status(ready=2, active=1), "cannot set more ready pods than active"),
        (status(), status(completedIndexes="0"), "when non-indexed completion mode"),
        (status(), status(uncountedTerminatedPods={"failed": ["a", "a"]}), "Duplicate value"),
        (status(), status("Failed", "FailureTarget", startTime=START), ""),
        (status("Failed"), status("Failed", active=0), ""),
    ],
)
def test_job_status_rules(old: dict[str, Any], new: dict[str, Any], text: str) -> None:
    """KEP-4368: the rule that a change breaks, if it breaks one."""
    before, after = {**job(), "status": old}, {**job(), "status": new}
    found = [one.message for one in validate_update("Job", before, after, "status")]
    assert (found == []) if not text else any(text in one for one in found)


def test_a_status_that_broke_a_rule_before_can_be_written_on() -> None:
    """A rule is applied when one of its fields changes."""
    broken = {"completedIndexes": "9-1"}
    assert (
        validate_update("Job", {**job(), "status": broken}, {**job(), "status": {**broken, "active": 1}}, "status")
        == []
    )


SCHEMA_OF_FOO = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["n"],
            "properties": {
                "n": {"type": "integer", "minimum": 1},
                "d": {"type": "string", "default": "x"},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        }
    },
}


def test_a_custom_resource_is_pruned_defaulted_and_checked() -> None:
    """By its structural schema."""
    sent = {"kind": "Foo", "metadata": {"name": "f", "foo": 1}, "spec": {"n": 0, "u": 1, "open": {"z": [1]}}}
    read = read_custom(SCHEMA_OF_FOO, sent)
    assert read.value["spec"] == {"n": 0, "d": "x", "open": {"z": [1]}}
    assert read.unknown == ("metadata.foo", "spec.u")
    found = validate_custom_create(SCHEMA_OF_FOO, read.value, is_namespaced=False)
    assert [(one.field, one.message) for one in found] == [
        ("spec.n", "Invalid value: 0: spec.n in body should be greater than or equal to 1")
    ]
    assert custom_type("Foo", SCHEMA_OF_FOO).fields["spec"].type.fields["open"].type.is_granular
