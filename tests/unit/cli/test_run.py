"""``reconcile run``: which app, which flags, which options, which exit status."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from reconcile import App
from reconcile.cli import run as command
from reconcile.cli.main import main
from reconcile.errors import UsageError

MODULE = """
from reconcile import App

def arguments(parser):
    parser.add_argument("--color", default="blue")

def setup(app, options):
    @app.controller("v1/ConfigMap", name="painter")
    async def paint(obj, ctx) -> None:
        pass
    app.color = options.color

app = App("painter", arguments=arguments, setup=setup)
empty = App("empty")
not_an_app = 3

class Holder:
    app = app
"""

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "here",
    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "from-context"}}],
    "clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "me", "user": {"token": "c4n4ryToken"}}],
}


@pytest.fixture
def project(tmp_path):
    """A directory with an app and a kubeconfig whose server does not answer."""
    (tmp_path / "painting.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "broken.py").write_text("import there_is_no_such_module\n")
    (tmp_path / "kubeconfig").write_text(json.dumps(KUBECONFIG))
    return tmp_path


def run(project, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "reconcile", "run", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": str(project)},
        **options,
    )


def options_of(monkeypatch, tmp_path, *flags, app=None):
    """What the command would run with, up to the point where it would connect."""
    seen = {}
    app = app or App("painter")
    monkeypatch.setattr(command, "find_app", lambda name: app)
    monkeypatch.setattr(App, "run", lambda self, options: seen.update(app=self, options=options))
    monkeypatch.setattr("reconcile.instrumentation.logging.configure_logging", lambda **given: seen.update(given))
    assert main(["run", "painter", *flags]) == 0
    return seen


def test_list_prints_installed_apps(project):
    """Ours is registered as anybody's is."""
    done = run(project, "--list")
    assert done.returncode == 0
    assert "job\treconcile_job:app\treconcile-k8s\n" in done.stdout


def test_help_has_the_flags_of_the_app(project):
    """``reconcile run MODULE:APP --help`` shows the app's own flags after the command's."""
    done = run(project, "painting:app", "--help")
    assert done.returncode == 0
    assert "usage: reconcile run painting:app" in done.stdout
    assert "--color" in done.stdout
    assert "--leader-elect-namespace" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "name an app: `reconcile run --list`"),
        (["nobody"], "no app 'nobody'; installed: job"),
        (["nowhere:app"], "no module 'nowhere' for nowhere:app"),
        (["painting:gone"], "painting:gone is nothing, not a reconcile.App"),
        (["painting:not_an_app"], "painting:not_an_app is a int, not a reconcile.App"),
        (["painting.py:app"], "no module 'painting.py'"),
        (["pain-ting:app"], "want package.module:app"),
        (["painting:app", "--colour", "red"], "unrecognized arguments: --colour red"),
        (["painting:app", "--concurrency", "0"], "argument --concurrency: '0': want a number from 1"),
        (["painting:app", "--concurrency", "many"], "argument --concurrency: 'many': want a number from 1"),
        (["painting:app", "--namespace", "Not_A_Name"], "--namespace 'Not_A_Name'"),
        (["painting:app", "--namespace", "a,,b"], "--namespace ''"),
        (["painting:app", "--leader-elect-name", "x"], "need --leader-elect"),
        (["painting:app", "--kubeconfig", "gone"], "kubeconfig gone does not exist"),
        (["painting:app", "--kubeconfig", "kubeconfig", "--context", "gone"], "'gone'"),
        (
            ["painting:app", "--kubeconfig", "kubeconfig", "--health-bind-address", "8080"],
            "--health-bind-address '8080'",
        ),
        (["painting:app", "--kubeconfig", "kubeconfig", "--metrics-bind-address", ":8080"], "loopback"),
        (["painting:app", "--kubeconfig", "painting.py"], "painting.py"),
        (["painting:empty", "--kubeconfig", "kubeconfig"], "app 'empty' has no controllers"),
        (["painting:app", "painting:app"], "cannot be run with the others"),
    ],
)
def test_usage_and_configuration_errors_exit_with_2(project, arguments, text):
    """Each names the thing, and nothing of Python's insides is shown."""
    done = run(project, *arguments)
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2


def test_error_of_the_apps_own_imports_is_shown_with_its_trace(project):
    """The author of the module needs the line, not a summary."""
    done = run(project, "broken:app")
    assert done.returncode == 1
    assert "there_is_no_such_module" in done.stderr
    assert "broken.py" in done.stderr


