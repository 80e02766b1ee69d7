"""The store and its indexes against dumb dicts, and the list-watch machine against a server that does what it likes."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from reconcile.core import reflector as machine
from reconcile.core.store import Store
from reconcile.model.delta import Delta
from reconcile.model.key import ObjectKey
from reconcile.model.meta import ObjectMeta, OwnerReference
from reconcile.model.object import Object
from reconcile.model.resource import Kind
from reconcile.model.watch_event import Bookmark, Deleted, Undecodable, Upserted, WatchEvent

POD = Kind("", "v1", "Pod")


def pod(key: ObjectKey, uid: str, version: int, owner: str, labels: dict[str, str]) -> Object:
    owners = (OwnerReference("batch/v1", "Job", owner, owner, controller=True),) if owner else None
    metadata = ObjectMeta(
        name=key.name,
        namespace=key.namespace,
        uid=uid,
        resource_version=str(version),
        labels=labels,
        owner_references=owners,
    )
    return Object(POD, metadata, b'"spec":{}'[: version % 9])


def by_app(obj: Object) -> list[str]:
    return [obj.labels["app"], "all"] if "app" in obj.labels else ["all"]


keys = st.builds(ObjectKey, st.sampled_from(["n1", "n2"]), st.sampled_from(["a", "b", "c"]))
actions = st.tuples(
    st.sampled_from(["put", "put", "put", "recreate", "delete", "bookmark", "replay", "relist"]),
    keys,
    st.sampled_from(["", "x", "y"]),
    st.sampled_from([{}, {"app": "web"}, {"app": "db"}]),
)


def replayed(view: dict[ObjectKey, Object], deltas: list[Delta]) -> None:
    """Apply deltas to a dict, insisting that each ``old`` is what the dict holds."""
    for delta in deltas:
        assert view.get(delta.key) is delta.old
        if delta.new is None:
            del view[delta.key]
        else:
            view[delta.key] = delta.new


@given(st.lists(actions, max_size=60))
@settings(max_examples=150, deadline=None)
def test_the_store_is_the_dict_that_the_events_describe(
    steps: list[tuple[str, ObjectKey, str, dict[str, str]]],
) -> None:
    """After every step: objects, lookups and chained deltas agree with plain dicts; indexes with their recomputation."""
    store = Store(indexes={"app": by_app})
    truth: dict[ObjectKey, Object] = {}
    view: dict[ObjectKey, Object] = {}
    past: list[WatchEvent] = []
    for version, (action, key, owner, labels) in enumerate(steps, start=1):
        events: list[WatchEvent] = []
        match action:
            case "put":
                uid = truth[key].uid if key in truth else f"{key}@{version}"
                truth[key] = pod(key, uid, version, owner, labels)
                events = [Upserted(truth[key])]
            case "recreate":
                truth[key] = pod(key, f"{key}@{version}", version, owner, labels)
                events = [Upserted(truth[key])]
            case "delete" if key in truth:
                gone = truth.pop(key)
                events = [Deleted(pod(key, gone.uid, version, owner, labels))]
            case "bookmark":
                events = [Bookmark(str(version))]
            case "replay":
                # What was sent is sent again, in its order, as after a reconnect: of each name its newest part only,
                # because that is what a server still holds of one.
                events = [event for event in past[-3:] if _is_latest(event, past)]
            case "relist":
                replacement = store.replace()
                replacement.add(truth.values())
                replayed(view, list(replacement.promote(str(version))))
            case _:
                pass
        past += events
        replayed(view, store.apply(events))
        assert {obj.key: obj.resource_version for obj in store.list()} == {
            key: obj.resource_version for key, obj in truth.items()
        }
        assert view.keys() == truth.keys()
        for uid in ("x", "y"):
            assert {obj.key for obj in store.owned_by(uid)} == {
                obj.key for obj in truth.values() if any(ref.uid == uid for ref in obj.owner_references)
            }
        for value in ("web", "db", "all"):
            assert {obj.key for obj in store.indexed("app", value)} == {
                obj.key for obj in truth.values() if value in by_app(obj)
            }
        store.check()


def _is_latest(event: WatchEvent, past: list[WatchEvent]) -> bool:
    if not isinstance(event, Upserted | Deleted):
        return True
    same = [other for other in past if isinstance(other, Upserted | Deleted) and other.object.key == event.object.key]
    return same[-1] is event


class Server:
    """A dumb API server of one resource: a log of events, from which lists and watches are answered."""

    def __init__(self) -> None:
        self.version = 100
        self.compacted = 0
        self.objects: dict[ObjectKey, Object] = {}
        self.log: list[tuple[int, WatchEvent]] = []

    def write(self, key: ObjectKey, action: str) -> None:
        self.version += 1
        old = self.objects.get(key)
        if action == "delete" or (action == "recreate" and old is not None):
            if old is None:
                return
            del self.objects[key]
            self.log.append((self.version, Deleted(pod(key, old.uid, self.version, "", {}))))
            if action == "delete":
                return
            self.version += 1
            old = None
        uid = old.uid if old is not None else f"{key}@{self.version}"
        self.objects[key] = pod(key, uid, self.version, "", {})
        self.log.append((self.version, Upserted(self.objects[key])))

    def after(self, version: int) -> list[tuple[int, WatchEvent]]:
        return [(at, event) for at, event in self.log if at > version]


class Driver:
    """Carries the machine's effects out against the dumb server, with what Hypothesis decides to go wrong."""

    def __init__(self, server: Server, draw: Callable[[int], int], *, watch_list: bool) -> None:
        self.server = server
        self.draw = draw
        self.store = Store()
        self.machine = machine.Reflector(machine.SyncMode(watch_list=watch_list), lambda: 0.5)
        self.now = 0.0
        self.replacement = self.store.replace()
        self.view: dict[ObjectKey, Object] = {}
        self.newest: dict[str, int] = {}
        self.effects = self.machine.receive(machine.Started(), self.now)
        self.page: list[Object] = []

    def tell(self, event: machine.Event) -> None:
        self.effects = self.machine.receive(event, self.now)

    def heard(self, deltas: list[Delta]) -> None:
        replayed(self.view, deltas)
        for delta in deltas:
            if delta.new is not None:
                version = int(delta.new.resource_version)
                assert version >= self.newest.get(delta.new.uid, 0), "an object went back"
                self.newest[delta.new.uid] = version

    def step(self, *, calm: bool) -> None:
        """Carry out one round of effects. ``calm``: nothing goes wrong any more."""
        self.now += 1.0
        trouble = 0 if calm else self.draw(9)
        for effect in self.effects:
            match effect:
                case machine.Begin():
                    self.replacement = self.store.replace()
                case machine.Promote(version):
                    self.heard(list(self.replacement.promote(version)))
                case machine.SetIdle():
                    pass
                case machine.Wait(until):
                    self.now = max(self.now, until)
                    return self.tell(machine.Elapsed())
                case machine.List(token):
                    return self.list(token, trouble)
                case machine.Watch():
                    return self.watch(effect, trouble)
        raise AssertionError(f"nothing to wait for in {self.effects}")

    def failure(self, trouble: int, seen: str = "") -> machine.Failed | None:
        code = {1: 410, 2: 500, 3: 429, 4: 0, 5: 504, 6: 403, 7: 404}.get(trouble)
        return machine.Failed(code, "", f"trouble {code}", seen) if code is not None else None

    def list(self, token: str, trouble: int) -> None:
        if failure := self.failure(trouble):
            return self.tell(failure)
        if not token:
            self.page = list(self.server.objects.values())
            self.page_version = self.server.version
        self.replacement.add(self.page[:2])
        self.page = self.page[2:]
        return self.tell(machine.Listed("more" if self.page else "", str(self.page_version)))

    def watch(self, effect: machine.Watch, trouble: int) -> None:
        """One life of a stream: some events, then an end."""
        if trouble == 8 and effect.initial:
            return self.tell(machine.Failed(400, "BadRequest", "sendInitialEvents"))
        if failure := self.failure(trouble, self.store.table("").resource_version):
            return self.tell(failure)
        self.now += 10.0
        if effect.initial:
            self.replacement.apply([Upserted(obj) for obj in self.server.objects.values()])
            version = str(self.server.version)
            for then in self.machine.receive(machine.Bookmarked(version, initial_events_end=True), self.now):
                if isinstance(then, machine.Promote):
                    self.heard(list(self.replacement.promote(then.resource_version)))
                elif isinstance(then, machine.Wait):
                    self.effects = [then]
                    return None
            position = self.server.version
        else:
            position = int(effect.resource_version)
        if position < self.server.compacted:
            return self.tell(machine.Failed(410, "Expired", "compacted", effect.resource_version))
        events = self.server.after(position)
        if not self.calm_cut(trouble):
            events = events[: self.draw(len(events))]
        batch: list[WatchEvent] = [event for _, event in events]
        self.heard(self.store.apply(batch))
        if trouble == 0 and events == self.server.after(position):
            self.store.apply([Bookmark(str(self.server.version))])
            self.machine.receive(machine.Bookmarked(str(self.server.version)), self.now)
        seen = self.store.table("").resource_version
        if trouble == 9:
            return self.tell(machine.Failed(0, "", "cut", seen))
        return self.tell(machine.Ended(seen))

    @staticmethod
    def calm_cut(trouble: int) -> bool:
        return trouble == 0


