"""Old API servers: refused in words, or served with one warning. /version is answered by this process."""

from __future__ import annotations

import argparse
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from reconcile import App, Client, UsageError
from reconcile.client.memory_transport import JSON_HEADERS, MemoryTransport
from reconcile.client.transport import HTTPRequest, HTTPResponse
from reconcile.model.object import from_plain
from reconcile_job import add_arguments, setup
from reconcile_job.plan.options import Options
from reconcile_job.plan.server import suited
from reconcile_job.plan.sync import Done, Memory, decide
from reconcile_job.plan.view import JobView
from reconcile_job.reconciler import JobReconciler

OURS, REPLACE = Options(), Options(replace=True)
FIRST_START = datetime(2026, 1, 1, tzinfo=UTC)
RESUMED = datetime(2026, 1, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("options", [OURS, REPLACE], ids=["managed-by", "replace"])
@pytest.mark.parametrize(
    "version",
    ["v1.37.2", "v1.36.3", "v1.35.0", "v1.34.2", "v1.33.6-gke.1", "v1.32.10+k3s1", "v1.40.0-alpha.1", "v2.0.0"],
)
def test_a_current_server_has_everything(version: str, options: Options) -> None:
    """Nothing is adapted, and nothing is said."""
    assert suited(version, options) == (options, "")


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("v1.34.1", OURS),
        ("v1.33.5-eks-113cf36", OURS),
        ("v1.32.0", OURS),
        ("v1.32.9", REPLACE),
        ("v1.31.14", REPLACE),
        ("v1.31.0", REPLACE),
    ],
)
def test_an_older_one_is_served_with_a_warning(version: str, options: Options) -> None:
    """The warning names the version, what is missing, and since when it is there."""
    adapted, warning = suited(version, options)
    assert not adapted.resets_start_time
    assert adapted.replace is options.replace
    for part in (version, "start time", "134521", "1.34.2"):
        assert part in warning


@pytest.mark.parametrize(
    ("version", "options", "texts"),
    [
        ("v1.31.2", OURS, ["v1.31.2", "1.32 or later", "spec.managedBy", "--replace"]),
        ("v1.28.15", OURS, ["v1.28.15", "1.32 or later", "upgrade the cluster"]),
        ("v1.28.15", REPLACE, ["v1.28.15", "1.31 or later", "SuccessCriteriaMet", "built-in"]),
        ("v1.30.14", REPLACE, ["v1.30.14", "1.31 or later"]),
        ("v1.30.14", OURS, ["1.32 or later", "upgrade the cluster"]),
        ("v1.9.0", REPLACE, ["1.31 or later"]),
    ],
)
def test_an_old_one_is_refused(version: str, options: Options, texts: list[str]) -> None:
    """The text names the server's version, the oldest that would do, and a way out that there is."""
    with pytest.raises(UsageError) as caught:
        suited(version, options)
    for text in texts:
        assert text in str(caught.value)
    assert ("--replace" in str(caught.value)) == ("--replace" in texts or options.replace)


@pytest.mark.parametrize("version", ["", "v0.0.0-master+$Format:%H$", "unknown", "v1.37"])
def test_a_version_that_names_no_release_is_taken_for_a_current_one(version: str) -> None:
    """A server of one's own build runs, with a warning."""
    options, warning = suited(version, OURS)
    assert options == OURS
    assert "names no release" in warning


def job(**status: Any) -> JobView:
    return from_plain(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "one", "namespace": "here", "uid": "u1"},
            "spec": {"suspend": False, "parallelism": 1, "completions": 1, "template": {"spec": {"containers": []}}},
            "status": {"conditions": [{"type": "Suspended", "status": "True", "reason": "JobSuspended"}], **status},
        }
    ).decode(JobView)


@pytest.mark.parametrize(
    ("resets", "status", "expected"),
    [
        (True, {"startTime": "2026-01-01T00:00:00Z"}, RESUMED),
        (False, {"startTime": "2026-01-01T00:00:00Z"}, FIRST_START),
        (False, {}, RESUMED),
    ],
    ids=["new start", "kept by another controller", "cleared when it was suspended"],
)
def test_the_start_of_a_resumed_job(resets: bool, status: dict[str, Any], expected: datetime) -> None:
    """Where the server refuses a new start, the one that stands there stays, and the Job runs all the same."""
    options = Options(resets_start_time=resets)
    plan = decide(job(**status), [], now=RESUMED, memory=Memory(), options=options, is_taken=lambda name: False)
    written = plan.account(Done(created=1), RESUMED).status
    assert written.start_time == expected
    assert [(one.type, one.status) for one in written.conditions or ()] == [("Suspended", "False")]


def server(git_version: str) -> Client:
    """A client of a server that tells its version, and serves nothing else."""

    async def answer(request: HTTPRequest) -> HTTPResponse:
        if request.path == "/version":
            return HTTPResponse(200, JSON_HEADERS, json.dumps({"gitVersion": git_version}).encode())
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        return HTTPResponse(404, JSON_HEADERS, json.dumps(body).encode())

    return Client(MemoryTransport(answer))


@pytest.mark.asyncio
async def test_the_program_refuses_an_old_server_at_its_start() -> None:
    """Before anything is watched, and with the text that says why."""
    app = App("job-controller", arguments=add_arguments, setup=setup)
    with pytest.raises(UsageError, match=r"v1\.31\.0, and the Job controller needs 1\.32"):
        async with app.running(client=server("v1.31.0")):
            pass


@pytest.mark.asyncio
async def test_the_flags_decide_what_is_old() -> None:
    """``--replace`` goes on with 1.31: it fails only because this server has no Jobs at all."""
    app = App("job-controller", arguments=add_arguments)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    setup(app, parser.parse_args(["--replace"]))
    with pytest.raises(UsageError, match="does not serve batch/v1"):
        async with app.running(client=server("v1.31.0")):
            pass


@pytest.mark.asyncio
async def test_a_server_in_between_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """One line, and the reconciler runs with adapted options."""
    reconciler = JobReconciler(OURS)
    with caplog.at_level(logging.WARNING):
        await reconciler.check_server(server("v1.33.1"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert reconciler.options == Options(resets_start_time=False)
