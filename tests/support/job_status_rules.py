"""What the API server demands of a Job's status (KEP-4368), as a test oracle: old Job and new status in, violations out."""

from __future__ import annotations

import re
from typing import Any

RUN = re.compile(r"(\d+)(?:-(\d+))?")


def violations(job: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Every rule that writing ``new`` over ``job``'s status breaks."""
    old, spec = job.get("status") or {}, job["spec"]
    return [*_always(spec, old, new), *_on_change(spec, old, new)]


def _true(status: dict[str, Any], type: str) -> bool:
    return any(item["type"] == type and item["status"] == "True" for item in status.get("conditions") or ())


def _finished(status: dict[str, Any]) -> bool:
    return _true(status, "Complete") or _true(status, "Failed")


def _uncounted(status: dict[str, Any]) -> list[str]:
    lists = status.get("uncountedTerminatedPods") or {}
    return [*lists.get("succeeded", ()), *lists.get("failed", ())]


def _always(spec: dict[str, Any], old: dict[str, Any], new: dict[str, Any]):
    for counter in ("active", "succeeded", "failed", "ready", "terminating"):
        if (new.get(counter) or 0) < 0:
            yield f"{counter} is negative"
    uids = _uncounted(new)
    if len(set(uids)) != len(uids) or "" in uids:
        yield "uncounted uids are not unique"
    if _true(new, "SuccessCriteriaMet") and (_true(new, "Failed") or _true(new, "FailureTarget")):
        yield "SuccessCriteriaMet beside a failure"
    if spec.get("successPolicy") and _true(new, "Complete") and not _true(new, "SuccessCriteriaMet"):
        yield "Complete without SuccessCriteriaMet"
    if _true(new, "SuccessCriteriaMet") and _true(old, "Complete") and not _true(old, "SuccessCriteriaMet"):
        yield "SuccessCriteriaMet after Complete"
    for kept in ("Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"):
        if _true(old, kept) and not _true(new, kept):
            yield f"{kept} was turned off"
    if (new.get("failed") or 0) < (old.get("failed") or 0):
        yield "failed decreased"
    elastic = spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")
    if (new.get("succeeded") or 0) < (old.get("succeeded") or 0) and not elastic:
        yield "succeeded decreased"
    if old.get("completionTime") not in (None, new.get("completionTime")):
        yield "completionTime changed"
    types = [item["type"] for item in new.get("conditions") or ()]
    if len(set(types)) != len(types):
        yield "a condition type twice"


def _on_change(spec: dict[str, Any], old: dict[str, Any], new: dict[str, Any]):
    if _true(new, "Complete") and (_true(new, "Failed") or _true(new, "FailureTarget")):
        yield "Complete beside a failure"
    if _true(new, "Failed") and not _true(new, "FailureTarget"):
        yield "Failed without FailureTarget"
    if _true(new, "Complete") and not _true(new, "SuccessCriteriaMet"):
        yield "Complete without SuccessCriteriaMet"
    if _true(new, "Complete") != (new.get("completionTime") is not None):
        yield "completionTime and Complete must come together"
    if new.get("completionTime") and new["completionTime"] < (new.get("startTime") or ""):
        yield "completionTime before startTime"
    if _finished(new):
        if not new.get("startTime") and not (spec.get("suspend") and spec.get("completions") == 0):
            yield "finished without startTime"
        if new.get("active") or new.get("terminating") or _uncounted(new):
            yield "finished with active, terminating or uncounted Pods"
    resumed = _true(old, "Suspended") and not _true(new, "Suspended")
    if old.get("startTime") not in (None, new.get("startTime")) and not spec.get("suspend") and not resumed:
        yield "startTime changed"
    if (new.get("ready") or 0) > (new.get("active") or 0):
        yield "more ready than active"
    indexed = spec.get("completionMode") == "Indexed"
    completed = _indexes("completedIndexes", new.get("completedIndexes"), spec, allowed=indexed)
    failed = _indexes(
        "failedIndexes", new.get("failedIndexes"), spec, allowed=spec.get("backoffLimitPerIndex") is not None
    )
    if isinstance(completed, str) or isinstance(failed, str):
        yield f"{completed} {failed}"
    elif completed & failed:
        yield "an index both completed and failed"


def _indexes(name: str, text: str | None, spec: dict[str, Any], *, allowed: bool) -> set[int] | str:
    if not text:
        return f"{name} must not be set" if text is not None and not allowed else set()
    if not allowed:
        return f"{name} must not be set"
    found: list[int] = []
    for item in text.split(","):
        run = RUN.fullmatch(item)
        if run is None:
            return f"{name}: {item!r}"
        first, last = int(run[1]), int(run[2] or run[1])
        if (run[2] is not None and first >= last) or (found and first <= found[-1]) or last >= spec["completions"]:
            return f"{name}: {text!r}"
        found.extend(range(first, last + 1))
    return set(found)