@given(st.data(), st.booleans())
@settings(max_examples=200, deadline=None)
def test_whatever_happens_the_cache_ends_as_the_server_is(data: st.DataObject, watch_list: bool) -> None:
    """Cuts, refusals, 410s, compactions and new lists: chained deltas, no object goes back, the end state is the truth."""
    server = Server()
    driver = Driver(server, lambda most: data.draw(st.integers(0, most)), watch_list=watch_list)
    writes = st.lists(st.tuples(keys, st.sampled_from(["put", "put", "delete", "recreate"])), max_size=4)
    for _ in range(data.draw(st.integers(1, 12))):
        for key, action in data.draw(writes):
            server.write(key, action)
        if data.draw(st.integers(0, 5)) == 0:
            server.compacted = server.version
        driver.step(calm=False)
    for _ in range(12):
        driver.step(calm=True)
    assert {obj.key: (obj.uid, obj.resource_version) for obj in driver.store.list()} == {
        obj.key: (obj.uid, obj.resource_version) for obj in server.objects.values()
    }
    assert driver.view.keys() == server.objects.keys()
    assert driver.store.table("").resource_version == str(server.version)
    driver.store.check()


@given(st.lists(st.tuples(keys, st.booleans()), max_size=30))
@settings(max_examples=50, deadline=None)
def test_quarantine_never_loses_a_living_object(steps: list[tuple[ObjectKey, bool]]) -> None:
    """An undecodable version leaves the last good one readable, and is listed until a good one comes."""
    store = Store()
    good: dict[ObjectKey, int] = {}
    bad: set[ObjectKey] = set()
    for version, (key, decodable) in enumerate(steps, start=1):
        if decodable:
            store.apply([Upserted(pod(key, f"uid {key}", version, "", {}))])
            good[key] = version
            bad.discard(key)
        else:
            store.apply([Undecodable("bad", key.namespace, key.name, str(version))])
            bad.add(key)
        assert {obj.key: int(obj.resource_version) for obj in store.list()} == good
        assert store.quarantined.keys() == bad
        assert store.table("").resource_version == str(version)
