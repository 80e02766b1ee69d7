"""Jobs: what a specification may say, and what of it may change.

Source of the rules: KEP-2804 (failure policy), KEP-3850 (backoff limit per index), KEP-3998 (success policy), KEP-3939
(replacement policy), KEP-4368 (managedBy), KEP-2214 (indexed), KEP-3715 (elastic), and what a real server answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reconcile.cluster.api_server.invalid import (
    Invalid,
    at_least_zero,
    immutable,
    invalid,
    not_supported,
    required,
    too_long,
)
from reconcile.cluster.api_server.name_rules import dns_label, dns_subdomain
from reconcile.cluster.api_server.validation_job_policies import check_failure_policy, check_success_policy
from reconcile.cluster.api_server.validation_metadata import check_selector
from reconcile.cluster.api_server.validation_pod import check_pod_template
from reconcile.errors import DecodeError
from reconcile.model.selector import LabelSelector

__all__ = ["check_job", "check_job_spec", "check_job_update"]

INDEXED_PARALLELISM_MAX = 100_000
FAILED_INDEXES_MAX = 100_000
COMPLETIONS_SOFT_LIMIT = 100_000
"""Above it, with a backoff limit per index, the next two are the limits."""
HIGH_COMPLETIONS_PARALLELISM_MAX = 10_000
HIGH_COMPLETIONS_FAILED_INDEXES_MAX = 10_000
MANAGED_BY_BYTES_MAX = 63

_COUNTERS = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_GENERATED = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


def check_job(job: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a new Job, its metadata aside."""
    return [*_check_generated(job), *_check_spec_and_selector(job["spec"]), *_check_name(job)]


def check_job_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    """What is wrong with a change of a Job's specification."""
    before, after = old["spec"], new["spec"]
    problems = _check_spec_and_selector(after)
    if not _is_indexed(after):
        problems += immutable("spec.completions", before.get("completions"), after.get("completions"))
    elif after.get("completions") not in (None, before.get("completions"), after.get("parallelism")):
        text = "can only be modified in tandem with spec.parallelism"
        problems.append(invalid("spec.completions", after["completions"], text))
    problems += immutable("spec.selector", before.get("selector"), after.get("selector"))
    problems += _check_template_update(old, new)
    for name in ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"):
        problems += immutable(f"spec.{name}", before.get(name), after.get(name))
    return [*problems, *_check_name(new)]


def _is_indexed(spec: Mapping[str, Any]) -> bool:
    return spec.get("completionMode") == "Indexed"


def _check_generated(job: Mapping[str, Any]) -> list[Invalid]:
    """The labels and the selector that the server made of the Job's uid."""
    spec, metadata = job["spec"], job["metadata"]
    if spec.get("manualSelector") or spec.get("selector") is None:
        return []
    uid, name = metadata.get("uid", ""), metadata.get("name", "")
    problems = [] if uid else [required("metadata.uid")]
    labels = spec["template"].get("metadata", {}).get("labels") or {}
    expected: dict[str, str] = dict(zip(_GENERATED, (uid, name, uid, name), strict=True))
    for key, wanted in expected.items():
        field = "spec.template.metadata.labels"
        if key not in labels:
            problems.append(required(f"{field}[{key}]", f"must be '{wanted}'"))
        elif labels[key] != wanted:
            problems.append(invalid(f"{field}[{key}]", labels[key], f"must be '{wanted}'"))
    if not _matches(spec["selector"], expected):
        problems.append(invalid("spec.selector", spec["selector"], "`selector` not auto-generated"))
    return problems


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    try:
        return LabelSelector.from_plain(selector).matches(labels)
    except DecodeError:
        return True  # reported as an invalid selector


def _check_name(job: Mapping[str, Any]) -> list[Invalid]:
    completions, name = job["spec"].get("completions"), job["metadata"].get("name", "")
    if not _is_indexed(job["spec"]) or not completions or completions < 0:
        return []
    last = f"{name}-{completions - 1}"
    if not dns_label(last):
        return []
    return [invalid("metadata.name", name, f"will not able to create pod with invalid DNS label: {last}")]


