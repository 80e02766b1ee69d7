"""Random patches and applied configurations of Deployments, ConfigMaps and a custom resource."""

from __future__ import annotations

from typing import Any

from api_objects import Draw

FINALIZERS = ("a.b/c", "a.b/d", "a.b/e", "a.b/f", "a.b/g")
VARIABLES = ("E0", "E1", "E2", "E3", "E4", "E5")


def deployment(name: str) -> dict[str, Any]:
    """What the strategic merge patches are made for."""
    variables = [{"name": one, "value": "v"} for one in VARIABLES[:4]]
    ports = [{"containerPort": 80}, {"containerPort": 81, "name": "q"}]
    containers = [
        {"name": "a", "image": "i", "env": variables, "args": ["1", "2"], "ports": ports},
        {"name": "b", "image": "i2"},
    ]
    spec = {
        "containers": containers,
        "tolerations": [{"key": "k"}],
        "nodeSelector": {"n": "1"},
        "volumes": [{"name": "v1", "emptyDir": {}}, {"name": "v2", "configMap": {"name": "c"}}],
        "imagePullSecrets": [{"name": "s1"}, {"name": "s2"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"x": "1", "y": "2"}, "finalizers": list(FINALIZERS[:3])},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec},
        },
    }


def _environment_patch(draw: Draw) -> list[dict[str, Any]]:
    reference = {"fieldRef": {"fieldPath": "metadata.name"}}
    found: list[dict[str, Any]] = [
        draw.one(
            {"name": name, "$patch": "delete"},
            {"name": name, "value": None},
            {"name": name, "value": None, "valueFrom": reference},
            {"name": name, "value": "1"},
            {"name": name, "value": "2"},
        )
        for name in draw.some(VARIABLES, 0, 4)
    ]
    if draw.chance(0.07):
        found.insert(draw.count(0, len(found)), {"$patch": "replace"})
    return found


def _container_patch(draw: Draw, name: str) -> dict[str, Any]:
    if draw.chance(0.05):
        return {"name": name, "$patch": "delete"}
    limits = [{"limits": {"cpu": "1"}}, None, {"$patch": "replace", "limits": {"cpu": "2"}}]
    ports = [[{"containerPort": one, "name": "n"}] for one in (80, 82)]
    found: dict[str, Any] = {
        "name": name,
        **draw.fields(0.2, image=["z", "y"], args=[[], ["3"], None], ports=ports, resources=limits),
    }
    if draw.chance(0.5):
        found["env"] = _environment_patch(draw)
        if draw.chance(0.5):
            found["$setElementOrder/env"] = [{"name": one} for one in draw.some(VARIABLES)]
    return found


def strategic_patch(draw: Draw) -> dict[str, Any]:
    """A patch with directives. At most one part of it is wrong: of several, a real server tells any."""
    by_value = [{"x": None}, {"x": "3", "z": "q"}, {"$patch": "replace", "w": "1"}, {"$patch": "delete"}]
    metadata = draw.fields(0.3, labels=[*by_value, {"$retainKeys": ["x"], "x": "5"}, {"$retainKeys": ["x"]}])
    match draw.count(0, 3):
        case 0:
            metadata["finalizers"] = draw.some(FINALIZERS, 0, 4)
        case 1:
            metadata["$deleteFromPrimitiveList/finalizers"] = draw.some(FINALIZERS, 0, 2)
        case 2:
            metadata["$setElementOrder/finalizers"] = draw.some(FINALIZERS)
    spec: dict[str, Any] = draw.fields(
        0.2,
        tolerations=[[], None, [{"key": "l"}]],
        nodeSelector=[{"m": "1"}, {"n": None}, None],
        volumes=[
            [{"name": "v1", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}],
            [{"name": "v2", "$patch": "delete"}],
            [{"name": "v3", "emptyDir": {}}],
            [{"name": "v1", "emptyDir": None, "hostPath": {"path": "/q"}}],
        ],
        imagePullSecrets=[
            draw.some([{"name": "s1"}, {"name": "s2"}, {"name": "s3"}, {"name": "s1", "$patch": "delete"}])
        ],
    )
    strategies = [{"$retainKeys": ["type"], "type": "Recreate"}, {"type": "Recreate", "rollingUpdate": None}]
    if draw.chance(0.8):
        names = draw.some("abc", 0, 2)
        spec["containers"] = [_container_patch(draw, name) for name in names[:1] or ["a"]]
    found: dict[str, Any] = {"metadata": metadata, "spec": {"template": {"spec": spec}}}
    found["spec"] |= draw.fields(0.2, strategy=strategies)
    return found


