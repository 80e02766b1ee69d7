"""Where the embedded API server may answer otherwise than a real one, and why; tests fail on any other difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from api_twins import Answers, comparable

Test = Callable[[Any, Any], bool]


def _only_fields(answers: Answers) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    real, embedded = comparable(answers.real), comparable(answers.embedded)
    return (
        {(one[0], one[1]) for one in real.get("causes", ())},
        {(one[0], one[1]) for one in embedded.get("causes", ())},
    )


def _job_labels(answers: Answers) -> bool:
    real, embedded = _only_fields(answers)
    return real - embedded == {("FieldValueInvalid", "metadata.labels")} and not embedded - real


def _stateful_set_template(answers: Answers) -> bool:
    if (answers.real.get("details") or {}).get("kind") != "StatefulSet":
        return False
    real, embedded = _only_fields(answers)
    return all(field.startswith("spec.template.") for _, field in real ^ embedded)


def _priority_class_of_nameless_pod(answers: Answers) -> bool:
    return answers.real_status == answers.embedded_status == 403


def _null_left_by_apply(answers: Answers) -> bool:
    causes = (answers.real.get("details") or {}).get("causes") or ()
    nulls = [one for one in causes if one["reason"] == "FieldValueTypeInvalid" and '"null"' in one["message"]]
    return answers.embedded_status == 200 and bool(causes) and len(nulls) == len(causes)


DIFFERENCES: tuple[tuple[str, Callable[[Answers], bool]], ...] = (
    (
        "a Job's labels taken from its template are checked with the generated ones: there the two are one map",
        _job_labels,
    ),
    (
        "a StatefulSet's template is checked there as the Pod that it makes: with its hostname, claims as volumes",
        _stateful_set_template,
    ),
    (
        "a custom resource's list or map that nobody applies any more is removed; there it is left null, and refused",
        _null_left_by_apply,
    ),
    ("a Pod without a name is called Unknown where its priority class is refused", _priority_class_of_nameless_pod),
)


def reason_of(answers: Answers) -> str | None:
    """Why two answers may differ; None: they may not."""
    return next((reason for reason, applies in DIFFERENCES if applies(answers)), None)
