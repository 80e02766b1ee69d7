"""A Job's status: what every writer must respect, whoever manages the Job (KEP-4368).

A rule is applied when a field that it speaks of changed, so that an old status that breaks it does not block the next
write; counters and end states are checked always.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconcile.cluster.api_server.invalid import IMMUTABLE, Invalid, at_least_zero, duplicate, invalid, required
from reconcile.cluster.api_server.job_indexes import overlap, parse_indexes

__all__ = ["check_job_status"]

_COUNTERS = ("active", "succeeded", "failed", "ready", "terminating")
_CONDITIONS = "status.conditions"


def check_job_status(old_job: Mapping[str, Any], job: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a change of a Job's status."""
    return _Change(job["spec"], old_job.get("status") or {}, job.get("status") or {}).problems()


class _Change:
    def __init__(self, spec: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        self.spec, self.old, self.new = spec, old, new
        self.is_indexed = spec.get("completionMode") == "Indexed"
        self.found: list[Invalid] = []

    def problems(self) -> list[Invalid]:
        for name in _COUNTERS:
            self.found += at_least_zero(f"status.{name}", self.new.get(name))
        self.uncounted()
        self.ends()
        self.times()
        self.finished()
        self.indexes()
        self.transitions()
        return self.found

    # -- words -----------------------------------------------------------------------------------------------------

    def has(self, kind: str, status: Mapping[str, Any] | None = None, value: str = "True") -> bool:
        conditions = (self.new if status is None else status).get("conditions") or ()
        return any(one.get("type") == kind and one.get("status") == value for one in conditions)

    def had(self, kind: str) -> bool:
        return self.has(kind, self.old)

    def turned(self, *kinds: str) -> bool:
        return any(self.has(kind) != self.had(kind) for kind in kinds)

    def changed(self, *names: str) -> bool:
        return any((self.old.get(name) or None) != (self.new.get(name) or None) for name in names)

    @property
    def is_finished(self) -> bool:
        return self.has("Complete") or self.has("Failed")

    @property
    def finish_changed(self) -> bool:
        return self.is_finished != (self.had("Complete") or self.had("Failed"))

    def condition(self, text: str) -> None:
        self.found.append(invalid(_CONDITIONS, detail=text))

    # -- rules -----------------------------------------------------------------------------------------------------

    def uncounted(self) -> None:
        lists = self.new.get("uncountedTerminatedPods") or {}
        seen: set[str] = set()
        for name in ("succeeded", "failed"):
            for index, uid in enumerate(lists.get(name) or ()):
                field = f"status.uncountedTerminatedPods.{name}[{index}]"
                if not uid:
                    self.found.append(invalid(field, uid, "must not be empty"))
                elif uid in seen:
                    self.found.append(duplicate(field, uid))
                seen.add(uid)

    def ends(self) -> None:
        complete, failed, target = self.has("Complete"), self.has("Failed"), self.has("FailureTarget")
        met = self.has("SuccessCriteriaMet")
        if self.turned("Complete", "Failed") and complete and failed:
            self.condition("cannot set Complete=True and Failed=true conditions")
        if self.turned("Complete", "FailureTarget") and complete and target:
            self.condition("cannot set Complete=True and FailureTarget=true conditions")
        if (self.turned("Failed") or self.failed_indexes_changed) and failed and not target:
            self.condition("cannot set Failed=True condition without the FailureTarget=true condition")
        if self.turned("Complete", "SuccessCriteriaMet") and complete and not met:
            self.condition("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
        if met and failed:
            self.condition("cannot set SuccessCriteriaMet=True and Failed=true conditions")
        if met and target:
            self.condition("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
        if self.spec.get("successPolicy") is not None and complete and not met:
            self.condition("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")

    def times(self) -> None:
        complete, field = self.has("Complete"), "status.completionTime"
        start, completion = self.new.get("startTime"), self.new.get("completionTime")
        if self.turned("Complete") or self.changed("completionTime"):
            if completion is not None and not complete:
                text = "cannot set completionTime when there is no Complete=True condition"
                self.found.append(invalid(field, completion, text))
            if completion is None and complete:
                self.found.append(required(field, "completionTime is required for Complete jobs"))
        ordered = start is None or completion is None or completion >= start
        if self.changed("startTime", "completionTime") and not ordered:
            self.found.append(invalid(field, completion, "must be equal to or after `startTime`"))

    def finished(self) -> None:
        if self.is_finished:
            active, terminating = self.new.get("active") or 0, self.new.get("terminating") or 0
            uncounted = self.new.get("uncountedTerminatedPods") or {}
            if (self.finish_changed or self.changed("active")) and active > 0:
                self.found.append(invalid("status.active", active, "active>0 is invalid for finished job"))
            is_idle = self.spec.get("suspend") and self.spec.get("completions") == 0
            if (self.finish_changed or self.changed("startTime")) and not is_idle and not self.new.get("startTime"):
                self.found.append(required("status.startTime", "startTime is required for finished job"))
            has_uncounted = any(uncounted.get(name) for name in ("succeeded", "failed"))
            if (self.finish_changed or self.changed("uncountedTerminatedPods")) and has_uncounted:
                field = "status.uncountedTerminatedPods"
                self.found.append(invalid(field, uncounted, "must be empty for finished job"))
            if (self.finish_changed or self.changed("terminating")) and terminating > 0:
                text = "terminating>0 is invalid for finished job"
                self.found.append(invalid("status.terminating", terminating, text))
        ready = self.new.get("ready")
        is_more = ready is not None and ready > (self.new.get("active") or 0)
        if (self.old.get("ready") != ready or self.changed("active")) and is_more:
            self.found.append(invalid("status.ready", ready, "cannot set more ready pods than active"))

    @property
    def failed_indexes_changed(self) -> bool:
        return bool(self.old.get("failedIndexes") != self.new.get("failedIndexes"))

    def indexes(self) -> None:
        completed, failed = self.new.get("completedIndexes") or "", self.new.get("failedIndexes")
        completions = self.spec.get("completions")
        per_index = self.spec.get("backoffLimitPerIndex") is not None
        completed_changed = self.changed("completedIndexes")
        if completions is not None:
            if completed_changed:
                self.well_formed("completedIndexes", completed, completions)
            if self.failed_indexes_changed and per_index and failed is not None:
                self.well_formed("failedIndexes", failed, completions)
        if completed_changed and completed and not self.is_indexed:
            text = "cannot set non-empty completedIndexes when non-indexed completion mode"
            self.found.append(invalid("status.completedIndexes", completed, text))
        if self.failed_indexes_changed and not per_index and failed is not None:
            text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
            self.found.append(invalid("status.failedIndexes", failed, text))
        if (completed_changed or self.failed_indexes_changed) and completions is not None and failed is not None:
            shared = overlap(_readable(completed, completions), _readable(failed, completions))
            if shared is not None:
                text = f"failedIndexes and completedIndexes overlap at index: {shared}"
                self.found.append(invalid("status.failedIndexes", failed, text))

    def well_formed(self, name: str, text: str, completions: int) -> None:
        try:
            parse_indexes(text, completions)
        except ValueError as error:
            self.found.append(invalid(f"status.{name}", text, f"error parsing {name}: {error}"))

    def transitions(self) -> None:
        for kind in ("Failed", "Complete", "FailureTarget"):
            if self.had(kind) and not self.has(kind):
                self.condition(f"cannot disable the terminal {kind}=True condition")
        is_elastic = self.is_indexed and self.spec.get("completions") == self.spec.get("parallelism")
        for name in ("failed", "succeeded"):
            count = self.new.get(name) or 0
            if count < (self.old.get(name) or 0) and not (name == "succeeded" and is_elastic):
                self.found.append(invalid(f"status.{name}", count, f"cannot decrease the {name} counter"))
        old_completion, completion = self.old.get("completionTime"), self.new.get("completionTime")
        if completion is not None and old_completion is not None and completion != old_completion:
            self.found.append(invalid("status.completionTime", completion, IMMUTABLE))
        is_resuming = self.had("Suspended") and self.has("Suspended", value="False")
        if self.old.get("startTime") and self.changed("startTime") and not is_resuming and not self.spec.get("suspend"):
            text = "field is immutable for unsuspended job once set"
            self.found.append(invalid("status.startTime", self.new.get("startTime"), text))
        if self.had("SuccessCriteriaMet") and not self.has("SuccessCriteriaMet"):
            self.condition("cannot disable the SuccessCriteriaMet=True condition")
        if self.had("Complete") and not self.had("SuccessCriteriaMet") and self.has("SuccessCriteriaMet"):
            self.condition("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")


def _readable(text: str, completions: int) -> list[tuple[int, int]]:
    """The runs that can be read: the others are reported by the check of the form."""
    found = []
    for run in text.split(",") if text else ():
        try:
            found += parse_indexes(run, completions)
        except ValueError:
            continue
    return found
