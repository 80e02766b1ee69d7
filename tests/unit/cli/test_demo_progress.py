"""What the demo shows of Jobs, in a terminal and in a file."""

import io

import pytest

from reconcile.cli.demo.progress import EXPECT, Row, Screen


def job(conditions=(), expected="Complete", **status):
    return {
        "metadata": {"name": "web", "annotations": {EXPECT: expected}},
        "spec": {"completions": 3},
        "status": {"conditions": [dict(zip(("type", "status", "reason"), one, strict=True)) for one in conditions]}
        | status,
    }


@pytest.mark.parametrize(
    ("given", "outcome", "has_ended", "is_as_expected"),
    [
        (job(), "Waiting", False, False),
        (job(startTime="2026-01-01T00:00:00Z", active=1), "Running", False, False),
        (job([("Suspended", "True", "JobSuspended")]), "Suspended", False, False),
        (job([("Suspended", "False", "JobResumed")], startTime="x"), "Running", False, False),
        (job([("Complete", "True", "CompletionsReached")], succeeded=3), "Complete", True, True),
        (job([("Complete", "True", "CompletionsReached")], succeeded=2), "Complete", True, False),
        (job([("FailureTarget", "True", "DeadlineExceeded")]), "FailureTarget DeadlineExceeded", False, False),
        (job([("Failed", "True", "DeadlineExceeded")]), "Failed DeadlineExceeded", True, False),
        (
            job([("FailureTarget", "True", "X"), ("Failed", "True", "X")], expected="Failed X"),
            "Failed X",
            True,
            True,
        ),
    ],
)
def test_row_says_where_the_job_stands(given, outcome, has_ended, is_as_expected):
    """Only a Job in the state it should reach, with all its work done, is as expected."""
    row = Row.of(given, ["Running", "Pending", "Running"])
    assert (row.outcome, row.has_ended, row.is_as_expected) == (outcome, has_ended, is_as_expected)
    assert row.pods == "1 Pending 2 Running"


def test_without_a_terminal_only_changes_are_written():
    """A log of a demo is readable: no escape sequences, no line twice."""
    stream = io.StringIO()
    screen = Screen(stream)
    row = Row.of(job(startTime="x", active=1), ["Running"])
    for _ in range(3):
        screen.update([row], "queue: 0 waiting")
    screen.update([Row.of(job(startTime="x", active=2), ["Running"])], "queue: 0 waiting")
    assert len(stream.getvalue().splitlines()) == 2
    assert "\x1b" not in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_in_a_terminal_rows_are_redrawn_in_place(monkeypatch):
    """Each update goes back over exactly the lines of the one before, and no line wraps."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    screen = Screen(stream)
    row = Row.of(job(startTime="x"), ["Running"] * 9)
    screen.update([row, row], "queue: 0 waiting")
    drawn = stream.getvalue()
    assert len(drawn.splitlines()) == 4
    assert max(map(len, drawn.splitlines())) < 40
    screen.update([row], "queue: 0 waiting")
    assert stream.getvalue().removeprefix(drawn).startswith("\x1b[4F\x1b[J")


def test_summary_says_what_is_not_as_it_should_be():
    """A reader of the last lines alone knows what failed."""
    stream = io.StringIO()
    Screen(stream).summary([Row.of(job([("Failed", "True", "BackoffLimitExceeded")]), [])])
    assert "NOT AS IT SHOULD: want Complete" in stream.getvalue()