def _check_spec_and_selector(spec: Mapping[str, Any]) -> list[Invalid]:
    problems = check_job_spec(spec, "spec")
    selector = spec.get("selector")
    problems += [required("spec.selector")] if selector is None else check_selector("spec.selector", selector)
    labels = spec["template"].get("metadata", {}).get("labels")
    if selector is None or not _matches(selector, labels or {}):  # none at all selects nothing
        text = "`selector` does not match template `labels`"
        problems.append(invalid("spec.template.metadata.labels", labels, text))
    return problems


def check_job_spec(spec: Mapping[str, Any], path: str) -> list[Invalid]:
    """What is wrong with a Job's specification, or a CronJob's template of one; the selector aside."""
    problems: list[Invalid] = []
    for name in _COUNTERS:
        problems += at_least_zero(f"{path}.{name}", spec.get(name))
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        problems.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if (manager := spec.get("managedBy")) is not None:
        problems += _check_managed_by(f"{path}.managedBy", manager)
    mode = spec.get("completionMode")
    if mode not in (None, "NonIndexed", "Indexed"):
        problems.append(not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed")))
    problems += _check_indexed(spec, path) if mode == "Indexed" else _check_not_indexed(spec, path)
    names = [
        one.get("name") for kind in ("containers", "initContainers") for one in spec["template"]["spec"].get(kind) or ()
    ]
    if (policy := spec.get("podFailurePolicy")) is not None:
        problems += check_failure_policy(policy, f"{path}.podFailurePolicy", spec, names)
    if (success := spec.get("successPolicy")) is not None:
        if mode == "Indexed":
            problems += check_success_policy(success, f"{path}.successPolicy", spec)
        else:
            problems.append(invalid(f"{path}.successPolicy", success, "requires indexed completion mode"))
    problems += _check_replacement_policy(spec, f"{path}.podReplacementPolicy")
    problems += check_pod_template(spec["template"], f"{path}.template")
    return [*problems, *_check_restart_policy(spec, f"{path}.template.spec.restartPolicy")]


def _check_managed_by(field: str, manager: str) -> list[Invalid]:
    if not manager:
        return [required(field)]
    host, slash, path = manager.partition("/")
    problems = []
    if not slash or not host or not path:
        problems.append(invalid(field, manager, 'must be a domain-prefixed path (such as "acme.io/foo")'))
    else:
        problems += [invalid(field, host, text) for text in dns_subdomain(host)]
        if not re.fullmatch(_HTTP_PATH, path):
            problems.append(invalid(field, path, f"Invalid path (regex used for validation is '{_HTTP_PATH}')"))
    if len(manager.encode()) > MANAGED_BY_BYTES_MAX:
        problems.append(too_long(field, MANAGED_BY_BYTES_MAX))
    return problems


_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"


def _check_indexed(spec: Mapping[str, Any], path: str) -> list[Invalid]:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failed_max = spec.get("maxFailedIndexes")
    problems = []
    if completions is None:
        problems.append(required(f"{path}.completions", "when completion mode is Indexed"))
    if parallelism is not None and parallelism > INDEXED_PARALLELISM_MAX:
        text = f"must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed"
        problems.append(invalid(f"{path}.parallelism", parallelism, text))
    if failed_max is not None:
        field = f"{path}.maxFailedIndexes"
        if completions is not None and failed_max > completions:
            problems.append(invalid(field, failed_max, "must be less than or equal to completions"))
        if failed_max > FAILED_INDEXES_MAX:
            problems.append(invalid(field, failed_max, f"must be less than or equal to {FAILED_INDEXES_MAX}"))
    if (completions or 0) > COMPLETIONS_SOFT_LIMIT and spec.get("backoffLimitPerIndex") is not None:
        problems += _check_high_completions(path, parallelism, failed_max)
    return problems


def _check_high_completions(path: str, parallelism: int | None, failed_max: int | None) -> list[Invalid]:
    ending = f"when completions are above {COMPLETIONS_SOFT_LIMIT} and used with backoff limit per index"
    problems = []
    if failed_max is None:
        text = f"must be specified when completions is above {COMPLETIONS_SOFT_LIMIT}"
        problems.append(required(f"{path}.maxFailedIndexes", text))
    if parallelism is not None and parallelism > HIGH_COMPLETIONS_PARALLELISM_MAX:
        text = f"must be less than or equal to {HIGH_COMPLETIONS_PARALLELISM_MAX} {ending}"
        problems.append(invalid(f"{path}.parallelism", parallelism, text))
    if failed_max is not None and failed_max > HIGH_COMPLETIONS_FAILED_INDEXES_MAX:
        text = f"must be less than or equal to {HIGH_COMPLETIONS_FAILED_INDEXES_MAX} {ending}"
        problems.append(invalid(f"{path}.maxFailedIndexes", failed_max, text))
    return problems


def _check_not_indexed(spec: Mapping[str, Any], path: str) -> list[Invalid]:
    if spec.get("completionMode") not in (None, "NonIndexed"):
        return []
    return [
        invalid(f"{path}.{name}", spec[name], "requires indexed completion mode")
        for name in ("backoffLimitPerIndex", "maxFailedIndexes")
        if spec.get(name) is not None
    ]


def _check_replacement_policy(spec: Mapping[str, Any], field: str) -> list[Invalid]:
    policy = spec.get("podReplacementPolicy")
    allowed = ("Failed",) if spec.get("podFailurePolicy") is not None else ("Failed", "TerminatingOrFailed")
    return [] if policy is None or policy in allowed else [not_supported(field, policy, allowed)]


def _check_restart_policy(spec: Mapping[str, Any], field: str) -> list[Invalid]:
    policy = spec["template"]["spec"].get("restartPolicy", "")
    if policy in ("", "Always"):
        return [required(field, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [not_supported(field, policy, ("OnFailure", "Never"))]
    if spec.get("podFailurePolicy") is not None and policy != "Never":
        return [invalid(field, policy, 'only "Never" is supported when podFailurePolicy is specified')]
    return []


# ── the template of a suspended Job ───────────────────────────────────────────────────────────────────────────────


def _check_template_update(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Invalid]:
    before, after = old["spec"]["template"], new["spec"]["template"]
    if not old["spec"].get("suspend"):
        return immutable("spec.template", before, after)
    if not _has_stopped(old.get("status") or {}):
        return immutable("spec.template", before, after)
    mine = _fixed_part(before["spec"], after["spec"])
    return immutable("spec.template.spec", mine, _fixed_part(after["spec"], after["spec"]))


def _has_stopped(status: Mapping[str, Any]) -> bool:
    """No Pod runs, and none will before the Job is resumed."""
    suspended = any(
        one.get("type") == "Suspended" and one.get("status") == "True" for one in status.get("conditions") or ()
    )
    return not status.get("active") and (status.get("startTime") is None or suspended)


def _fixed_part(spec: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A Pod's specification without where it may run and with what resources."""
    fixed = {
        name: value for name, value in spec.items() if name not in ("nodeSelector", "tolerations", "schedulingGates")
    }
    affinity = {name: value for name, value in (spec.get("affinity") or {}).items() if name != "nodeAffinity"}
    fixed.pop("affinity", None)
    if affinity:
        fixed["affinity"] = affinity
    for kind in ("containers", "initContainers"):
        mine, other = spec.get(kind) or [], wanted.get(kind) or []
        if [one.get("name") for one in mine] == [one.get("name") for one in other]:
            fixed[kind] = [{**one, "resources": {}} for one in mine]
    return fixed
