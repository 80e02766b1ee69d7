"""CronJobs: the schedule, and the template of their Jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reconcile.cluster.api_server.invalid import Invalid, at_least_zero, invalid, not_supported, required
from reconcile.cluster.api_server.validation_job import check_job_spec

__all__ = ["check_cron_job"]

CRON_JOB_NAME_LENGTH_MAX = 52
"""The controller appends eleven characters to make a Job's name."""


def check_cron_job(job: Mapping[str, Any], *, is_new: bool) -> list[Invalid]:
    """What is wrong with a CronJob, its metadata aside."""
    spec, problems = job["spec"], []
    schedule = spec.get("schedule", "")
    if not schedule:
        problems.append(required("spec.schedule"))
    else:
        problems += _check_schedule(schedule)
    problems += at_least_zero("spec.startingDeadlineSeconds", spec.get("startingDeadlineSeconds"))
    policy = spec.get("concurrencyPolicy", "")
    if policy not in ("Allow", "Forbid", "Replace"):
        problems.append(not_supported("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace")))
    template = spec["jobTemplate"]["spec"]
    problems += check_job_spec(template, "spec.jobTemplate.spec")
    if template.get("selector") is not None:
        text = "`selector` will be auto-generated"
        problems.append(invalid("spec.jobTemplate.spec.selector", template["selector"], text))
    if template.get("manualSelector"):
        problems.append(not_supported("spec.jobTemplate.spec.manualSelector", value=True, supported=("nil", "false")))
    for name in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        problems += at_least_zero(f"spec.{name}", spec.get(name))
    name = job["metadata"].get("name", "")
    if is_new and len(name) > CRON_JOB_NAME_LENGTH_MAX:
        problems.append(invalid("metadata.name", name, f"must be no more than {CRON_JOB_NAME_LENGTH_MAX} characters"))
    return problems


_CRON_FIELD = r"(?:\*|\?|[A-Za-z0-9]+(?:-[A-Za-z0-9]+)?)(?:/\d+)?"
_CRON = re.compile(rf"{_CRON_FIELD}(?:,{_CRON_FIELD})*")


def _check_schedule(schedule: str) -> list[Invalid]:
    problems = []
    parts = schedule.split()
    if schedule.startswith("@"):
        known = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
        if schedule not in known and not schedule.startswith("@every "):
            problems.append(invalid("spec.schedule", schedule, f"unrecognized descriptor: {schedule}"))
    elif "TZ" not in schedule:
        if len(parts) != 5:
            text = f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]"
            problems.append(invalid("spec.schedule", schedule, text))
        elif not all(_CRON.fullmatch(part) for part in parts):
            problems.append(invalid("spec.schedule", schedule, "failed to parse a field"))
    if "TZ" in schedule:
        text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        problems.append(invalid("spec.schedule", schedule, text))
    return problems
