"""The list-watch machine, conversation by conversation: what the server says, what is done about it."""

from __future__ import annotations

import pytest

from reconcile.core.reflector import (
    BOOKMARK_IDLE_SECONDS,
    IDLE_SECONDS,
    INITIAL_IDLE_SECONDS,
    INITIAL_SECONDS_MAX,
    Begin,
    Bookmarked,
    Effect,
    Elapsed,
    Ended,
    Failed,
    List,
    Listed,
    Opened,
    Phase,
    Promote,
    Reflector,
    SetIdle,
    Started,
    SyncMode,
    Wait,
    Watch,
)

CUT = Failed(0, "", "the connection was cut")


def machine(*, watch_list: bool = False) -> Reflector:
    return Reflector(SyncMode(watch_list=watch_list), lambda: 0.0)


def watching(version: str = "10") -> Reflector:
    """A machine that listed at time 0 and watches since."""
    reflector = machine()
    reflector.receive(Started(), 0.0)
    reflector.receive(Listed("", version), 0.0)
    assert reflector.phase is Phase.WATCHING
    return reflector


def wait_seconds(effects: list[Effect], now: float) -> float:
    (wait,) = effects
    assert isinstance(wait, Wait)
    return wait.until - now


def initial_watch() -> Watch:
    return Watch("", initial=True, timeout_seconds=300, idle_seconds=INITIAL_IDLE_SECONDS)


def watch(version: str, idle_seconds: float = IDLE_SECONDS) -> Watch:
    return Watch(version, initial=False, timeout_seconds=300, idle_seconds=idle_seconds)


# -- beginning -----------------------------------------------------------------------------------------------------


def test_a_list_is_paged_to_its_end_and_then_watched() -> None:
    """Every page but the last asks for the next; the list is promoted whole."""
    reflector = machine()
    assert reflector.receive(Started(), 0.0) == [Begin(), List()]
    assert reflector.receive(Listed("more", "10"), 0.1) == [List("more")]
    assert reflector.receive(Listed("", "10"), 0.2) == [Promote("10"), watch("10")]


def test_initial_events_end_with_their_bookmark_and_the_stream_goes_on() -> None:
    """Nothing is asked for again; bookmarks are heartbeats from then on."""
    reflector = machine(watch_list=True)
    assert reflector.receive(Started(), 0.0) == [Begin(), initial_watch()]
    assert reflector.receive(Bookmarked("9"), 0.1) == []
    end = Bookmarked("10", initial_events_end=True)
    assert reflector.receive(end, 0.2) == [Promote("10"), SetIdle(BOOKMARK_IDLE_SECONDS)]
    assert reflector.phase is Phase.WATCHING


@pytest.mark.parametrize(
    "refusal", [Failed(400, "BadRequest", "unknown"), Failed(422, "Invalid", "forbidden"), Failed(0, "", "", idle=True)]
)
def test_a_server_without_initial_events_is_listed_and_not_asked_again(refusal: Failed) -> None:
    """A refusal, or silence instead of the end bookmark, makes it a paged list, for good."""
    mode = SyncMode(watch_list=True)
    reflector = Reflector(mode, lambda: 0.0)
    reflector.receive(Started(), 0.0)
    assert reflector.receive(refusal, 10.0) == [Begin(), List()]
    assert not mode.watch_list


def test_initial_events_that_never_end_are_overdue() -> None:
    """A server that streams without an end bookmark is noticed though it is never silent."""
    reflector = machine(watch_list=True)
    reflector.receive(Started(), 0.0)
    assert not reflector.initial_overdue(INITIAL_SECONDS_MAX)
    assert reflector.initial_overdue(INITIAL_SECONDS_MAX + 1)


def test_an_initial_stream_that_is_cut_is_tried_once_more_and_then_listed() -> None:
    """One cut may be chance, two are a habit."""
    reflector = machine(watch_list=True)
    reflector.receive(Started(), 0.0)
    assert wait_seconds(reflector.receive(CUT, 1.0), 1.0) == pytest.approx(0.8)
    assert reflector.receive(Elapsed(), 2.0) == [Begin(), initial_watch()]
    assert reflector.receive(Ended(""), 3.0) == [Begin(), List()]


def test_a_server_that_cannot_be_reached_is_asked_for_its_stream_again() -> None:
    """That it is away says nothing about what it can do when it is back."""
    reflector, now = machine(watch_list=True), 0.0
    assert reflector.receive(Started(), now) == [Begin(), initial_watch()]
    for _ in range(5):
        now += wait_seconds(reflector.receive(Failed(0, "", "refused", unreached=True), now), now)
        assert reflector.receive(Elapsed(), now) == [Begin(), initial_watch()]


def test_a_half_list_is_never_promoted() -> None:
    """A page that fails starts the list from its beginning."""
    reflector = machine()
    reflector.receive(Started(), 0.0)
    reflector.receive(Listed("more", "10"), 0.1)
    assert wait_seconds(reflector.receive(CUT, 0.2), 0.2) == pytest.approx(0.8)
    assert reflector.receive(Elapsed(), 1.0) == [Begin(), List()]


def test_an_expired_continue_token_restarts_the_list_at_once_and_then_waits() -> None:
    """The first time may be a compaction; a server that does it again is not to be pressed."""
    reflector = machine()
    reflector.receive(Started(), 0.0)
    reflector.receive(Listed("more", "10"), 0.1)
    expired = Failed(410, "Expired", "the token is too old")
    assert reflector.receive(expired, 0.2) == [Begin(), List()]
    reflector.receive(Listed("more", "11"), 0.3)
    assert wait_seconds(reflector.receive(expired, 0.4), 0.4) == pytest.approx(0.8)


# -- watching ------------------------------------------------------------------------------------------------------


