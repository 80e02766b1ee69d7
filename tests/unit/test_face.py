"""The face: its names are a promise, and it is cheap to import."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import reconcile

NAMES = [
    "AlreadyExistsError",
    "ApiError",
    "App",
    "ApplyPatch",
    "Builder",
    "Client",
    "ClusterConfig",
    "ConfigurationError",
    "ConflictError",
    "Context",
    "Counter",
    "DeclaredController",
    "DecodeError",
    "ExpiredError",
    "ForbiddenError",
    "Histogram",
    "InvalidError",
    "JSONPatch",
    "Kind",
    "LabelSelector",
    "LeaderElectionConfig",
    "LeaseLostError",
    "Manager",
    "Measured",
    "MergePatch",
    "NotFoundError",
    "Object",
    "ObjectKey",
    "ObjectMeta",
    "OwnerReference",
    "ReconcileError",
    "Reconciler",
    "Request",
    "Resource",
    "Result",
    "Right",
    "RunOptions",
    "StrategicMergePatch",
    "TerminalError",
    "TooManyRequestsError",
    "TransportError",
    "UnauthorizedError",
    "UnknownKindError",
    "UnknownOutcomeError",
    "UsageError",
    "all_of",
    "annotations_changed",
    "any_of",
    "child_name",
    "connect",
    "controller_of",
    "controller_reference",
    "deleting",
    "finalize",
    "generation_changed",
    "is_controlled_by",
    "labels_changed",
    "load_config",
    "mapped",
    "not_",
    "set_condition",
]

IMPORT_SECONDS_MAX = 0.15
HEAVY = {"aiohttp", "kubernetes_asyncio", "msgspec", "yaml", "prometheus_client", "asyncio"}


def test_the_public_names_are_these() -> None:
    """A name that appears or goes is a decision, written down here and in the changelog."""
    assert sorted(reconcile.__all__) == sorted(NAMES)
    assert dir(reconcile) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_leads_to_what_it_says(name: str) -> None:
    """The names are loaded when first used, so a wrong home would show only then."""
    found = getattr(reconcile, name)
    assert found.__name__ == name
    assert found.__doc__


def test_the_type_checker_and_the_interpreter_see_the_same_names() -> None:
    """What a checker reads (the imports under TYPE_CHECKING) and what is loaded are two lists of one thing."""
    assert sorted(reconcile._HOMES) == sorted(NAMES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module: `from reconcile import Ap` must not say anything stranger."""
    with pytest.raises(AttributeError, match="module 'reconcile' has no attribute 'Ap'"):
        _ = reconcile.Ap  # type: ignore[attr-defined]


def test_importing_the_face_loads_nothing_heavy() -> None:
    """`import reconcile` is names only."""
    code = f"import sys, reconcile; print(*sorted({HEAVY!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []


def test_importing_the_face_is_quick() -> None:
    """The best of five fresh interpreters, less a bare one's time."""

    def seconds(code: str) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - started)
        return min(times)

    assert seconds("import reconcile") - seconds("pass") <= IMPORT_SECONDS_MAX
