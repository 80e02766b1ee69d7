"""The quality of service class of a Pod: BestEffort, Burstable or Guaranteed.

Source: "Pod Quality of Service Classes" in the Kubernetes documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_COUNTED = ("cpu", "memory")


def quality_class(spec: Mapping[str, Any]) -> str:
    """The class by the requests and limits of all containers, defaults applied."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    guaranteed, asked = True, False
    for one in containers:
        resources = one.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in _COUNTED:
            request, limit = _amount(requests.get(name)), _amount(limits.get(name))
            asked = asked or request is not None or limit is not None
            if limit is None or (request is not None and request != limit):
                guaranteed = False
    if not asked:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _amount(value: Any) -> str | None:
    """An amount that is not zero. Amounts are canonical text here, so equal ones are equal text."""
    return None if value is None or str(value) in ("", "0") else str(value)
