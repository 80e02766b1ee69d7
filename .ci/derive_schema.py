#!/usr/bin/env python3
"""Write reconcile/cluster/api_server/data/schema.json: what a real kube-apiserver serves, without its prose.

    .ci/derive_schema.py --sources GO_MODULES [--output FILE]

Types, list types, merge keys, formats, enums and defaults come from ``/openapi/v3`` of a kube-apiserver that this
script starts. One thing is not served: whether a scalar may be absent (a Go pointer) or is left out when it is zero.
That comes from the struct tags in ``types.go`` of the Go modules k8s.io/api and k8s.io/apimachinery, which
``go mod download`` puts below ``$(go env GOMODCACHE)/k8s.io``: name that directory with ``--sources``.

A test runs ``derive`` on the server of the tests and compares: after a new release, run this once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reconcile.testing.envtest import ControlPlane, Rest

OUTPUT = Path(__file__).resolve().parents[1] / "reconcile/cluster/api_server/data/schema.json"
PREFIXES = {
    "io.k8s.api.": "",
    "io.k8s.apimachinery.pkg.apis.": "",
    "io.k8s.apimachinery.pkg.": "",
    "io.k8s.apiextensions-apiserver.pkg.apis.": "",
    "io.k8s.kube-aggregator.pkg.apis.": "",
}
SCALARS = {
    "api.resource.Quantity": "quantity",
    "util.intstr.IntOrString": "int-or-string",
    "meta.v1.Time": "time",
    "meta.v1.MicroTime": "micro-time",
}
VALUE_STRUCTS = {"Time", "MicroTime", "Quantity", "IntOrString", "RawExtension"}
"""Go structs with a JSON form of their own: `omitempty` never leaves them out."""
ANYTHING = {"runtime.RawExtension", "meta.v1.FieldsV1", "meta.v1.Patch"}
FIELD = re.compile(r"^\t(?:(\w+)\s+)?(\*?)([\w.\[\]*]+)\s*`json:\"([^\"]*)\"")
STRUCT = re.compile(r"^type (\w+) struct \{(.*?)^\}", re.MULTILINE | re.DOTALL)


def fetch(rest: Rest) -> dict[str, Any]:
    """The schemas of every version of the server's own groups, by their full names; custom resources come and go."""
    schemas: dict[str, Any] = {}
    index = json.loads(rest.request("GET", "/openapi/v3"))  # served as text/plain
    for path, entry in sorted(index["paths"].items()):
        if re.fullmatch(r"api/v1|apis/([a-z]+|[a-z.]+\.k8s\.io)/v1|apis/autoscaling/v2", path):
            schemas |= rest.request("GET", entry["serverRelativeURL"])["components"]["schemas"]
    return schemas


def short(name: str) -> str:
    for prefix, replacement in PREFIXES.items():
        if name.startswith(prefix):
            return replacement + name.removeprefix(prefix)
    return name


