"""Bodies and options of writes: read, checked, and refused in the real server's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from reconcile.cluster.api_server.failure import Failure, bad_request, cause, invalid
from reconcile.cluster.api_server.request import MANAGER_LENGTH_MAX, Request
from reconcile.errors import DecodeError
from reconcile.model import json
from reconcile.model.resource import Kind

_UNSUPPORTED = (
    "the body of the request was in an unknown format - accepted media types include:"
    " application/json, application/yaml, application/vnd.kubernetes.protobuf"
)
_TEXT_SHOWN_MAX = 60


def read_object(request: Request, kind: Kind, *, any_version: bool = False) -> dict[str, Any]:
    """The object in a body. Its kind may be left out. Raises Failure (400, 415).

    ``any_version``: options belong to every group, so ``batch/v1`` DeleteOptions are as good as ``v1``.
    """
    value = _decoded(request, kind.kind)
    if not isinstance(value, dict):
        raise _unrecognized(request, kind.kind, f"json: cannot unmarshal {_kind_of(value)} into Go value")
    said_kind, said_version = value.get("kind") or kind.kind, value.get("apiVersion") or kind.api_version
    if said_kind != kind.kind or (said_version != kind.api_version and not any_version):
        raise _wrong_kind(Kind.of(str(said_version), str(said_kind)), kind)
    metadata = value.get("metadata")
    return {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {} if metadata is None else metadata} | {
        name: item for name, item in value.items() if name not in ("kind", "apiVersion", "metadata")
    }


def read_patch(request: Request) -> Any:
    """A decoded patch; server-side apply's may be YAML. Raises Failure (400)."""
    try:
        return json.decode(request.body)
    except DecodeError as error:
        if request.media_type == "application/apply-patch+yaml":
            return _yaml(request.body, "error decoding YAML")
        raise bad_request(f"error decoding patch: {error}") from None


def _decoded(request: Request, kind: str) -> Any:
    match request.media_type:
        case "application/json" | "":
            try:
                return json.decode(request.body)
            except DecodeError as error:
                if not request.body:
                    raise _unrecognized(request, kind, "EOF") from None
                text = "unexpected end of JSON input" if "truncated" in str(error) else str(error)
                raise _unrecognized(request, kind, f"couldn't get version/kind; json parse error: {text}") from None
        case "application/yaml":
            return _yaml(request.body, "error parsing YAML")
        case _:
            raise Failure(415, _UNSUPPORTED)


def _yaml(body: bytes, what: str) -> Any:
    try:
        return yaml.safe_load(body)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise bad_request(f"{what}: {error}") from None


def _unrecognized(request: Request, kind: str, why: str) -> Failure:
    text = request.body[:_TEXT_SHOWN_MAX].decode("utf-8", "replace")
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why} ({text})")


def _wrong_kind(said: Kind, wanted: Kind) -> Failure:
    if (said.group, said.version) != (wanted.group, wanted.version) and said.kind == wanted.kind:
        return bad_request(
            f"the API version in the data ({said.api_version}) does not match the expected API version"
            f" ({wanted.api_version})"
        )
    target = f"{wanted.group or 'core'}.{wanted.kind}"
    return bad_request(
        f'{said.kind} in version "{said.version}" cannot be handled as a {wanted.kind}:'
        f" converting ({said.group or 'v1'}.{said.kind}) to ({target}): unknown conversion"
    )


def _kind_of(value: Any) -> str:
    return "array" if isinstance(value, list) else "string" if isinstance(value, str) else "number"


def check_options(query: Mapping[str, str], kind: str) -> None:
    """The options of a write (``meta/v1`` CreateOptions, UpdateOptions, PatchOptions). Raises Failure (422)."""
    causes = []
    dry_run, validation = query.get("dryRun", ""), query.get("fieldValidation", "")
    if dry_run not in ("", "All"):
        text = f'Unsupported value: ["{dry_run}"]: supported values: "All"'
        causes.append(cause("FieldValueNotSupported", text, "dryRun"))
    if len(query.get("fieldManager", "").encode()) > MANAGER_LENGTH_MAX:
        text = f"Too long: may not be more than {MANAGER_LENGTH_MAX} bytes"
        causes.append(cause("FieldValueTooLong", text, "fieldManager"))
    if validation not in ("", "Ignore", "Strict", "Warn"):
        text = f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"'
        causes.append(cause("FieldValueNotSupported", text, "fieldValidation"))
    if causes:
        raise invalid("meta.k8s.io", kind, "", causes)