def test_the_first_bookmark_shortens_the_silence_allowed_for_good() -> None:
    """A resource that has shown one is expected to show more, on later streams too."""
    reflector = watching()
    assert reflector.receive(Bookmarked("11"), 60.0) == [SetIdle(BOOKMARK_IDLE_SECONDS)]
    assert reflector.receive(Bookmarked("12"), 120.0) == []
    assert reflector.receive(Ended("12"), 300.0) == [watch("12", BOOKMARK_IDLE_SECONDS)]


def test_a_watch_that_ends_in_its_time_goes_on_from_what_was_seen() -> None:
    """The server closes watches after some minutes; that is no trouble."""
    reflector = watching()
    assert reflector.receive(Ended("25"), 300.0) == [watch("25")]
    assert reflector.problem == ""


def test_watches_that_end_at_once_are_not_opened_in_a_loop() -> None:
    """Each is waited for longer than the one before."""
    reflector, now, waits = watching(), 0.0, []
    for _ in range(8):
        waits.append(wait_seconds(reflector.receive(Ended("10"), now), now))
        now += waits[-1]
        assert reflector.receive(Elapsed(), now) == [watch("10")]
    assert waits == pytest.approx([0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])


@pytest.mark.parametrize("expired", [Failed(410, "Expired", "too old"), Failed(500, "Expired", "too old")])
def test_an_expired_version_is_listed_again_at_once(expired: Failed) -> None:
    """Whether the 410 comes as a status or inside the stream."""
    assert watching().receive(expired, 300.0) == [Begin(), List()]


def test_versions_that_expire_at_once_are_not_listed_in_a_loop() -> None:
    """A new list whose version has expired before it is watched is waited for."""
    reflector = watching()
    assert wait_seconds(reflector.receive(Failed(410, "Expired", "too old"), 0.1), 0.1) == pytest.approx(0.8)
    assert reflector.receive(Elapsed(), 1.0) == [Begin(), List()]


@pytest.mark.parametrize("too_large", [Failed(504, "Timeout", "x"), Failed(500, "", "Too large resource version: 9")])
def test_a_version_too_large_is_waited_for_and_then_given_up(too_large: Failed) -> None:
    """A lagging server catches up; one that lost its data does not."""
    reflector, now = watching(), 10.0
    for _ in range(2):
        now += wait_seconds(reflector.receive(too_large, now), now)
        assert reflector.receive(Elapsed(), now) == [watch("10")]
        assert reflector.receive(Opened(), now) == []  # an ERROR event comes on a stream that was opened
    now += wait_seconds(reflector.receive(too_large, now), now)
    assert reflector.receive(Elapsed(), now) == [Begin(), List()]


@pytest.mark.parametrize("code", [0, 429, 500, 503])
def test_trouble_that_passes_resumes_the_watch(code: int) -> None:
    """Nothing is listed again for it."""
    reflector = watching()
    now = wait_seconds(reflector.receive(Failed(code, "", "x", "12"), 100.0), 100.0) + 100.0
    assert reflector.problem == "x"
    assert reflector.receive(Elapsed(), now) == [watch("12")]
    assert reflector.receive(Ended("13"), now + 300.0) == [watch("13")]
    assert reflector.problem == ""


def test_retry_after_is_waited_for() -> None:
    """The server's wish counts where it is longer than ours."""
    failed = Failed(429, "TooManyRequests", "x", retry_after_seconds=17.0)
    assert wait_seconds(watching().receive(failed, 100.0), 100.0) == 17.0


@pytest.mark.parametrize(("code", "resumed"), [(401, [watch("10")]), (403, [watch("10")]), (404, [Begin(), List()])])
def test_what_is_not_allowed_is_parked_and_recovers_alone(code: int, resumed: list[Effect]) -> None:
    """The state says why. A kind that went away is listed anew when it comes back."""
    reflector = watching()
    now = wait_seconds(reflector.receive(Failed(code, "", "GET pods: no"), 100.0), 100.0) + 100.0
    assert reflector.refused
    assert reflector.problem == "GET pods: no"
    assert reflector.receive(Elapsed(), now) == resumed
    if resumed == [Begin(), List()]:
        reflector.receive(Listed("", "11"), now)
    else:
        reflector.receive(Bookmarked("11"), now)
    assert not reflector.refused
    assert reflector.problem == ""


def test_silence_is_answered_by_a_new_stream_at_once() -> None:
    """A half-open connection is nobody's fault that a wait would help."""
    reflector = watching()
    assert reflector.receive(Failed(0, "", "silent", "12", idle=True), 230.0) == [watch("12")]


def test_a_list_from_the_past_is_refused_twice_and_then_believed() -> None:
    """A lagging server is not to take the cache back; a restored one is the truth."""
    reflector, now = watching("100"), 1000.0
    reflector.receive(Failed(410, "Expired", "too old"), now)
    for _ in range(2):
        now += wait_seconds(reflector.receive(Listed("", "50"), now), now)
        assert "older than 100" in reflector.problem
        assert reflector.receive(Elapsed(), now) == [Begin(), List()]
    assert reflector.receive(Listed("", "50"), now) == [Promote("50", went_back=True), watch("50")]


def test_watches_end_at_different_times() -> None:
    """The server-side timeout is drawn between five and ten minutes."""
    draws = iter([0.0, 0.5, 0.99])
    seconds = []
    for _ in range(3):
        reflector = Reflector(SyncMode(watch_list=False), lambda: next(draws))
        reflector.receive(Started(), 0.0)
        effect = reflector.receive(Listed("", "1"), 0.0)[-1]
        assert isinstance(effect, Watch)
        seconds.append(effect.timeout_seconds)
    assert seconds == [300, 450, 597]
