"""The API server: one request in, one answer out, as a plain call. It waits for nothing and reads no clock.

Guarantees:
    * A request sees every write that was answered before it, and its own is one step: nothing is between.
    * What is refused is refused in the real server's Status.

Assumptions:
    One thread; whoever serves (``memory``, ``http``) calls with the wall clock's time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeAlias

from reconcile.cluster.api_server import (
    applying,
    deletion,
    discovery,
    failure,
    openapi,
    reading,
    reviews,
    subresources,
    writing,
)
from reconcile.cluster.api_server.authorization import Authorizer, allow_known_users, forbidden
from reconcile.cluster.api_server.backend import Backend, Call
from reconcile.cluster.api_server.custom_resources import CustomResources
from reconcile.cluster.api_server.failure import Failure
from reconcile.cluster.api_server.registry import ResourceType, builtin_registry
from reconcile.cluster.api_server.request import Answer, Request, Response, Target, refused, target_of, with_warnings
from reconcile.cluster.api_server.storage import Storage, Table
from reconcile.model import json, timestamp

RELEASE = (1, 37, "v1.37.2")
"""What ``/version`` says: the release whose behaviour this server follows."""

BODY_BYTES_MAX = 3 * 1024 * 1024
"""The longest body of a request (kube-apiserver's limit for writes)."""

_MASTERS = "system:masters"
"""Who is of this group may do everything, whoever else is asked (as in kube-apiserver)."""

_HEALTH = ("/healthz", "/livez", "/readyz")
_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")

Handler: TypeAlias = Callable[[Backend, Call], Answer]

_VERBS: Mapping[tuple[str, bool], str] = {
    ("GET", True): "get",
    ("GET", False): "list",
    ("HEAD", True): "get",
    ("POST", False): "create",
    ("POST", True): "create",
    ("PUT", True): "update",
    ("PATCH", True): "patch",
    ("DELETE", True): "delete",
    ("DELETE", False): "deletecollection",
}

_HANDLERS: Mapping[str, Handler] = {
    "get": reading.get,
    "list": reading.list_,
    "watch": reading.list_,
    "create": writing.create,
    "update": writing.replace,
    "patch": lambda backend, call: (
        applying.apply(backend, call)
        if call.request.media_type.startswith("application/apply-patch")
        else writing.patch(backend, call)
    ),
    "delete": deletion.delete,
    "deletecollection": deletion.delete_collection,
}

_SUBRESOURCE_HANDLERS: Mapping[tuple[str, str], Handler] = {
    ("scale", "get"): subresources.get_scale,
    ("scale", "update"): subresources.replace_scale,
    ("scale", "patch"): subresources.patch_scale,
    ("binding", "create"): subresources.bind,
    ("eviction", "create"): subresources.evict,
    ("finalize", "update"): subresources.finalize,
}


class APIServer:
    """One API server with its own storage.

    Args:
        random: a number in [0, 1), for uids and generated names.
        now: the time at which the first namespaces are made.
        authorize: who may do what; by default every known user everything.
        address: what discovery tells clients.
    """

    def __init__(
        self,
        *,
        random: Callable[[], float],
        now: datetime,
        authorize: Authorizer = allow_known_users,
        address: str = "127.0.0.1",
    ) -> None:
        self.storage = Storage()
        self.registry = builtin_registry()
        self.backend = Backend(self.storage, self.registry, random, authorize)
        self.address = address
        self._authorize = authorize
        self._custom_resources = CustomResources(self.backend)
        self._make_namespaces(now)

    def handle(self, request: Request, now: datetime) -> Answer:
        """Answer one request. Never raises for what a client can send."""
        try:
            if len(request.body) > BODY_BYTES_MAX:
                raise _too_large()
            answer = self._answer(request, now)
        except Failure as error:
            answer = refused(error)
        except RecursionError:
            answer = refused(failure.bad_request("the object is nested too deeply"))
        return with_warnings(request, answer) if isinstance(answer, Response) else answer

    def load(self, lines: list[bytes]) -> None:
        """Replace everything by what ``storage.dump`` gave. Raises DecodeError."""
        self.storage.tables.clear()
        self.storage.load(iter(lines), self._table_of)
        self._custom_resources.restore()

    # -- paths ----------------------------------------------------------------------------------------------------

    def _answer(self, request: Request, now: datetime) -> Answer:
        path = request.path
        target = target_of(path)
        if target is None or not target.plural:
            return self._other(request, path.rstrip("/") or "/", target)
        resource = self.registry.find(target.group, target.version, target.plural)
        if resource is None:
            if target.group and not self.registry.has_version(target.group, target.version):
                return _page_not_found()
            raise failure.no_such_resource()
        self._check_scope(resource, target)
        verb = self._verb(request, target)
        if _MASTERS not in request.user.groups:
            reason = self._authorize(request.user, verb, target)
            if reason is not None:
                raise forbidden(request.user, verb, target, reason)
        handler = self._handler(resource, target, verb)
        call = Call(request, target, resource, self.backend.table(resource), now)
        return handler(self.backend, call)

    def _handler(self, resource: ResourceType, target: Target, verb: str) -> Handler:
        if target.subresource:
            sub = resource.subresources.get(target.subresource)
            if sub is None:
                raise failure.no_such_resource()
            special = _SUBRESOURCE_HANDLERS.get((target.subresource, verb))
            if verb not in sub.verbs or (special is None and target.subresource != "status"):
                raise failure.method_not_allowed()
            return special or _HANDLERS[verb]
        if verb not in resource.verbs or (verb == "create" and target.name):
            raise failure.method_not_allowed()
        return reviews.HANDLERS.get(resource.name) or _HANDLERS[verb]

    def _verb(self, request: Request, target: Target) -> str:
        verb = _VERBS.get((request.method, bool(target.name)))
        if verb is None:
            raise failure.method_not_allowed()
        return "watch" if verb == "list" and request.flag("watch") else verb

    def _check_scope(self, resource: ResourceType, target: Target) -> None:
        """Namespaced objects are reached through their namespace, others never."""
        if resource.namespaced:
            if target.name and not target.namespace:
                raise failure.no_such_resource()
        elif target.namespace:
            raise failure.no_such_resource()

    def _other(self, request: Request, path: str, target: Target | None) -> Response:
        if path in _HEALTH or path.startswith(tuple(f"{one}/" for one in _HEALTH)):
            return Response(200, b"ok", "text/plain; charset=utf-8")
        if path == "/version":
            return Response(200, _version())
        if self._authorize(request.user, "get", Target("", "")) is not None:
            text = f'User "{request.user.name}" cannot get path "{path}"'
            raise Failure(403, f"forbidden: {text}", details={})
        if request.method not in ("GET", "HEAD"):
            raise failure.method_not_allowed()
        found = self._discovered(request, path, target)
        return found if found is not None else _page_not_found()

    def _discovered(self, request: Request, path: str, target: Target | None) -> Response | None:
        registry = self.registry
        if target is not None:
            return discovery.resources(registry, target.group, target.version)
        parts = path.strip("/").split("/")
        match parts:
            case ["api"]:
                return discovery.core_versions(registry, request, self.address)
            case ["apis"]:
                return discovery.groups(registry, request)
            case ["apis", group]:
                return discovery.group(registry, group)
            case ["openapi", "v2"]:
                return openapi.version_2(registry)
            case ["openapi", "v3"]:
                return openapi.index(registry)
            case ["openapi", "v3", *rest]:
                return openapi.version_3(registry, "/".join(rest))
            case [""]:
                return Response(200, json.encode({"paths": self._paths()}))
            case _:
                return None

    def _paths(self) -> list[str]:
        paths = {"/api", "/api/v1", "/apis", "/openapi/v2", "/openapi/v3", "/version", *_HEALTH}
        for group, versions in self.registry.groups().items():
            if group:
                paths |= {f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)}
        return sorted(paths)

    # -- state ----------------------------------------------------------------------------------------------------

    def _table_of(self, name: str) -> Table:
        resource = self.registry.find_stored(name)
        return self.storage.table(name, resource.fields_of if resource is not None else None)

    def _make_namespaces(self, now: datetime) -> None:
        resource = self.registry.find("", "v1", "namespaces")
        assert resource is not None  # noqa: S101  it is built in
        table = self.backend.table(resource)
        for name in _NAMESPACES:
            self.storage.put(
                table,
                name,
                {
                    "kind": "Namespace",
                    "apiVersion": "v1",
                    "metadata": {
                        "name": name,
                        "uid": self.backend.uid(),
                        "creationTimestamp": timestamp.render(now),
                        "labels": {"kubernetes.io/metadata.name": name},
                    },
                    "spec": {"finalizers": ["kubernetes"]},
                    "status": {"phase": "Active"},
                },
            )


def _version() -> bytes:
    major, minor, text = RELEASE
    return json.encode(
        {
            "major": str(major),
            "minor": str(minor),
            "gitVersion": text,
            "gitCommit": "",
            "gitTreeState": "",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": "",
            "platform": "reconcile/embedded",
        }
    )


def _too_large() -> Failure:
    return Failure(413, f"Request entity is too large: limit is {BODY_BYTES_MAX}")


def _page_not_found() -> Response:
    return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")
