"""Health: named checks behind ``/healthz`` (restart me) and ``/readyz`` (count on me).

Guarantees:
    * Bodies hold the names of checks and nothing else: they may be served to anybody. Reasons go to the log, once when
      a check begins to fail and once when it recovers.
    * A check that raises has failed.

Assumptions:
    Names come from declarations (``informer batch/v1/Job``), not from objects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import attrs

from reconcile.errors import UsageError
from reconcile.runtime.http_server import Answer, Handler

_log = logging.getLogger("reconcile.health")

Check: TypeAlias = Callable[[], str | None]
"""None if all is well, else the reason why not. A plain call on the event loop, so it must be quick."""

Probe: TypeAlias = Literal["ready", "live"]


@attrs.define
class Health:
    """The checks of one application."""

    _checks: dict[Probe, dict[str, Check]] = attrs.field(init=False, factory=lambda: {"ready": {}, "live": {}})
    _failing: dict[tuple[Probe, str], str] = attrs.field(init=False, factory=dict)

    def add(self, name: str, check: Check, *, probe: Probe = "ready") -> None:
        """Ask ``check`` at each probe. ``live`` is for what only a restart mends; anything else is ``ready``.

        Raises:
            UsageError: there is a check of that name.
        """
        checks = self._checks[probe]
        if name in checks:
            raise UsageError(f"health check {name!r} is there already")
        checks[name] = check

    def failures(self, probe: Probe) -> dict[str, str]:
        """The checks that fail now, with the reasons."""
        failing: dict[str, str] = {}
        for name, check in self._checks[probe].items():
            try:
                reason = check()
            except Exception as error:  # noqa: BLE001  whatever it raises, it did not say that all is well
                reason = f"{type(error).__name__}: {error}"
            if reason is not None:
                failing[name] = reason
            self._tell(probe, name, reason)
        return failing

    def _tell(self, probe: Probe, name: str, reason: str | None) -> None:
        before = self._failing.pop((probe, name), None)
        if reason is None:
            if before is not None:
                _log.info("%s: %s recovered", probe, name)
            return
        self._failing[probe, name] = reason
        if before is None:
            _log.warning("not %s: %s: %s", probe, name, reason)

    def routes(self) -> Mapping[str, Handler]:
        """For an HTTPServer."""
        return {
            "/healthz": lambda query: self._answer("live", query),
            "/readyz": lambda query: self._answer("ready", query),
        }

    def _answer(self, probe: Probe, query: Mapping[str, str]) -> Answer:
        failing = self.failures(probe)
        if not failing and "verbose" not in query:
            return Answer(200, b"ok\n")
        lines = [f"[-] {name}" if name in failing else f"[+] {name}" for name in self._checks[probe]]
        lines.append("failed" if failing else "ok")
        return Answer(503 if failing else 200, ("\n".join(lines) + "\n").encode())