JSON_PATCHES: tuple[list[dict[str, Any]], ...] = (
    [{"op": "add", "path": "/metadata/labels/q", "value": "1"}],
    [{"op": "remove", "path": "/metadata/labels/x"}],
    [{"op": "remove", "path": "/metadata/labels/none"}],
    [{"op": "replace", "path": "/metadata/labels/none", "value": "1"}],
    [{"op": "test", "path": "/metadata/labels/x", "value": "1"}, {"op": "remove", "path": "/metadata/labels/y"}],
    [{"op": "test", "path": "/metadata/labels/x", "value": "2"}],
    [{"op": "test", "path": "/metadata/labels/none", "value": None}],
    [{"op": "move", "from": "/metadata/labels/x", "path": "/metadata/labels/z"}],
    [{"op": "copy", "from": "/metadata/labels/none", "path": "/metadata/labels/z"}],
    [{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "n", "image": "i"}}],
    [{"op": "add", "path": "/spec/template/spec/containers/-1", "value": {"name": "n", "image": "i"}}],
    [{"op": "add", "path": "/spec/template/spec/containers/9", "value": {"name": "n", "image": "i"}}],
    [{"op": "remove", "path": "/spec/template/spec/containers/0"}],
    [{"op": "remove", "path": "/spec/template/spec/containers/x"}],
    [{"op": "replace", "path": "", "value": {}}],
    [{"op": "zip", "path": "/metadata"}],
    [{"op": "replace", "path": "/spec/replicas", "value": "x"}],
    [{"op": "replace", "path": "/spec/template/spec/containers", "value": {}}],
    [{"op": "remove", "path": "/metadata"}],
    [{"op": "add"}],
)


def configuration(draw: Draw, name: str, kind: str, group: str) -> dict[str, Any]:
    """What a manager applies, or puts: the whole of what it wants."""
    owners = [{"apiVersion": "v1", "kind": "Secret", "name": "q", "uid": one} for one in "123"]
    metadata: dict[str, Any] = {"name": name}
    if draw.chance(0.5):
        metadata["labels"] = draw.fields(0.5, a=["1", "2"], b=["1", "2"], c=["1"])
    if draw.chance(0.4):
        metadata["finalizers"] = draw.some(FINALIZERS[:3])
    if draw.chance(0.3):
        metadata["ownerReferences"] = draw.some(owners)
    if draw.chance(0.1):
        metadata["annotations"] = draw.one(None, {}, {"x": "y"})
    if kind == "ConfigMap":
        data = draw.fields(0.5, a=["1", "2"], b=["1", "2"], c=["1", "2"])
        more = draw.fields(0.2, immutable=[False, None])
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **more, "data": data}
    found = _workload_configuration(draw) if kind == "Deployment" else _custom_configuration(draw)
    version = "apps/v1" if kind == "Deployment" else f"{group}/v1"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": found}


def _workload_configuration(draw: Draw) -> dict[str, Any]:
    ports = [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}, {"containerPort": 81, "name": "n"}]
    containers = [
        {
            "name": name,
            "image": draw.one("i", "j"),
            **draw.fields(
                0.4,
                env=[[{"name": one, "value": draw.one("1", "2")} for one in draw.some("ABCD")]],
                ports=[draw.some(ports)],
                resources=[{"limits": {"cpu": "1"}}, {}, {"limits": {"cpu": "1000m", "memory": "1Gi"}}],
                args=[[], ["1"]],
                securityContext=[{}, {"privileged": True}],
            ),
        }
        for name in draw.some("abc", 1)
    ]
    tolerations = [{"key": one, "operator": "Exists"} for one in "ab"]
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "q"}}]
    spec = {
        "containers": containers,
        **draw.fields(0.4, tolerations=[draw.some(tolerations)], nodeSelector=[{"a": "1"}, {"b": "2"}, {}]),
        **draw.fields(0.4, volumes=[draw.some(volumes)]),
    }
    strategies = [{"type": "Recreate"}, {"rollingUpdate": {"maxSurge": 2}}, {}]
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec}
    return {
        "selector": {"matchLabels": {"a": "b"}},
        "template": template,
        **draw.fields(0.4, replicas=[0, 1, 2], strategy=strategies),
    }


