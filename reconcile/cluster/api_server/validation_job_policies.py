"""A Job's failure policy (KEP-2804, KEP-3850) and success policy (KEP-3998)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from reconcile.cluster.api_server.invalid import (
    Invalid,
    at_least_zero,
    duplicate,
    invalid,
    not_supported,
    required,
    too_long,
    too_many,
)
from reconcile.cluster.api_server.job_indexes import parse_indexes
from reconcile.cluster.api_server.name_rules import qualified_name

__all__ = ["check_failure_policy", "check_success_policy"]

FAILURE_RULES_MAX = 20
EXIT_CODES_MAX = 255
CONDITION_PATTERNS_MAX = 20
SUCCESS_RULES_MAX = 20
SUCCEEDED_INDEXES_BYTES_MAX = 64 * 1024
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_STATUSES = ("False", "True", "Unknown")
_OPERATORS = ("In", "NotIn")


def _go_list(values: Iterable[str]) -> str:
    return "[" + " ".join(f'"{value}"' for value in values) + "]"


def check_failure_policy(
    policy: Mapping[str, Any], path: str, spec: Mapping[str, Any], names: Sequence[Any]
) -> list[Invalid]:
    rules = policy.get("rules") or ()
    problems = []
    if len(rules) > FAILURE_RULES_MAX:
        problems.append(too_many(f"{path}.rules", len(rules), FAILURE_RULES_MAX))
    for index, rule in enumerate(rules):
        problems += _check_failure_rule(rule, f"{path}.rules[{index}]", spec, names)
    return problems


def _check_failure_rule(
    rule: Mapping[str, Any], path: str, spec: Mapping[str, Any], names: Sequence[Any]
) -> list[Invalid]:
    problems = []
    action = rule.get("action", "")
    if not action:
        problems.append(required(f"{path}.action", f"valid values: {_go_list(_ACTIONS)}"))
    elif action == "FailIndex":
        if spec.get("backoffLimitPerIndex") is None:
            problems.append(invalid(f"{path}.action", action, "requires the backoffLimitPerIndex to be set"))
    elif action not in _ACTIONS:
        problems.append(not_supported(f"{path}.action", action, _ACTIONS))
    codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
    if codes is not None:
        problems += _check_exit_codes(codes, f"{path}.onExitCodes", names)
    if len(patterns) > CONDITION_PATTERNS_MAX:
        problems.append(too_many(f"{path}.onPodConditions", len(patterns), CONDITION_PATTERNS_MAX))
    for index, pattern in enumerate(patterns):
        where = f"{path}.onPodConditions[{index}]"
        kind, status = pattern.get("type", ""), pattern.get("status", "")
        problems += [invalid(f"{where}.type", kind, text) for text in qualified_name(kind)]
        if status not in _STATUSES:
            problems.append(not_supported(f"{where}.status", status, _STATUSES))
    if codes is not None and patterns:
        text = "specifying both OnExitCodes and OnPodConditions is not supported"
        problems.append(invalid(path, detail=text))
    if codes is None and not patterns:
        problems.append(invalid(path, detail="specifying one of OnExitCodes and OnPodConditions is required"))
    return problems


def _check_exit_codes(codes: Mapping[str, Any], path: str, names: Sequence[Any]) -> list[Invalid]:
    problems = []
    operator, values = codes.get("operator", ""), codes.get("values") or []
    if not operator:
        problems.append(required(f"{path}.operator", f"valid values: {_go_list(_OPERATORS)}"))
    elif operator not in _OPERATORS:
        problems.append(not_supported(f"{path}.operator", operator, _OPERATORS))
    name = codes.get("containerName")
    if name is not None and name not in names:
        text = "must be one of the container or initContainer names in the pod template"
        problems.append(invalid(f"{path}.containerName", name, text))
    if not values:
        problems.append(invalid(f"{path}.values", codes.get("values"), "at least one value is required"))
    elif len(values) > EXIT_CODES_MAX:
        problems.append(too_many(f"{path}.values", len(values), EXIT_CODES_MAX))
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            problems.append(invalid(f"{path}.values[{index}]", value, "must not be 0 for the In operator"))
        if value in values[:index]:
            problems.append(duplicate(f"{path}.values[{index}]", value))
    if any(one > other for one, other in pairwise(values)):
        problems.append(invalid(f"{path}.values", values, "must be ordered"))
    return problems


def check_success_policy(policy: Mapping[str, Any], path: str, spec: Mapping[str, Any]) -> list[Invalid]:
    rules = policy.get("rules") or ()
    problems = []
    if not rules:
        text = "at least one rules must be specified when the successPolicy is specified"
        problems.append(required(f"{path}.rules", text))
    if len(rules) > SUCCESS_RULES_MAX:
        problems.append(too_many(f"{path}.rules", len(rules), SUCCESS_RULES_MAX))
    for index, rule in enumerate(rules):
        problems += _check_success_rule(rule, f"{path}.rules[{index}]", spec.get("completions") or 0)
    return problems


def _check_success_rule(rule: Mapping[str, Any], path: str, completions: int) -> list[Invalid]:
    problems = []
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if indexes is None and count is None:
        text = "at least one of succeededCount or succeededIndexes must be specified"
        problems.append(required(path, text))
    listed = 0
    if indexes is not None:
        field = f"{path}.succeededIndexes"
        if len(indexes.encode()) > SUCCEEDED_INDEXES_BYTES_MAX:
            problems.append(too_long(field, SUCCEEDED_INDEXES_BYTES_MAX))
        try:
            listed = sum(last - first + 1 for first, last in parse_indexes(indexes, completions))
        except ValueError as error:
            problems.append(invalid(field, indexes, f"error parsing succeededIndexes: {error}"))
    if count is not None:
        field = f"{path}.succeededCount"
        problems += at_least_zero(field, count)
        if count > completions:
            text = f"must be less than or equal to {completions} (the number of specified completions)"
            problems.append(invalid(field, count, text))
        if indexes is not None and count > listed:
            text = (
                f"must be less than or equal to {listed} (the number of indexes in the specified succeededIndexes "
                "field)"
            )
            problems.append(invalid(field, count, text))
    return problems
