"""The read-your-writes gate against a model that keeps every write in a list and looks at all of them each time."""

from __future__ import annotations

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reconcile.core.freshness import Floor, Freshness
from reconcile.model.key import ObjectKey
from reconcile.model.meta import ObjectMeta
from reconcile.model.object import Object
from reconcile.model.resource import Kind, Resource
from reconcile.model.write import Applied, Verb, Write

RESOURCES = [Resource(Kind("", "v1", "Pod"), "pods"), Resource(Kind("", "v1", "ConfigMap"), "configmaps")]
KEYS = st.sampled_from([ObjectKey("a", "one"), ObjectKey("a", "two")])
NAMES = st.sampled_from("xyz")
NAMESPACES = st.sampled_from("ab")


@attrs.frozen
class Made:
    """One write that was answered."""

    key: ObjectKey
    resource: Resource
    target: ObjectKey
    uid: str
    version: int | None
    covered: bool
    object: Object | None


class FreshnessMachine(RuleBasedStateMachine):
    """Informers advance on their own; each covers one resource and namespace, and objects with the label only."""

    def __init__(self) -> None:
        super().__init__()
        self.gate: Freshness[ObjectKey] = Freshness()
        self.clock = 0
        self.made: list[Made] = []
        self.seen = {(resource, namespace): 0 for resource in RESOURCES for namespace in "ab"}
        self.cached: dict[tuple[Resource, ObjectKey], str] = {}

    def version_of(self, floor: Floor) -> int | None:
        if not floor.deleted and floor.labels.get("covered") != "yes":
            return None
        return self.seen[floor.resource, floor.target.namespace]

    def uid_of(self, floor: Floor) -> str | None:
        return self.cached.get((floor.resource, floor.target))

    def stands(self, made: Made) -> bool:
        if made.version is None or not made.covered:
            return self.cached.get((made.resource, made.target)) == made.uid
        return self.seen[made.resource, made.target.namespace] < made.version

    @rule(key=KEYS, resource=st.sampled_from(RESOURCES), namespace=NAMESPACES, name=NAMES, covered=st.booleans())
    def write(self, key: ObjectKey, resource: Resource, namespace: str, name: str, covered: bool) -> None:
        self.clock += 1
        target = ObjectKey(namespace, name)
        labels = {"covered": "yes"} if covered else {}
        uid = self.cached.get((resource, target), f"w{self.clock}")
        metadata = ObjectMeta(name=name, namespace=namespace, uid=uid, resource_version=str(self.clock), labels=labels)
        obj = Object(resource.kind, metadata)
        self.made = [
            made
            for made in self.made
            if not (
                made.key == key and made.resource == resource and made.target == target and made.version is not None
            )
        ]
        self.gate.record(key, Applied(Write(Verb.PATCH, resource, target, "/"), obj))
        self.made.append(Made(key, resource, target, obj.uid, self.clock, covered, obj))

    @rule(key=KEYS, resource=st.sampled_from(RESOURCES), namespace=NAMESPACES, name=NAMES)
    def delete(self, key: ObjectKey, resource: Resource, namespace: str, name: str) -> None:
        target = ObjectKey(namespace, name)
        uid = self.cached.get((resource, target), "gone already")
        self.gate.record(key, Applied(Write(Verb.DELETE, resource, target, "/"), None), uid=uid)
        self.made = [
            made
            for made in self.made
            if not (made.key == key and made.resource == resource and made.target == target and made.version is None)
        ]
        self.made.append(Made(key, resource, target, uid, None, True, None))

    @rule(resource=st.sampled_from(RESOURCES), namespace=NAMESPACES, share=st.floats(0, 1))
    def informer_advances(self, resource: Resource, namespace: str, share: float) -> None:
        place = (resource, namespace)
        self.seen[place] += round((self.clock - self.seen[place]) * share)
        for made in self.made:  # what a write took out of the selector leaves the cache when that is seen
            where = (made.resource, made.target)
            reached = made.version is not None and made.version <= self.seen[place]
            left = reached and not made.covered and (made.resource, made.target.namespace) == place
            if left and self.cached.get(where) == made.uid:
                del self.cached[where]

    @rule(resource=st.sampled_from(RESOURCES), namespace=NAMESPACES, name=NAMES, there=st.booleans())
    def cache_changes(self, resource: Resource, namespace: str, name: str, there: bool) -> None:
        """An object leaves the cache, or another one of that name comes. A uid never comes back."""
        place = (resource, ObjectKey(namespace, name))
        self.clock += 1
        if there:
            self.cached[place] = f"c{self.clock}"
        else:
            self.cached.pop(place, None)

    @rule()
    def sweep(self) -> None:
        self.gate.sweep(self.version_of, self.uid_of)

    @rule(key=KEYS)
    def give_up(self, key: ObjectKey) -> None:
        self.gate.give_up(key)
        self.made = [made for made in self.made if made.key != key]

    @rule(key=KEYS)
    def ask(self, key: ObjectKey) -> None:
        floor = self.gate.blocked(key, self.version_of, self.uid_of)
        standing = [made for made in self.made if made.key == key and self.stands(made)]
        assert (floor is not None) == bool(standing)
        if floor is not None:
            assert any((floor.resource, floor.target) == (made.resource, made.target) for made in standing)

    @invariant()
    def overlays_are_the_latest_writes_that_stand(self) -> None:
        latest: dict[tuple[ObjectKey, Resource, ObjectKey], Made] = {}
        for made in self.made:
            if made.object is not None:
                latest[made.key, made.resource, made.target] = made
        for (key, resource, target), made in latest.items():
            overlaid = self.gate.overlay(key, resource, target)
            assert overlaid is None or overlaid is made.object
            if made.covered and self.stands(made):
                assert overlaid is made.object


FreshnessMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestFreshness = FreshnessMachine.TestCase
