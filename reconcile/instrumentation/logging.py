"""Logging: records as JSON or text, safe to read whatever the objects hold.

Assumptions:
    A record's ``controller``, ``key`` and ``reconcile_id`` come as attributes (``Context.log`` sets them);
    a ``trace`` attribute is shown as a traceback is.

Guarantees:
    * Secrets are redacted and unsafe characters spelled out (``redaction``) in messages, fields and tracebacks.
    * One record is one line in JSON; in text only a traceback takes more, and each of its lines is indented.
    * Writing a record never raises, and a record that cannot be written shows no part of itself.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO, TypeAlias

from reconcile.errors import ConfigurationError
from reconcile.instrumentation.redaction import one_line, redact, spell_out
from reconcile.model import json

Format: TypeAlias = Literal["json", "text"]

LEVELS = ("debug", "info", "warning", "error")

TEXT_LENGTH_MAX = 16_384
"""Longer messages and tracebacks are cut: an object's text is not the log's size to decide."""

_FIELDS = ("controller", "key", "reconcile_id")


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH_MAX else f"{text[:TEXT_LENGTH_MAX]}… ({len(text)} characters)"


class _Formatter(logging.Formatter):
    """What both formats share: the parts of a record, made safe."""

    def _parts(self, record: logging.LogRecord) -> tuple[str, str, dict[str, str], str]:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = {
            name: one_line(_cut(redact(str(value))))
            for name in _FIELDS
            if (value := getattr(record, name, "")) not in {"", None}
        }
        traces = [record.stack_info, getattr(record, "trace", None)]
        if record.exc_info and record.exc_info[0]:
            traces.insert(0, self.formatException(record.exc_info))
        trace = "\n".join(part for part in traces if part)
        return moment, _cut(redact(record.getMessage())), fields, _cut(redact(trace))


class JSONFormatter(_Formatter):
    """One JSON object a line: time, level, logger, message, then controller, key, reconcile_id and trace where set."""

    def format(self, record: logging.LogRecord) -> str:
        moment, message, fields, trace = self._parts(record)
        line = {"time": moment, "level": record.levelname.lower(), "logger": record.name, "message": spell_out(message)}
        line |= fields
        if trace:
            line["trace"] = spell_out(trace)
        return json.encode(line).decode()


class TextFormatter(_Formatter):
    """``time level logger [controller key reconcile_id] message``, a traceback indented below."""

    def format(self, record: logging.LogRecord) -> str:
        moment, message, fields, trace = self._parts(record)
        where = f" [{' '.join(fields.values())}]" if fields else ""
        line = f"{moment} {record.levelname:<7} {record.name}{where} {one_line(message)}"
        return line + "".join(f"\n    | {part}" for part in spell_out(trace).splitlines()) if trace else line


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the library's name
        """Say where it was, not what it held: the library's own report prints the record's arguments as they are."""
        kind = sys.exc_info()[0]
        try:
            sys.stderr.write(
                f"log record of {record.pathname}:{record.lineno} lost: {kind.__name__ if kind else '?'}\n"
            )
        except (OSError, ValueError):
            return  # a full disk, a closed stream: nowhere is left to say it


def configure_logging(*, format: Format = "text", level: str = "info", stream: TextIO | None = None) -> None:
    """Send the process's log records to ``stream`` (stderr), in place of whatever was configured before.

    Raises:
        ConfigurationError: an unknown format or level.
    """
    if format not in {"json", "text"}:
        raise ConfigurationError(f"log format {format!r}: want 'json' or 'text'")
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"log level {level!r}: want one of {', '.join(LEVELS)}")
    handler = _Handler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JSONFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    for present in tuple(root.handlers):
        root.removeHandler(present)
    root.addHandler(handler)
    root.setLevel(level.upper())
