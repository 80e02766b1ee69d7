"""The command line: finds commands, says what went wrong in one safe line, and exits with the status that it promises."""

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints, version

import pytest

from reconcile.cli import main as cli
from reconcile.cli.main import main
from reconcile.errors import ConfigurationError, LeaseLostError, TransportError, UsageError


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "reconcile", *arguments], capture_output=True, text=True, timeout=120, **options
    )


def test_help_names_every_command():
    """``reconcile --help`` is where one starts."""
    done = run("--help")
    assert done.returncode == 0
    for command in ("run", "demo", "envtest"):
        assert f"\n    {command} " in done.stdout
    assert done.stderr == ""


def test_version_is_the_installed_one():
    """As the wheel's metadata has it."""
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"reconcile {version('reconcile-k8s')}\n")


@pytest.mark.parametrize(
    "arguments", [[], ["no-such-command"], ["run", "--no-such-flag", "job"], ["demo", "--no-such-flag"]]
)
def test_usage_errors_exit_with_2(arguments):
    """Nothing is run, and standard output stays empty."""
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "reconcile" in done.stderr


def test_help_imports_nothing_heavy():
    """Neither the Kubernetes client nor the HTTP library nor the metrics library is loaded to print a help text."""
    script = (
        "import sys\nfrom reconcile.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('kubernetes_asyncio', 'aiohttp', 'prometheus_client', 'uvloop') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]"


class Command:
    """A command of another distribution."""

    def __init__(self, outcome):
        self.outcome = outcome

    def add_parser(self, subparsers):
        parser = subparsers.add_parser("theirs", help="theirs")
        parser.add_argument("--flag")
        parser.set_defaults(func=self.run)

    def run(self, options):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def install(monkeypatch, *commands):
    class Entry(EntryPoint):
        def load(self):
            command = commands[int(self.value)]
            if isinstance(command, Exception):
                raise command
            return command

    entries = EntryPoints(Entry(f"theirs{number}", str(number), cli.COMMANDS_GROUP) for number in range(len(commands)))
    monkeypatch.setattr(cli.importlib.metadata, "entry_points", lambda group: entries.select(group=group))


def test_plug_in_command_is_run(monkeypatch):
    """What a distribution registers under ``reconcile.commands`` is a command like ours."""
    install(monkeypatch, Command(7))
    assert main(["theirs", "--flag", "x"]) == 7


def test_broken_plug_in_takes_no_other_command_away(monkeypatch, capsys):
    """It is named, and the others are there."""
    install(monkeypatch, ImportError("no module 'gone'"), Command(0))
    assert main(["theirs"]) == 0
    assert "command 'theirs0' of 0 is left out: ImportError: no module 'gone'" in capsys.readouterr().err


def test_unknown_flag_of_a_plug_in_is_refused(monkeypatch):
    """Only a command that says so parses its arguments itself."""
    install(monkeypatch, Command(0))
    with pytest.raises(SystemExit) as ended:
        main(["theirs", "--unknown"])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("wrong"), 2),
        (ConfigurationError("wrong"), 2),
        (LeaseLostError("lost"), 1),
        (TransportError("no answer"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_exit_statuses(monkeypatch, error, status):
    """2 for what somebody has to put right, 1 for what went wrong."""
    install(monkeypatch, Command(error))
    assert main(["theirs"]) == status


def test_complaint_is_safe_and_holds_no_secret(monkeypatch, capsys):
    """An error's text comes from servers and files: no escape sequence and no credential reaches the terminal."""
    install(monkeypatch, Command(TransportError("GET https://me:c4n4ry@host/ \x1b[31m failed")))
    assert main(["theirs"]) == 1
    assert capsys.readouterr().err == "reconcile: GET https://[redacted]@host/ \\x1b[31m failed\n"
