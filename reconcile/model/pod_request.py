"""What a Pod asks of a node: the amounts that the scheduler reserves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import msgspec

from reconcile.model.quantity import parse_quantity


class ContainerResources(msgspec.Struct, frozen=True):
    """``resources`` of a container."""

    requests: dict[str, str] | None = None


class AskingContainer(msgspec.Struct, frozen=True, rename="camel"):
    """What of a container decides how much it asks for."""

    resources: ContainerResources = ContainerResources()
    restart_policy: str = ""


class AskingSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What of a Pod's spec decides how much it asks for."""

    containers: tuple[AskingContainer, ...] = ()
    init_containers: tuple[AskingContainer, ...] | None = None
    overhead: dict[str, str] | None = None


def requests(spec: AskingSpec) -> dict[str, Fraction]:
    """What the scheduler reserves for a Pod, in cores, bytes and pieces.

    The containers and the sidecars together, or the largest moment of the start if that is more: an init container
    runs beside the sidecars that started before it. Then the runtime's overhead. Source: KEP-753. Raises DecodeError
    for what is no quantity.
    """
    running: dict[str, Fraction] = {}
    peak: dict[str, Fraction] = {}
    for container in spec.init_containers or ():
        asked = amounts(container.resources.requests)
        if container.restart_policy == "Always":
            _add(running, asked)
            moment = running
        else:
            moment = dict(running)
            _add(moment, asked)
        peak |= {name: max(amount, peak.get(name, amount)) for name, amount in moment.items()}
    for container in spec.containers:
        _add(running, amounts(container.resources.requests))
    wanted = {name: max(running.get(name, Fraction(0)), peak.get(name, Fraction(0))) for name in running | peak}
    _add(wanted, amounts(spec.overhead))
    return wanted


def amounts(quantities: Mapping[str, str] | None) -> dict[str, Fraction]:
    """Quantities as numbers. Raises DecodeError."""
    return {name: parse_quantity(text) for name, text in (quantities or {}).items()}


def _add(into: dict[str, Fraction], more: Mapping[str, Fraction]) -> None:
    for name, amount in more.items():
        into[name] = into.get(name, Fraction(0)) + amount
