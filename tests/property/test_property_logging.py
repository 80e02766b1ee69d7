"""Whatever text objects and servers hold, a log record is one record, and can be read."""

import json
import logging
import sys

from hypothesis import given
from hypothesis import strategies as st

from reconcile.errors import ConfigurationError
from reconcile.instrumentation.logging import JSONFormatter, TextFormatter
from reconcile.instrumentation.redaction import one_line, redact, spell_out
from reconcile.runtime.health import Health
from reconcile.runtime.http_server import Address

# Any code point, lone surrogates too, and more of what is dangerous than chance would give.
DANGEROUS = "\n\r\t\x1b\x00\x85\u2028\u202e\ud800\"'\\{}%"
TEXT = st.text(st.one_of(st.characters(), st.sampled_from(DANGEROUS)), max_size=60)


def record(message, key, error):
    try:
        raise ValueError(error)
    except ValueError:
        made = logging.LogRecord("reconcile", logging.ERROR, "file.py", 1, "%s", (message,), sys.exc_info())
    made.key = key
    return made


@given(TEXT, TEXT, TEXT)
def test_json_record_is_one_line_that_decodes(message, key, error):
    """A log collector never loses or splits a record."""
    line = JSONFormatter().format(record(message, key, error))
    assert len(line.splitlines()) == 1
    decoded = json.loads(line)
    assert decoded["level"] == "error"
    assert decoded.get("key", "") == one_line(redact(key))


@given(TEXT, TEXT, TEXT)
def test_text_record_has_one_line_that_is_not_indented(message, key, error):
    """Nothing that somebody wrote into an object looks like a record of its own."""
    first, *rest = TextFormatter().format(record(message, key, error)).splitlines()
    assert " ERROR   reconcile" in first
    assert all(line.startswith("    | ") for line in rest)


@given(TEXT)
def test_safe_text_is_printable_and_stays_as_it_is(text):
    """No control character is left, and to make safe twice is to make safe once."""
    safe = one_line(text)
    safe.encode()  # raises for half a character
    assert not [character for character in safe if ord(character) < 32 or 127 <= ord(character) < 160]
    assert one_line(safe) == safe
    assert spell_out(redact(redact(text))) == spell_out(redact(text))


@given(TEXT)
def test_address_is_parsed_or_refused(text):
    """A flag is either an address that prints as it was given, or the operator's error."""
    try:
        address = Address.parse(text, flag="--health-bind-address")
    except ConfigurationError:
        return
    assert 0 <= address.port <= 65535
    assert Address.parse(str(address), flag="x") == address


@given(st.dictionaries(st.text("abc", min_size=1), st.one_of(st.none(), TEXT)))
def test_probe_shows_names_and_the_failures_count(reasons):
    """One failing check is enough for 503, and no reason is in the body."""
    health = Health()
    for name, reason in reasons.items():
        health.add(name, lambda reason=reason: reason)
    answer = health.routes()["/readyz"]({"verbose": ""})
    failing = {name for name, reason in reasons.items() if reason is not None}
    assert answer.status == (503 if failing else 200)
    lines = answer.body.decode().splitlines()
    assert lines == [f"[{'-' if name in failing else '+'}] {name}" for name in reasons] + [
        "failed" if failing else "ok"
    ]