def derive(schemas: Mapping[str, Any], presence: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The data file's content, from the served schemas and the presence of each Go struct's fields."""
    kinds: dict[str, str] = {}
    types: dict[str, Any] = {}
    for full_name, schema in sorted(schemas.items()):
        name = short(full_name)
        versions = schema.get("x-kubernetes-group-version-kind", [])
        is_list = name.endswith("List") and "items" in schema.get("properties", {})
        if is_list or name in SCALARS or name in ANYTHING:
            continue
        if len(versions) == 1 and "metadata" in schema.get("properties", {}):
            one = versions[0]
            kinds["/".join(part for part in (one["group"], one["version"], one["kind"]) if part)] = name
        types[name] = struct(schema, presence.get(name, {}))
    return {"kinds": kinds, "types": only_used(kinds, types)}


def only_used(kinds: Mapping[str, str], types: Mapping[str, Any]) -> dict[str, Any]:
    """What the kinds are made of, directly or not."""
    used: set[str] = set()
    waiting = list(kinds.values())
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting.extend(re.findall(r'"#([\w.-]+)', json.dumps(types[name])))
    return {name: types[name] for name in sorted(used)}


def struct(schema: Mapping[str, Any], presence: Mapping[str, str]) -> dict[str, Any] | str:
    if "properties" not in schema:
        return of(schema) if schema.get("type") not in (None, "object") or "oneOf" in schema else {}
    entry: dict[str, Any] = {"fields": {}}
    for name, field in sorted(schema["properties"].items()):
        entry["fields"][name] = of(field, presence.get(name, ""), is_field=True)
    if required := schema.get("required"):
        entry["required"] = sorted(required)
    if schema.get("x-kubernetes-map-type") == "atomic":
        entry["atomic"] = True
    return entry


def of(schema: Mapping[str, Any], presence: str = "", *, is_field: bool = False) -> Any:
    """One field, item or value: a string where a name says it all, else an object."""
    more: dict[str, Any] = {}
    # What is always written when zero has that zero as its default; a struct's {} says the same.
    if schema.get("default") not in (None, {}) and is_field and (schema["default"] or presence != "!"):
        more["default"] = schema["default"]
    if "enum" in schema:
        more["enum"] = sorted(schema["enum"])
    if strategy := schema.get("x-kubernetes-patch-strategy"):
        more["patch"] = strategy
    if merge_key := schema.get("x-kubernetes-patch-merge-key"):
        more["mergeKey"] = merge_key
    if schema.get("type") == "array":
        more["list"] = of(schema["items"])
        if (relation := schema.get("x-kubernetes-list-type", "atomic")) != "atomic":
            more["as"] = relation
        if keys := schema.get("x-kubernetes-list-map-keys"):
            more["keys"] = keys
    elif "additionalProperties" in schema:
        more["map"] = of(schema["additionalProperties"])
        if schema.get("x-kubernetes-map-type") == "atomic":
            more["as"] = "atomic"
    else:
        if schema.get("x-kubernetes-map-type") == "atomic":
            more["as"] = "atomic"
        more["is"] = scalar(schema)
    if presence:
        more["presence"] = presence
    if set(more) == {"is"}:
        return more["is"]
    if set(more) == {"is", "presence"}:
        return more["is"] + more["presence"]
    return more


def scalar(schema: Mapping[str, Any]) -> str:
    reference = schema.get("$ref") or next((one["$ref"] for one in schema.get("allOf", ()) if "$ref" in one), None)
    if reference is not None:
        name = short(reference.rpartition("/")[2])
        return SCALARS.get(name) or ("any" if name in ANYTHING else f"#{name}")
    formats = {"date-time": "time", "byte": "bytes"}
    if schema.get("oneOf"):
        return {"int-or-string": "int-or-string"}.get(schema.get("format", ""), "any")
    kind = schema.get("type", "any")
    if kind == "string":
        return formats.get(schema.get("format", ""), "string")
    return {"integer": schema.get("format", "int64"), "number": "double", "boolean": "bool", "object": "any"}.get(
        kind, kind
    )


def read_presence(directories: Iterable[Path]) -> dict[str, dict[str, str]]:
    """For each Go struct and JSON field: ``?`` kept though zero, ``!`` always written, nothing: left out when zero."""
    structs: dict[str, list[tuple[str, bool, str, str]]] = {}
    for directory in directories:
        for file in sorted(directory.rglob("*types*.go")):
            owner = ".".join(file.parent.relative_to(directory).parts)
            for name, body in STRUCT.findall(file.read_text()):
                structs[f"{owner}.{name}"] = [
                    (match[4], bool(match[2]), match[3], owner)
                    for line in body.splitlines()
                    if (match := FIELD.match(line))
                ]
    return {name: dict(fields_of(name, structs)) for name in structs}


def fields_of(name: str, structs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for tag, is_pointer, go_type, owner in structs.get(name, ()):
        json_name, *options = tag.split(",")
        is_plain_struct = not (is_pointer or go_type.startswith(("[", "map["))) and (
            go_type.rpartition(".")[2] in VALUE_STRUCTS or resolve(go_type, owner, structs) is not None
        )
        if not json_name:
            yield from fields_of(resolve(go_type, owner, structs) or "", structs)
        elif json_name == "-":
            continue
        elif is_pointer and not go_type.startswith("["):
            yield json_name, "?"
        elif "omitempty" not in options or (is_plain_struct and "omitzero" not in options):
            yield json_name, "!"


def resolve(go_type: str, owner: str, structs: Mapping[str, Any]) -> str | None:
    """The struct that ``go_type`` means in the package ``owner``."""
    package, _, local = go_type.rpartition(".")
    packages = {"": owner, "v1": "core.v1", "metav1": "meta.v1", "corev1": "core.v1"}
    candidates = [f"{packages.get(package, package)}.{local}", f"meta.v1.{local}"] if package else [f"{owner}.{local}"]
    return next((name for name in candidates if name in structs), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--sources", type=Path, required=True, help="the directory with api@VERSION and apimachinery@VERSION"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()

    async def serve() -> tuple[str, dict[str, Any]]:
        async with ControlPlane() as control_plane:
            version = control_plane.rest.request("GET", "/version")["gitVersion"].removeprefix("v")
            return version, fetch(control_plane.rest)

    release, schemas = asyncio.run(serve())
    minor = "0." + release.partition(".")[2]
    presence = read_presence(
        [
            arguments.sources / f"api@v{minor}",
            arguments.sources / f"apimachinery@v{minor}/pkg/apis",
            arguments.sources / f"apiextensions-apiserver@v{minor}/pkg/apis",
        ]
    )
    content = {"release": release, **derive(schemas, presence)}
    arguments.output.write_text(render(content))


def render(content: Mapping[str, Any]) -> str:
    """One type a line, so that a new release shows as a readable difference."""
    lines = [
        f"{json.dumps(key)}:{{\n"
        + ",\n".join(
            f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in content[key].items()
        )
        + "\n}"
        for key in ("kinds", "types")
    ]
    return f'{{"release":{json.dumps(content["release"])},\n' + ",\n".join(lines) + "}\n"


if __name__ == "__main__":
    main()
