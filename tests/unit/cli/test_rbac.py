"""``reconcile rbac``: what is granted, to whom, where, and what it refuses."""

from __future__ import annotations

import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconcile import App, Context, Kind, Object, Resource, Right, UsageError
from reconcile.cli.main import main
from reconcile.cli.rbac import manifest
from reconcile.model.built_in import built_in
from reconcile.model.right import merged

MANIFESTS = Path(__file__).resolve().parents[3] / "controllers" / "reconcile_job" / "manifests"
POD, JOB, NODE = Kind.parse("v1/Pod"), Kind.parse("batch/v1/Job"), Kind.parse("v1/Node")
WIDGET = Kind.parse("example.com/v1/Widget")
RESOURCES = {
    POD: Resource(POD, "pods"),
    JOB: Resource(JOB, "jobs"),
    NODE: Resource(NODE, "nodes", namespaced=False),
}
ACCOUNT = ("system", "runner")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert main(["rbac", *arguments]) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


def kinds(documents: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]) for one in documents]


def granted(document: dict[str, Any]) -> dict[str, list[str]]:
    return {one["resources"][0]: one["verbs"] for one in document["rules"]}


@pytest.mark.parametrize("path", sorted(MANIFESTS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_manifests_in_the_repository_are_current(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file is what the command in its first line prints."""
    text = path.read_text()
    command = text.splitlines()[0].split("`")[1]
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out == text, f"{path.name} is out of date: {command} > {path.name}"


def test_there_is_a_manifest_for_each_bundled_program() -> None:
    """The check above looks at something."""
    assert [path.name for path in sorted(MANIFESTS.glob("*.yaml"))] == ["job-ttl.yaml", "job.yaml"]


def test_an_app_asks_for_what_it_watches_needs_and_reports() -> None:
    """The kind and what it owns are listed and watched; Events are written; writes are what was said."""
    app = App("widgets")

    @app.controller("example.com/v1/Widget", owns=["v1/Pod"], needs=[Right("v1/Pod", ["patch", "create"])])
    async def widget(obj: Object, ctx: Context) -> None:
        """Never called here."""

    app.add(app.builder("v1/Pod", name="pods").needs(Right("v1/Pod", ["delete"])).build(widget.declaration.reconciler))
    assert [str(right) for right in app.rights] == [
        "create, patch v1/Event",
        "list, watch, create, patch, delete v1/Pod",
        "list, watch example.com/v1/Widget",
    ]


def test_versions_of_a_kind_are_one_resource() -> None:
    """RBAC knows groups alone."""
    rights = [Right("apps/v1/Deployment", ["list"]), Right("apps/v1beta1/Deployment", ["watch"])]
    assert [right.verbs for right in merged(rights)] == [("list", "watch")]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Right("v1/Pod", ["create", "erase"]), "no verb 'erase'"),
        (lambda: Right("v1/Pod", []), "no verbs given"),
        (lambda: Right("v1/Pod", "list"), ""),
        (lambda: Right("Pod", ["list"]), "kind 'Pod'"),
        (lambda: Right("v1/Pod", ["list"], "Status!"), "no subresource"),
    ],
)
def test_a_right_that_cannot_be_is_refused(make: Any, text: str) -> None:
    """Where it is written, with the words that there are. One verb may stand alone."""
    if not text:
        assert make().verbs == ("list",)
        return
    with pytest.raises(UsageError, match=text):
        make()


def test_everywhere_is_a_cluster_role() -> None:
    """Without namespaces; subresources are named after the resource."""
    documents = manifest([Right(JOB, ["update"], "status"), Right(POD, ["list"])], ACCOUNT, RESOURCES)
    assert kinds(documents) == [
        ("ServiceAccount", "system", "runner"),
        ("ClusterRole", "", "runner"),
        ("ClusterRoleBinding", "", "runner"),
    ]
    assert granted(documents[1]) == {"pods": ["list"], "jobs/status": ["update"]}
    assert documents[2]["subjects"] == [{"kind": "ServiceAccount", "namespace": "system", "name": "runner"}]


def test_in_namespaces_it_is_a_role_in_each() -> None:
    """What lives outside namespaces still needs a ClusterRole, and nothing else is in it."""
    rights = [Right(POD, ["list"]), Right(NODE, ["watch"])]
    documents = manifest(rights, ACCOUNT, RESOURCES, namespaces=("a", "b"))
    assert kinds(documents)[1:] == [
        ("ClusterRole", "", "runner"),
        ("ClusterRoleBinding", "", "runner"),
        ("Role", "a", "runner"),
        ("RoleBinding", "a", "runner"),
        ("Role", "b", "runner"),
        ("RoleBinding", "b", "runner"),
    ]
    assert granted(documents[1]) == {"nodes": ["watch"]}
    assert granted(documents[3]) == granted(documents[5]) == {"pods": ["list"]}


def test_the_lease_is_granted_by_name_where_it_lives(capsys: pytest.CaptureFixture[str]) -> None:
    """A Role in the Lease's namespace; only the create cannot be narrowed."""
    documents = printed(
        capsys, "job-ttl", "--leader-elect", "--service-account=mine:ttl", "--leader-elect-namespace=leases"
    )
    role = next(one for one in documents if one["kind"] == "Role")
    assert (role["metadata"]["namespace"], role["metadata"]["name"]) == ("leases", "ttl-lease")
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert role["rules"] == [
        {**rule, "verbs": ["get", "update"], "resourceNames": ["job-ttl"]},
        {**rule, "verbs": ["create"]},
    ]


def test_apps_that_run_together_get_one_role(capsys: pytest.CaptureFixture[str]) -> None:
    """The rights of both, for the one process that `run` with the same names is."""
    both = printed(capsys, "job", "job-ttl", "--replace")
    assert kinds(both)[1] == ("ClusterRole", "", "job-controller-job-ttl")
    assert granted(both[1])["jobs"] == ["get", "list", "watch", "delete"]
    alone = printed(capsys, "job")
    assert granted(alone[1])["jobs"] == ["get", "list", "watch"]


def test_a_controller_that_declares_no_needs_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error, so that the manifest can still be piped: most likely somebody forgot them."""
    module = """
    from reconcile import App
    app = App("pods")
    @app.controller("v1/Pod")
    async def watcher(obj, ctx) -> None: ...
    """
    (tmp_path / "pods_for_rbac.py").write_text(textwrap.dedent(module))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["rbac", "pods_for_rbac:app"]) == 0
    told = capsys.readouterr()
    assert granted(list(yaml.safe_load_all(told.out))[1]) == {"events": ["create", "patch"], "pods": ["list", "watch"]}
    assert "controller 'watcher' declares no needs" in told.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["job", "--service-account=nobody"], "want NAMESPACE:NAME"),
        (["job", "--leader-elect-name=x"], "need --leader-elect"),
        (["job", "--namespace=Not-A-Name"], "want a namespace's name"),
        (["no-such-app"], "no app 'no-such-app'"),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit status 2, and nothing on standard output."""
    assert main(["rbac", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert text in told.err


def test_the_plural_of_a_custom_resource_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is its author's choice: without a cluster to ask there is an error, not a guess."""
    module = """
    from reconcile import App
    app = App("widgets")
    @app.controller("example.com/v1/Widget")
    async def widget(obj, ctx) -> None: ...
    """
    (tmp_path / "widgets_for_rbac.py").write_text(textwrap.dedent(module))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert built_in(WIDGET) is None
    assert main(["rbac", "widgets_for_rbac:app", "--kubeconfig", str(tmp_path / "missing")]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "missing" in told.err