def test_server_that_does_not_answer_exits_with_1_and_shows_no_token(project):
    """What went wrong is one JSON line, and the credential is not in it."""
    done = run(project, "painting:app", "--kubeconfig", "kubeconfig", "--log-format", "json")
    assert done.returncode == 1
    records = [json.loads(line) for line in done.stderr.splitlines()]
    assert records[-1]["level"] == "error"
    assert "127.0.0.1:1" in records[-1]["message"]
    assert "c4n4ryToken" not in done.stderr


def test_flags_become_run_options(monkeypatch, tmp_path):
    """Each flag does what it says."""
    seen = options_of(
        monkeypatch,
        tmp_path,
        *("--kubeconfig", "k", "--context", "c", "--concurrency", "3", "--log-format", "json", "--log-level", "debug"),
        *("--namespace", "a,b", "--namespace", "c", "--namespace", "a"),
        *("--health-bind-address", ":1", "--metrics-bind-address", "127.0.0.1:2"),
    )
    options = seen["options"]
    assert (options.kubeconfig, options.context, options.workers) == ("k", "c", 3)
    assert options.namespaces == ("a", "b", "c")
    assert (options.health_bind_address, options.metrics_bind_address) == (":1", "127.0.0.1:2")
    assert options.leader_election is None
    assert (seen["format"], seen["level"]) == ("json", "debug")


def test_leader_election_is_off_unless_asked_and_named_after_the_app(monkeypatch, project):
    """The Lease is in the context's namespace; no two processes have one identity."""
    flags = ("--leader-elect", "--kubeconfig", str(project / "kubeconfig"))
    first = options_of(monkeypatch, project, *flags)["options"].leader_election
    second = options_of(monkeypatch, project, *flags)["options"].leader_election
    assert (first.namespace, first.name) == ("from-context", "painter")
    assert first.identity != second.identity
    flags = (*flags, "--leader-elect-namespace", "ns", "--leader-elect-name", "lease")
    third = options_of(monkeypatch, project, *flags)["options"].leader_election
    assert (third.namespace, third.name) == ("ns", "lease")


def test_apps_own_flags_reach_its_setup(monkeypatch, tmp_path):
    """An app declares its controllers once its flags are known."""
    seen = []

    def arguments(parser):
        parser.add_argument("--color", default="blue")

    app = App("painter", arguments=arguments, setup=lambda app, options: seen.append(options.color))
    options_of(monkeypatch, tmp_path, "--color", "red", app=app)
    assert seen == ["red"]


def test_two_apps_share_one_process(monkeypatch):
    """Their controllers run as one app: one connection, one lease."""
    apps = {}
    for name in ("first", "second"):
        apps[name] = App(name)

        async def reconcile(obj, ctx):
            pass

        apps[name].controller("v1/ConfigMap", name=f"{name}-controller")(reconcile)
    seen = {}
    monkeypatch.setattr(command, "find_app", apps.__getitem__)
    monkeypatch.setattr(App, "run", lambda self, options: seen.update(app=self))
    monkeypatch.setattr("reconcile.instrumentation.logging.configure_logging", lambda **given: None)
    assert main(["run", "first", "second"]) == 0
    assert seen["app"].name == "first-second"
    assert [one.name for one in seen["app"].controllers] == ["first-controller", "second-controller"]


def test_name_registered_twice_is_refused_with_both(monkeypatch):
    """Which of two distributions is meant is not for us to guess."""
    entries = EntryPoints(EntryPoint("job", value, command.CONTROLLERS_GROUP) for value in ("mine:app", "theirs:app"))
    monkeypatch.setattr(command.importlib.metadata, "entry_points", entries.select)
    with pytest.raises(UsageError, match="registered twice: mine:app, theirs:app"):
        command.find_app("job")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_clean_stop_before_the_server_has_answered_exits_with_0(project, stop):
    """A service that is stopped while it still starts has not failed."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        kubeconfig = json.loads(json.dumps(KUBECONFIG))
        kubeconfig["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (project / "silent").write_text(json.dumps(kubeconfig))
        with subprocess.Popen(
            [sys.executable, "-m", "reconcile", "run", "painting:app", "--kubeconfig", "silent"],
            cwd=project,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                silent.settimeout(60)
                connection, _ = silent.accept()
                with connection:
                    process.send_signal(stop)
                    _, err = process.communicate(timeout=60)
            finally:
                process.kill()
    assert process.returncode == 0, err
