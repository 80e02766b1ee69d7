"""CronJobs: the schedule, the time zone, and the template of their Jobs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
    if (zone := spec.get("timeZone")) is not None:
        problems += _check_time_zone(zone)
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


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = ((0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, _MONTHS), (0, 6, _WEEKDAYS))
"""Least, greatest and names of minute, hour, day, month and weekday."""
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_RANGE = re.compile(r"(\*|\?|([A-Za-z]+|\d+)(?:-([A-Za-z]+|\d+))?)(?:/(\d+))?")


def _check_schedule(schedule: str) -> list[Invalid]:
    problems = []
    parts = schedule.split()
    if schedule.startswith("@"):
        if schedule not in _DESCRIPTORS and not schedule.startswith("@every "):
            problems.append(invalid("spec.schedule", schedule, f"unrecognized descriptor: {schedule}"))
    elif "TZ" not in schedule:
        if len(parts) != len(_FIELDS):
            text = f"expected exactly {len(_FIELDS)} fields, found {len(parts)}: [{' '.join(parts)}]"
            problems.append(invalid("spec.schedule", schedule, text))
        else:
            wrong = [text for part, field in zip(parts, _FIELDS, strict=True) for text in _field_problems(part, *field)]
            problems += [invalid("spec.schedule", schedule, text) for text in wrong[:1]]
    if "TZ" in schedule:
        text = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        problems.append(invalid("spec.schedule", schedule, text))
    return problems


def _field_problems(part: str, least: int, greatest: int, names: Sequence[str]) -> list[str]:
    problems = []
    for one in part.split(","):
        match = _RANGE.fullmatch(one)
        if match is None:
            problems.append(f"failed to parse {one}")
            continue
        if match[2] is None:
            continue
        try:
            first = _number(match[2], least, names)
            last = _number(match[3], least, names) if match[3] else first
        except ValueError:
            problems.append(f"failed to parse int from {one}")
            continue
        if first < least:
            problems.append(f"beginning of range ({first}) below minimum ({least}): {one}")
        elif last > greatest:
            problems.append(f"end of range ({last}) above maximum ({greatest}): {one}")
        elif first > last:
            problems.append(f"beginning of range ({first}) beyond end of range ({last}): {one}")
        elif match[4] == "0":
            problems.append(f"step of range should be a positive number: {one}")
    return problems


def _number(text: str, least: int, names: Sequence[str]) -> int:
    return names.index(text.lower()) + least if text.isalpha() else int(text)


def _check_time_zone(zone: str) -> list[Invalid]:
    field = "spec.timeZone"
    if not zone:
        return [invalid(field, zone, "timeZone must be nil or non-empty string")]
    parts = zone.split("/")
    if any(part in (".", "..") or part.startswith("-") or not _ZONE_PART.fullmatch(part) for part in parts):
        return [invalid(field, zone, f"unknown time zone {zone}")]
    if zone.lower() == "local":
        text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [invalid(field, zone, text)]
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return [invalid(field, zone, f"unknown time zone {zone}")]
    return []


_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")
