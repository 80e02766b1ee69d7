"""Logs: one record is one line that carries its key, shows no secret and cannot be forged."""

import io
import json
import logging
import sys

import pytest

from reconcile.errors import ConfigurationError
from reconcile.instrumentation.hooks import (
    ComponentFailed,
    EventDropped,
    LeaderChanged,
    LoopStalled,
    Parked,
    Quarantined,
    Reconciled,
    Relisted,
    RequestSent,
    WatchEnded,
)
from reconcile.instrumentation.log_hook import REPEAT_SECONDS, REPEATS_MAX, LogHook
from reconcile.instrumentation.logging import TEXT_LENGTH_MAX, configure_logging
from reconcile.model.key import ObjectKey

KEY = ObjectKey("default", "web")
CANARY = "c4n4rySecretZm9v"


@pytest.fixture(autouse=True)
def root_logger():
    """The process's own logging, put back after the test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)


def logs(format="json", level="debug"):
    stream = io.StringIO()
    configure_logging(format=format, level=level, stream=stream)
    return stream


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_record_carries_controller_key_and_reconcile_id():
    """One JSON object a line, with what a query needs."""
    stream = logs()
    extra = {"controller": "job", "key": "default/web", "reconcile_id": "abc"}
    logging.LoggerAdapter(logging.getLogger("reconcile.controller"), extra).info("made %d pods", 3)
    (line,) = lines(stream)
    time = line.pop("time")
    assert line == {"level": "info", "logger": "reconcile.controller", "message": "made 3 pods", **extra}
    assert time.endswith("Z")
    assert time[10] == "T"


def test_text_record_carries_them_too():
    """For people: time, level, logger, where, message."""
    stream = logs("text")
    extra = {"controller": "job", "key": "default/web", "reconcile_id": "abc"}
    logging.LoggerAdapter(logging.getLogger("reconcile.controller"), extra).warning("made %d pods", 3)
    assert stream.getvalue().endswith(" WARNING reconcile.controller [job default/web abc] made 3 pods\n")


@pytest.mark.parametrize("format", ["json", "text"])
def test_object_data_cannot_forge_a_record(format):
    """Newlines and escape sequences in a message, in a key and in an exception's text stay inside their record."""
    stream = logs(format)
    hostile = "x\n2026-01-01T00:00:00.000Z INFO root all is well\x1b[2K\r\u2028y"
    try:
        raise ValueError(hostile)
    except ValueError:
        logging.getLogger("reconcile").exception("failed: %s", hostile, extra={"key": hostile})
    written = stream.getvalue()
    assert "\x1b" not in written
    assert "\r" not in written
    assert "\u2028" not in written
    assert not [line for line in written.splitlines() if line.startswith("2026-01-01")]
    if format == "json":
        assert len(written.splitlines()) == 1
    else:
        first, *rest = written.splitlines()
        assert "failed: x" in first
        assert all(line.startswith("    | ") for line in rest)


@pytest.mark.parametrize("format", ["json", "text"])
def test_canary_secret_is_nowhere(format):
    """A secret in the message, in the arguments, in the traceback or in a field never reaches the log."""
    stream = logs(format)
    log = logging.getLogger("reconcile.client")
    secret = {"kind": "Secret", "data": {"password": CANARY}}
    try:
        try:
            raise ConnectionError(f"https://user:{CANARY}@host/ refused")
        except ConnectionError as error:
            raise RuntimeError(f"request with {{'Authorization': 'Bearer {CANARY}'}} failed") from error
    except RuntimeError:
        log.exception("object %s", secret, extra={"key": f"https://user:{CANARY}@host"}, stack_info=True)
    log.info("patch %s", json.dumps(secret))
    assert CANARY not in stream.getvalue()
    assert stream.getvalue().count("[redacted]") >= 5


@pytest.mark.parametrize("format", ["json", "text"])
def test_record_that_cannot_be_written_shows_nothing_of_itself(format, capsys):
    """The library would print the arguments unredacted; here only the place is named, and nothing is raised."""
    stream = logs(format)
    logging.getLogger("reconcile").info("%d pods", f"Bearer {CANARY}")
    err = capsys.readouterr().err
    assert CANARY not in err + stream.getvalue()
    assert "test_structured_logging.py" in err
    assert "TypeError" in err


def test_full_disk_is_not_the_callers_problem(monkeypatch):
    """Neither the log nor standard error can be written, and the caller goes on."""

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    configure_logging(stream=Full())
    monkeypatch.setattr(sys, "stderr", Full())
    logging.getLogger("reconcile").info("hello")


