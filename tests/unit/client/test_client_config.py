"""Configuration: kubeconfigs good and bad, and the Pod's own."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from reconcile.client.config import (
    BasicAuth,
    ClusterConfig,
    ExecAuth,
    OIDCAuth,
    Pem,
    TokenAuth,
    TokenFileAuth,
    in_cluster,
    load_config,
)
from reconcile.client.kubeconfig import FILE_BYTES_MAX
from reconcile.errors import ConfigurationError

CANARY = "canary-5f1e77a0"


def kubeconfig(
    user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, name: str = "one", **more: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": f"https://{name}:6443", **(cluster or {})}}],
        "users": [{"name": name, "user": user if user is not None else {"token": CANARY}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        **more,
    }


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def loaded(tmp_path: Path, **arguments: Any) -> ClusterConfig:
    return load_config(written(tmp_path / "config", kubeconfig(**arguments)))


def test_a_kubeconfig_in_yaml_with_all_that_kubectl_knows(tmp_path: Path) -> None:
    """Data fields, names, namespace; unknown fields are passed over."""
    ca = base64.b64encode(b"PEM").decode()
    path = written(
        tmp_path / "config",
        f"""
apiVersion: v1
kind: Config
current-context: prod
preferences: {{colors: true}}
clusters:
- name: c
  cluster:
    server: https://10.0.0.1:6443/
    certificate-authority-data: {ca}
    tls-server-name: kubernetes
    proxy-url: http://proxy:3128
    future-field: [1, 2]
users:
- name: u
  user: {{token: {CANARY}, as: alice, as-groups: [g1, g2]}}
contexts:
- name: prod
  context: {{cluster: c, user: u, namespace: team}}
