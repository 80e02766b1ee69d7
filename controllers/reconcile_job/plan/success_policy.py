"""successPolicy (KEP-3998): when some succeeded indexes are enough."""

from __future__ import annotations

from reconcile_job.plan.indexes import Indexes
from reconcile_job.plan.view import SuccessPolicy, SuccessRule


def matching_rule(policy: SuccessPolicy | None, succeeded: Indexes, completions: int) -> int | None:
    """The position of the first rule that the succeeded indexes meet, or None."""
    if policy is None or not succeeded:
        return None
    for position, rule in enumerate(policy.rules):
        if _is_met(rule, succeeded, completions):
            return position
    return None


def _is_met(rule: SuccessRule, succeeded: Indexes, completions: int) -> bool:
    if rule.succeeded_indexes is None:
        return rule.succeeded_count is not None and len(succeeded) >= rule.succeeded_count
    wanted = Indexes.parse(rule.succeeded_indexes, completions)
    if not wanted:
        return False
    enough = len(wanted) if rule.succeeded_count is None else rule.succeeded_count
    return wanted.count_common(succeeded) >= enough