def _custom_configuration(draw: Draw) -> dict[str, Any]:
    return {
        "n": draw.one(1, 2),
        **draw.fields(
            0.4,
            s=["ab", "ac"],
            nul=["x", None],
            l=[[{"k": "a"}], [{"k": "a", "v": 1}, {"k": "b"}], [{"k": "b", "v": 2}]],
            set=[["a"], ["b", "c"], []],
            al=[[1], [1, 2]],
            m=[{"a": 1}, {"b": 2}, {}],
            any=[{"z": {"y": [1]}, "q": 2}, {"x": {"y": 1}}, {}],
            o=[{}, {"x": 5}],
        ),
    }


_ITEM = {
    "type": "object",
    "required": ["k"],
    "properties": {"k": {"type": "string"}, "v": {"type": "integer", "default": 7}},
}
_TWO = {"a": {"type": "integer"}, "b": {"type": "integer"}}
_EITHER = [{"required": ["a"]}, {"required": ["b"]}]
PROPERTIES: dict[str, Any] = {
    "n": {"type": "integer", "minimum": 1, "maximum": 5},
    "s": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^a"},
    "e": {"type": "string", "enum": ["a", "b"]},
    "d": {"type": "string", "default": "dd"},
    "nul": {"type": "string", "nullable": True},
    "l": {
        "type": "array",
        "maxItems": 3,
        "minItems": 1,
        "items": _ITEM,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
    },
    "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    "al": {"type": "array", "items": {"type": "integer"}},
    "m": {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2},
    "any": {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {"q": {"type": "integer"}},
    },
    "ios": {"x-kubernetes-int-or-string": True},
    "num": {"type": "number", "exclusiveMinimum": True, "minimum": 0},
    "b": {"type": "boolean"},
    "t": {"type": "string", "format": "date-time"},
    "o": {"type": "object", "default": {}, "properties": {"x": {"type": "integer", "default": 1}}},
    "one": {"type": "object", "properties": _TWO, "oneOf": _EITHER},
    "anyo": {"type": "object", "properties": _TWO, "anyOf": _EITHER},
    "no": {"type": "string", "not": {"enum": ["z"]}},
    "all": {"type": "integer", "allOf": [{"minimum": 3}, {"maximum": 4}]},
    "i32": {"type": "integer", "format": "int32"},
}


def definition(group: str) -> dict[str, Any]:
    """A CustomResourceDefinition with every rule of a structural schema; the group is a test's own."""
    spec = {"type": "object", "required": ["n"], "properties": PROPERTIES}
    status = {"type": "object", "properties": {"r": {"type": "integer"}}}
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": spec, "status": status}}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"examples.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "examples", "kind": "Example"},
            "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
        },
    }


VALUES: dict[str, tuple[Any, ...]] = {
    "n": (1, 3, 0, 9, "x", 1.5),
    "s": ("ab", "b", "abcde", "xx", 3, None),
    "e": ("a", "q", 1),
    "d": ("z", None, 3),
    "nul": ("x", None, 2),
    "l": ([], [{"k": "a"}], [{"k": "a"}, {"k": "a"}], [{"v": 1}], [{"k": "a"}, {"k": "b", "v": 2}], "x", [3]),
    "set": (["a"], ["a", "a"], ["b", "c"], [1]),
    "al": ([1], [1, "x", None], []),
    "m": ({"a": 1}, {"a": "x"}, {"a": 1, "b": 2, "c": 3}, {}),
    "any": ({"z": {"y": [1]}, "q": 2}, {"q": "x"}, {}, {"x": {"y": 1, "z": None}}),
    "ios": ("x", 1, 1.5, True),
    "num": (0.5, 0, -1, 1, "x"),
    "b": (True, "true"),
    "t": ("x", "2026-01-01T00:00:00Z", "2026-01-01"),
    "o": ({}, {"x": 5, "u": 3}, "x", {"x": "q"}, None),
    "one": ({"a": 1}, {"a": 1, "b": 2}, {}),
    "anyo": ({"a": 1}, {}),
    "no": ("z", "y"),
    "all": (2, 3, 5),
    "i32": (5, 3_000_000_000),
    "unknown": (1,),
}


def example(draw: Draw, name: str, group: str) -> dict[str, Any]:
    """A custom resource, with mistakes."""
    spec = {"n": 1, **draw.fields(0.15, **VALUES)}
    metadata = {"name": name, **draw.fields(0.08, labels=[{"a": "b"}, {"bad k": "x"}], finalizers=[["bad"]], foo=[1])}
    more = draw.fields(0.05, foo=[1], status=[{"r": 1}])
    return {"apiVersion": f"{group}/v1", "kind": "Example", "metadata": metadata, "spec": spec, **more}
