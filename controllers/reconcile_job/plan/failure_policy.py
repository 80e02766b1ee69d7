"""podFailurePolicy (KEP-3329): what a failed Pod means.

The first rule that matches decides. A Pod that no rule matches counts.
"""

from __future__ import annotations

import attrs

from reconcile_job.plan.view import ExitCodes, FailurePolicy, PodConditionPattern, PodView


@attrs.frozen
class Verdict:
    """What a failed Pod means.

    Attributes:
        counts: whether it counts towards ``backoffLimit`` (and the limit of its index).
        fails_index: whether its index has failed for good.
        job_failure: why the whole Job has failed, or None.
        action: the action of the rule that matched, or None.
    """

    counts: bool = True
    fails_index: bool = False
    job_failure: str | None = None
    action: str | None = None


COUNTED = Verdict()


def judge(policy: FailurePolicy | None, pod: PodView, namespace: str) -> Verdict:
    """What the failure of ``pod`` means. ``pod`` must count as failed."""
    for position, rule in enumerate(policy.rules if policy is not None else ()):
        if rule.on_exit_codes is not None:
            found = _exit_code(rule.on_exit_codes, pod)
            cause = None if found is None else f"Container {found[0]} for pod {{}} failed with exit code {found[1]}"
        else:
            condition = _condition(rule.on_pod_conditions or (), pod)
            cause = None if condition is None else f"Pod {{}} has condition {condition}"
        if cause is None:
            continue
        match rule.action:
            case "Ignore":
                return Verdict(counts=False, action=rule.action)
            case "FailIndex":
                return Verdict(fails_index=True, action=rule.action)
            case "FailJob":
                message = f"{cause.format(f'{namespace}/{pod.name}')} matching FailJob rule at index {position}"
                return Verdict(job_failure=message, action=rule.action)
            case _:
                return Verdict(action=rule.action)
    return COUNTED


def _exit_code(wanted: ExitCodes, pod: PodView) -> tuple[str, int] | None:
    """The first container that terminated with a matching code. In-place restarts (``lastState``) do not match."""
    for status in (*(pod.status.container_statuses or ()), *(pod.status.init_container_statuses or ())):
        ended = status.state.terminated if status.state is not None else None
        if ended is None or not ended.exit_code or wanted.container_name not in (None, status.name):
            continue
        if (ended.exit_code in wanted.values) == (wanted.operator == "In"):
            return status.name, ended.exit_code
    return None


def _condition(patterns: tuple[PodConditionPattern, ...], pod: PodView) -> str | None:
    for condition in pod.status.conditions or ():
        for pattern in patterns:
            if condition.type == pattern.type and condition.status == pattern.status:
                return condition.type
    return None
