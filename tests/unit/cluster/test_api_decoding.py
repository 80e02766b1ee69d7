"""An object as the API server understands it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from reconcile.cluster.api_server.decoding import WrongTypeError, decode
from reconcile.cluster.api_server.defaulting import default
from reconcile.cluster.api_server.schema import SCHEMA, ListType, StructType


def struct(kind: str, group: str = "", version: str = "v1") -> StructType:
    found = SCHEMA.type_for(group, version, kind)
    assert found is not None
    return found


def pod(**container: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "b", **container}]}}


def test_types_are_known_by_kind() -> None:
    """Fields, list types, merge keys; nothing for a kind that is not built in."""
    spec = struct("Pod").fields["spec"].type
    assert isinstance(spec, StructType)
    containers = spec.fields["containers"]
    assert isinstance(containers.type, ListType)
    assert (containers.type.relation, containers.type.keys, containers.merge_key) == ("map", ("name",), "name")
    assert SCHEMA.type_for("x.dev", "v1", "Foo") is None


def test_zero_values_and_nulls_are_left_out() -> None:
    """What Go does not write, unless it is a pointer's or always written."""
    sent = pod(tty=False, args=[], env=None, livenessProbe=None)
    sent["spec"] |= {"hostNetwork": False, "activeDeadlineSeconds": 0, "nodeName": ""}
    spec = decode(struct("Pod"), sent).value["spec"]
    assert spec == {"containers": [{"name": "a", "image": "b", "resources": {}}], "activeDeadlineSeconds": 0}


def test_unknown_fields_are_dropped_and_told() -> None:
    """With their place in the document, in its order."""
    sent = {**pod(zap=1), "foo": 1}
    sent["spec"]["bar"] = 2
    decoded = decode(struct("Pod"), sent)
    assert decoded.unknown == ("spec.containers[0].zap", "spec.bar", "foo")
    assert "foo" not in decoded.value


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (
            pod(image=3),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string",
        ),
        (
            pod(args="x"),
            "json: cannot unmarshal string into Go struct field Container.spec.containers.args of type []string",
        ),
        (
            pod(ports=[{"containerPort": 1.5}]),
            "json: cannot unmarshal number 1.5 into Go struct field ContainerPort.spec.containers.ports.containerPort",
        ),
        ({"metadata": 3}, "json: cannot unmarshal number into Go struct field Pod.metadata of type v1.ObjectMeta"),
        (pod(resources={"limits": {"cpu": "abc"}}), "quantities must match the regular expression"),
        ({"metadata": {"creationTimestamp": "x"}}, 'parsing time "x" as "2006-01-02T15:04:05Z07:00"'),
    ],
)
def test_wrong_types_are_refused_in_the_servers_words(sent: dict[str, Any], text: str) -> None:
    """The field and both types."""
    with pytest.raises(WrongTypeError) as caught:
        decode(struct("Pod"), sent)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(("value", "byte"), [("!!", 0), ("aG!=", 2)])
def test_data_must_be_base64(value: str, byte: int) -> None:
    """And the first wrong byte is named."""
    with pytest.raises(WrongTypeError, match=f"illegal base64 data at input byte {byte}"):
        decode(struct("Secret"), {"data": {"a": value}})


def test_neither_decoding_nor_defaulting_changes_what_it_is_given() -> None:
    """And doing either twice is doing it once."""
    sent = pod(ports=[{"containerPort": 80}], resources={"limits": {"cpu": "1000m"}})
    before = copy.deepcopy(sent)
    decoded = decode(struct("Pod"), sent).value
    assert sent == before
    assert decode(struct("Pod"), decoded).value == decoded
    before = copy.deepcopy(decoded)
    filled = default("", "v1", "Pod", decoded)
    assert decoded == before
    assert default("", "v1", "Pod", filled) == filled


def test_a_pod_and_a_template_of_one_have_different_defaults() -> None:
    """Requests follow limits in a Pod only; both get the rest."""
    limits = {"resources": {"limits": {"cpu": "1"}}}
    own = default("", "v1", "Pod", decode(struct("Pod"), pod(**limits)).value)["spec"]
    template = {"spec": {"template": {"spec": pod(**limits)["spec"]}}}
    job = default("batch", "v1", "Job", decode(struct("Job", "batch"), template).value)["spec"]
    assert own["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    assert "requests" not in job["template"]["spec"]["containers"][0]["resources"]
    assert job["template"]["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    assert (job["completions"], job["parallelism"], job["backoffLimit"]) == (1, 1, 6)


def test_events_times_have_six_digits() -> None:
    """A MicroTime without them is refused, as on a real server."""
    lease = struct("Lease", "coordination.k8s.io")
    with pytest.raises(WrongTypeError, match=r'cannot parse "Z" as ".000000"'):
        decode(lease, {"spec": {"renewTime": "2026-01-01T00:00:00Z"}})
    read = decode(lease, {"spec": {"renewTime": "2026-01-01T02:00:00.500000+02:00"}}).value
    assert read["spec"]["renewTime"] == "2026-01-01T00:00:00.500000Z"