def test_lone_surrogates_are_written_as_numbers():
    """JSON that decodes to half a character must not kill the log line (reliability of ``.encode()``)."""
    stream = logs()
    logging.getLogger("reconcile").info("name \ud800")
    assert lines(stream)[0]["message"] == "name \\ud800"


def test_long_texts_are_cut():
    """A megabyte from an object is not a megabyte in the log."""
    stream = logs()
    logging.getLogger("reconcile").info("x" * 1_000_000)
    assert len(stream.getvalue()) < TEXT_LENGTH_MAX + 500
    assert "1000000 characters" in stream.getvalue()


def test_level_and_format_are_checked():
    """A wrong flag is the operator's error, and the text says what is possible."""
    with pytest.raises(ConfigurationError, match=r"'loud'.*debug, info, warning, error"):
        configure_logging(level="loud")
    with pytest.raises(ConfigurationError, match=r"'xml'.*'json' or 'text'"):
        configure_logging(format="xml")


def test_level_is_kept():
    """What is below the level is not written."""
    stream = logs(level="warning")
    logging.getLogger("reconcile").info("quiet")
    logging.getLogger("reconcile").warning("loud")
    assert [line["message"] for line in lines(stream)] == ["loud"]


@pytest.mark.parametrize(
    ("fact", "level", "text"),
    [
        (Reconciled("job", KEY, "id", "success", 0.1, 2), "debug", "success in 0.100 s, 2 writes"),
        (Reconciled("job", KEY, "id", "error", 0.1, 2, "boom", 5.0), "debug", "error in 0.100 s, 2 writes, again in 5.000 s"),
        (RequestSent("GET", "cluster", "v1/Pod", 0, 0.1), "debug", "GET v1/Pod: no answer in 0.100 s"),
        (WatchEnded("v1/Pod", "closed"), "debug", "watch of v1/Pod ended: closed"),
        (WatchEnded("v1/Pod", "refused", "403"), "warning", "watch of v1/Pod ended: refused: 403"),
        (Relisted("v1/Pod", 3, 0.1, "list"), "info", "v1/Pod: 3 objects in 0.100 s by list"),
        (Quarantined("v1/Pod", KEY, "too deep"), "warning", "v1/Pod default/web cannot be decoded and is left out: too deep"),
        (Parked("job", KEY, "v1/Pod", 0.1, timed_out=False), "debug", "v1/Pod: waited 0.100 s for its own writes"),
        (Parked("job", KEY, "v1/Pod", 15, timed_out=True), "warning", "v1/Pod: the cache did not show its own writes within 15.0 s"),
        (LeaderChanged("ns/l", leading=True, detail="acquired"), "debug", "LeaderChanged(lease='ns/l', leading=True, detail='acquired')"),
        (ComponentFailed("informer v1/Pod", "boom", 2.0), "debug", "ComponentFailed(component='informer v1/Pod', error='boom'"),
        (LoopStalled(0.3, "File x"), "warning", "stood still for 0.300 s by this code"),
        (LoopStalled(0.3), "warning", "because the process did not run"),
        (EventDropped("queue full"), "warning", "an Event was not written: queue full"),
    ],
)  # fmt: skip
def test_each_fact_is_a_line_at_a_level_that_fits(fact, level, text):
    """What an operator should act on is a warning; what is normal, or is logged where it happens, is not."""
    stream = logs()
    LogHook(lambda: 0.0)(fact)
    (line,) = lines(stream)
    assert line["level"] == level
    assert text in line["message"]
    if isinstance(fact, Reconciled):
        assert (line["controller"], line["key"], line["reconcile_id"]) == ("job", "default/web", "id")
    if isinstance(fact, LoopStalled):
        assert line.get("trace", "") == fact.stack


def test_repeated_warning_is_written_once_a_minute_with_the_number_held_back():
    """A hot loop fills no disk, and nothing is hidden."""
    stream = logs()
    now = 1000.0
    hook = LogHook(lambda: now)
    for _ in range(10):
        hook(EventDropped("queue full"))
    hook(EventDropped("refused"))
    now += REPEAT_SECONDS
    hook(EventDropped("queue full"))
    assert [line["message"] for line in lines(stream)] == [
        "an Event was not written: queue full",
        "an Event was not written: refused",
        "an Event was not written: queue full (and 9 more times since it was last written)",
    ]


def test_memory_for_repeats_is_bounded():
    """A million different errors are a million lines, not a leak."""
    logs(level="error")
    hook = LogHook(lambda: 0.0)
    for number in range(REPEATS_MAX + 100):
        hook(EventDropped(str(number)))
    assert len(hook._repeats) == REPEATS_MAX
