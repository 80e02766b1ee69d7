"""Builder: says what a controller watches. ``for_`` the kind, ``owns`` its children, ``watches`` anything else.

Each step returns a new builder; ``build`` gives the Declaration that an App runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs

from reconcile.core.enqueue import Enqueue, itself
from reconcile.core.predicate import Predicate, all_of
from reconcile.errors import UsageError
from reconcile.instrumentation.metric import Measure, Metric
from reconcile.model.resource import Kind, kind_of
from reconcile.model.right import Right
from reconcile.model.selector import LabelSelector, check_field_selector
from reconcile.reconciler import Reconciler
from reconcile.runtime.declaration import Declaration, IndexFunction, Options, StartCheck, Watch

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@attrs.frozen
class Builder:
    """A controller being declared."""

    name: str
    _watches: tuple[Watch, ...]
    _options: Options = attrs.field(factory=Options)
    _metrics: tuple[Metric, ...] = ()
    _needs: tuple[Right, ...] = ()
    _start_check: StartCheck | None = None

    @classmethod
    def for_(
        cls,
        kind: str | Kind,
        *,
        name: str = "",
        labels: str = "",
        fields: str = "",
        indexes: Mapping[str, IndexFunction] = MappingProxyType({}),
        measure: Measure | None = None,
    ) -> Builder:
        """A controller of ``kind``, such as ``batch/v1/Job``.

        Args:
            kind: what is reconciled.
            name: in logs, metrics and as field manager; the kind in lower case if empty.
            labels: label selector that narrows what is watched, on the server.
            fields: field selector that does.
            indexes: named indexes of the kind.
            measure: what each change of one says for the metrics (see ``metrics``).

        Raises:
            UsageError: the kind, the name or the selector is malformed.
        """
        primary = kind_of(kind)
        chosen = name or primary.kind.lower()
        if not _NAME.fullmatch(chosen):
            raise UsageError(f"controller name {chosen!r}: want lower-case letters, digits, '-' and '.'")
        LabelSelector.parse(labels)
        check_field_selector(fields)
        watch = Watch(primary, itself, None, labels, fields, False, MappingProxyType(dict(indexes)), measure)
        return cls(chosen, (watch,))

    @property
    def kind(self) -> Kind:
        """The kind that is reconciled."""
        return self._watches[0].kind

    def owns(
        self,
        kind: str | Kind,
        *,
        where: Predicate | None = None,
        labels: str = "",
        metadata_only: bool = False,
        indexes: Mapping[str, IndexFunction] = MappingProxyType({}),
        measure: Measure | None = None,
        priority: int = 0,
    ) -> Builder:
        """Watch ``kind`` and wake the object that controls it (before and after the change).

        With a ``priority`` above 0 what has begun goes ahead of what is new: changes of owned objects are served before
        those of the reconciled kind.
        """
        LabelSelector.parse(labels)
        found = MappingProxyType(dict(indexes))
        return self._with(Watch(kind_of(kind), None, where, labels, "", metadata_only, found, measure, priority))

    def watches(
        self,
        kind: str | Kind,
        *,
        enqueue: Enqueue,
        where: Predicate | None = None,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        indexes: Mapping[str, IndexFunction] = MappingProxyType({}),
        measure: Measure | None = None,
    ) -> Builder:
        """Watch ``kind`` and wake the keys that ``enqueue`` gives for each change."""
        LabelSelector.parse(labels)
        check_field_selector(fields)
        found = MappingProxyType(dict(indexes))
        return self._with(Watch(kind_of(kind), enqueue, where, labels, fields, metadata_only, found, measure))

    def _with(self, watch: Watch) -> Builder:
        return attrs.evolve(self, watches=(*self._watches, watch))

    def where(self, *predicates: Predicate) -> Builder:
        """Changes of the reconciled kind for which any predicate is false wake nothing."""
        primary = self._watches[0]
        present = () if primary.predicate is None else (primary.predicate,)
        narrowed = attrs.evolve(primary, predicate=all_of(*present, *predicates))
        return attrs.evolve(self, watches=(narrowed, *self._watches[1:]))

    def metrics(self, *metrics: Metric) -> Builder:
        """Declare metrics that it reports to: ``Context.report``, and the ``measure`` of a watch."""
        return attrs.evolve(self, metrics=(*self._metrics, *metrics))

    def options(self, **changes: Any) -> Builder:
        """Change how it is run: the fields of ``Options``. Raises UsageError for a wrong name or value."""
        known = {field.name for field in attrs.fields(Options)}
        unknown = sorted(set(changes) - known)
        if unknown:
            there = ", ".join(sorted(known))
            raise UsageError(f"controller {self.name!r}: no option {unknown[0]!r}; there are {there}")
        return attrs.evolve(self, options=attrs.evolve(self._options, **changes))

    def needs(self, *rights: Right) -> Builder:
        """What the reconcile function asks of the server besides listing and watching: live reads, and writes.

        For ``reconcile rbac``, which prints the manifest that grants it; nothing is enforced here. Server-side apply
        needs ``patch``, and ``create`` where the object may not be there yet; an eviction ``create`` on
        ``Right("v1/Pod", ["create"], "eviction")``.
        """
        return attrs.evolve(self, needs=(*self._needs, *rights))

    def start_check(self, check: StartCheck) -> Builder:
        """Await ``check(client)`` before anything is watched; what it raises ends the run."""
        return attrs.evolve(self, start_check=check)

    def build(self, reconciler: Reconciler) -> Declaration:
        """The declaration, to be given to ``App.add``."""
        options = self._options
        if not options.field_manager:
            options = attrs.evolve(options, field_manager=self.name)
        return Declaration(self.name, reconciler, self._watches, options, self._metrics, self._needs, self._start_check)