""",
    )
    config = load_config(path)
    assert config.server == "https://10.0.0.1:6443"
    assert config.auth == TokenAuth(CANARY)
    assert config.ca == Pem(data=b"PEM")
    assert (config.tls_server_name, config.proxy_url, config.namespace) == ("kubernetes", "http://proxy:3128", "team")
    assert config.impersonate == (
        ("Impersonate-User", "alice"),
        ("Impersonate-Group", "g1"),
        ("Impersonate-Group", "g2"),
    )


def test_several_files_merge_and_the_first_to_name_a_thing_wins(tmp_path: Path) -> None:
    """KUBECONFIG lists files; those that are missing are passed over, as by kubectl."""
    first = kubeconfig(name="one")
    del first["users"]
    second = kubeconfig(name="one", user={"token": "second"}, cluster={"server": "https://ignored:1"})
    second["contexts"].append({"name": "two", "context": {"cluster": "one", "user": "one"}})
    second["current-context"] = "two"
    paths = [written(tmp_path / "a", first), tmp_path / "missing", written(tmp_path / "b", second)]
    environ = {"KUBECONFIG": ":".join(map(str, paths))}
    config = load_config(environ=environ)
    assert (config.server, config.auth) == ("https://one:6443", TokenAuth("second"))
    assert "'one'" in config.source
    assert "'two'" in load_config(environ=environ, context="two").source


def test_the_home_directory_is_searched(tmp_path: Path) -> None:
    """~/.kube/config, without KUBECONFIG."""
    (tmp_path / ".kube").mkdir()
    written(tmp_path / ".kube" / "config", kubeconfig())
    assert load_config(environ={"HOME": str(tmp_path)}).server == "https://one:6443"


def test_paths_are_relative_to_the_file_that_says_them(tmp_path: Path) -> None:
    """Also where several files of several directories merge."""
    (tmp_path / "sub").mkdir()
    written(tmp_path / "sub" / "token", "t")
    written(tmp_path / "sub" / "ca.crt", "PEM")
    written(tmp_path / "sub" / "config", kubeconfig({"tokenFile": "token"}, {"certificate-authority": "ca.crt"}))
    config = load_config(tmp_path / "sub" / "config")
    assert config.auth == TokenFileAuth(tmp_path / "sub" / "token")
    assert config.ca == Pem(path=tmp_path / "sub" / "ca.crt")


def test_exec_plugins(tmp_path: Path) -> None:
    """Command relative to the file, arguments, variables, and what the plugin is told of the cluster."""
    entry = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "bin/get-token",
        "args": ["--x"],
        "env": [{"name": "A", "value": "b"}],
        "provideClusterInfo": True,
        "interactiveMode": "Never",
    }
    extensions = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}]
    auth = loaded(tmp_path, user={"exec": entry}, cluster={"extensions": extensions}).auth
    assert isinstance(auth, ExecAuth)
    assert (auth.command, auth.args, auth.env) == (str(tmp_path / "bin/get-token"), ("--x",), (("A", "b"),))
    assert auth.cluster_info == {"server": "https://one:6443", "config": {"audience": "x"}}


def test_other_ways_to_log_in(tmp_path: Path) -> None:
    """A token file wins over a token (client-go); basic; OIDC; none."""
    written(tmp_path / "t", "x")
    assert isinstance(loaded(tmp_path, user={"token": "a", "tokenFile": "t"}).auth, TokenFileAuth)
    assert loaded(tmp_path, user={"username": "u", "password": "p"}).auth == BasicAuth("u", "p")
    oidc = {"name": "oidc", "config": {"idp-issuer-url": "https://i", "client-id": "c", "id-token": "j"}}
    assert loaded(tmp_path, user={"auth-provider": oidc}).auth == OIDCAuth("https://i", "c", id_token="j")
    assert loaded(tmp_path, user={}).auth is None


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    """Neither tokens nor keys nor passwords nor what a plugin is given."""
    data = base64.b64encode(CANARY.encode()).decode()
    pair = {"client-certificate-data": data, "client-key-data": data}
    entry = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "x",
        "args": [CANARY],
        "env": [{"name": "A", "value": CANARY}],
    }
    oidc = {"name": "oidc", "config": {"id-token": CANARY, "refresh-token": CANARY, "client-secret": CANARY}}
    for user in (
        {"token": CANARY, **pair},
        {"username": "u", "password": CANARY},
        {"exec": entry},
        {"auth-provider": oidc},
    ):
        config = loaded(tmp_path, user=user, cluster={"proxy-url": f"http://u:{CANARY}@p"})
        assert CANARY not in repr(config)
        assert CANARY not in str(config)


EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "x"}
BOMB = "a: &a [x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)
MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)}\n  <<: [{','.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("just text", "not a mapping"),
        ("a: [1,", "bad YAML in line 1"),
        (f"users:\n- name: u\n  user:\n    token: '{CANARY}\n", "bad YAML"),
        ("a: \x00", "bad YAML"),
        ("a: !!python/object/apply:os.system [id]", "bad YAML"),
        ("[" * 5000, "bad YAML"),
        (BOMB, "aliases"),
        (MERGE_BOMB, "aliases"),
        ("#" * (FILE_BYTES_MAX + 1), "longer than"),
        (kubeconfig(**{"current-context": ""}), "no current-context; choose one with --context: one"),
        (kubeconfig(**{"current-context": 7}), "current-context is not a text"),
        (kubeconfig(**{"current-context": "two"}), "no context is named 'two'; there are: one"),
        (kubeconfig(contexts=[{"name": "one", "context": {"cluster": "x", "user": "one"}}]), "no cluster is named 'x'"),
        (kubeconfig(contexts=[{"name": "one", "context": {"cluster": "one", "user": "x"}}]), "no user is named 'x'"),
        (kubeconfig(users={"one": {}}), "users is not a list"),
        (kubeconfig(users=["one"]), r"users\[0\] has no name"),
        (kubeconfig(users=[{"name": "one", "user": [CANARY]}]), r"users\[one\].user is not a mapping"),
        (kubeconfig({"token": [CANARY]}), "token"),
        (kubeconfig({"token": 123456}), "token"),
        (kubeconfig({"tokenFile": "missing"}), "tokenFile: .*missing does not exist"),
        (kubeconfig({"as-groups": ["g"]}), "set as"),
        (kubeconfig({"client-key": "missing"}), "client-key: cannot read .*missing"),
        (kubeconfig({"client-key-data": "AAAA"}), "client-certificate is missing"),
        (kubeconfig({"client-certificate-data": f"{CANARY}!"}), "client-certificate-data is not base64"),
        (kubeconfig(cluster={"server": ""}), "server is missing"),
        (kubeconfig(cluster={"server": "10.0.0.1:6443"}), r"clusters\[one\].*http\(s\) URL"),
        (kubeconfig(cluster={"server": "ftp://x"}), r"http\(s\) URL"),
        (kubeconfig(cluster={"server": "https://[x"}), "URL"),
        (kubeconfig(cluster={"server": f"https://u:{CANARY}@x"}), "user name"),
        (kubeconfig(cluster={"certificate-authority": "missing"}), "certificate-authority: cannot read .*missing"),
        (kubeconfig(cluster={"certificate-authority-data": "%"}), "certificate-authority-data is not base64"),
        (kubeconfig(cluster={"insecure-skip-tls-verify": "yes"}), "insecure-skip-tls-verify"),
        (
            kubeconfig(cluster={"insecure-skip-tls-verify": True, "certificate-authority-data": "AAAA"}),
            "exclude each other",
        ),
        (kubeconfig({"exec": {**EXEC, "command": ""}}), "exec.command is missing"),
        (kubeconfig({"exec": {**EXEC, "apiVersion": "v0"}}), "exec.apiVersion is 'v0'"),
        (kubeconfig({"exec": {**EXEC, "interactiveMode": "Always"}}), "no terminal"),
        (kubeconfig({"exec": {**EXEC, "env": [{"value": CANARY}]}}), "name"),
        (kubeconfig({"exec": EXEC, "username": "u"}), "exec excludes"),
        (kubeconfig({"auth-provider": {"name": "gcp"}}), "'gcp' is not supported"),
    ],
)
def test_bad_kubeconfigs_are_refused_by_name_of_file_and_field(tmp_path: Path, content: object, says: str) -> None:
    """One error type, the file, the field and the way out; never the value of a secret."""
    path = written(tmp_path / "config", content)
    with pytest.raises(ConfigurationError, match=says) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    """An explicit path must exist; a search that finds nothing says where it looked."""
    with pytest.raises(ConfigurationError, match="does not exist; check --kubeconfig"):
        load_config(tmp_path / "missing")
    with pytest.raises(ConfigurationError, match="KUBERNETES_SERVICE_HOST"):
        load_config(environ={"HOME": str(tmp_path)})
    with pytest.raises(ConfigurationError, match="missing does not exist; give --kubeconfig"):
        load_config(environ={"KUBECONFIG": str(tmp_path / "missing")})
    with pytest.raises(ConfigurationError, match="cannot read"):
        load_config(tmp_path)


def test_a_pods_own_service_account(tmp_path: Path) -> None:
    """Token and CA as files that kubelet renews; an IPv6 address goes in brackets."""
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(ConfigurationError, match="token is missing"):
        in_cluster(directory=tmp_path, environ=environ)
    for name, content in {"token": "t", "ca.crt": "PEM", "namespace": "team\n"}.items():
        written(tmp_path / name, content)
    config = in_cluster(directory=tmp_path, environ=environ)
    assert (config.server, config.namespace) == ("https://[fd00::1]:443", "team")
    assert config.auth == TokenFileAuth(tmp_path / "token")
    with pytest.raises(ConfigurationError, match="not in a Pod"):
        in_cluster(directory=tmp_path, environ={})


@pytest.mark.parametrize("token", [f"{CANARY}\n", f"{CANARY}\nrest", f"{CANARY}\x00", f"{CANARY}\x7f"])
def test_a_token_that_can_be_no_header_is_refused_where_it_is_written(tmp_path: Path, token: str) -> None:
    """A wrapped token, or one in a YAML block, would fail in the middle of the first request without saying why."""
    path = written(tmp_path / "config", kubeconfig({"token": token}))
    with pytest.raises(ConfigurationError, match=r"\.token has a line break or another control character") as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert CANARY not in str(caught.value)
    with pytest.raises(ConfigurationError, match=r"TokenAuth\.token has a line break"):
        TokenAuth(token)


def test_a_user_to_act_as_that_can_be_no_header_is_refused(tmp_path: Path) -> None:
    """Its text would end one header and begin another."""
    path = written(tmp_path / "config", kubeconfig({"token": "t", "as": "alice\r\nImpersonate-Group: system:masters"}))
    with pytest.raises(ConfigurationError, match="Impersonate-User"):
        load_config(path)
