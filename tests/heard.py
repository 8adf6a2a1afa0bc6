"""The whole suite is listened to: whatever our server or client sends in a test must be valid.

Every conversation of ours goes through one of four seams: a `Duplex` over a channel, an `App`, the
engine of an `HttpLink`, an `InProcessLink`. Each is tapped where it is made, for as long as the suite
runs; a test in which our side said what its revision does not allow fails. What its peer says is not
judged, except where the peer is ours as well: a server that a client calls in this process, a program
of ours in another.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import pytest
from tests.official import complaint

from interlock.client.in_process import InProcessLink
from interlock.testing.listening import Ear, Endpoint, TappedChannel, TappedEngine
from interlock.testing.wiretap import BOTH, Side, Violation, Wiretap
from interlock.transport.channel import Channel
from interlock.transport.duplex import Duplex
from interlock.transport.http.asgi import App
from interlock.transport.http.client import HttpLink
from interlock.transport.http.engine import Engine
from interlock.transport.http.plain import Receive, Scope, Send
from interlock.transport.process import ProcessChannel
from interlock.wire.versions import LATEST_LEGACY

EXCUSED: Final = {
    "tests/server/test_server.py::test_methods_of_the_other_era_do_not_exist": (
        "has a client ask what its era has not"
    ),
    "tests/transport/http/test_asgi.py::test_a_second_standing_stream_takes_the_place": (
        "sends notifications of its own invention"
    ),
    "tests/transport/http/test_asgi.py::test_a_connection_that_breaks_is_no_failure_of_ours": (
        "sends notifications of its own invention"
    ),
    "tests/transport/http/test_elsewhere.py::test_a_stream_that_was_lost_is_gone_on_with_in_any": (
        "has another process go on with an answer than the one that was asked"
    ),
    "tests/transport/http/test_client.py::test_asking_outside_an_era_ends_in_time": (
        "says initialize without a word about itself"
    ),
    "tests/testing/test_listening.py::test_what_a_server_may_not_say_is_reported": (
        "is about what is heard when a server talks nonsense"
    ),
}
"""Tests that put nonsense into our side's mouth, by how their names begin, and why each does."""

OURS: Final[set[str]] = set()
"""URLs under which a program of ours answers from another process."""


class Listener:
    """Everything that is heard in one process."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.heard = 0
        self._endpoints: WeakKeyDictionary[App, Endpoint] = WeakKeyDictionary()

    def ear(self, *judged: Side) -> Ear:
        tap = Wiretap(complaint, LATEST_LEGACY, judged)
        return Ear(tap, self.violations.append)

    def endpoint(self, app: App) -> Endpoint:
        found = self._endpoints.get(app)
        if found is None:
            found = self._endpoints[app] = Endpoint(lambda: self.ear("server"))
        return found


class Taps:
    """The four seams, tapped and let go again."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._patch = pytest.MonkeyPatch()

    def install(self) -> None:
        listener = self._listener
        duplex, link = Duplex.__init__, HttpLink.__init__
        serve, post = App.__call__, App.post
        in_process = InProcessLink.__init__

        def tapped_duplex(self: Duplex, channel: Channel, exchange: Any, *args: Any, **more: Any):
            side: Side = "server" if exchange.serves else "client"
            judged = BOTH if runs_ours(channel) else (side,)
            tapped = TappedChannel(channel, listener.ear(*judged), side)
            duplex(self, tapped, exchange, *args, **more)

        def tapped_link(self: HttpLink, url: str, engine: Engine, *args: Any, **more: Any):
            judged = BOTH if url in OURS else ("client",)
            link(self, url, TappedEngine(engine, listener.ear(*judged)), *args, **more)

        def tapped_in_process(self: InProcessLink, *args: Any) -> None:
            in_process(self, *args, hear=listener.ear(*BOTH).hear)

        async def tapped_app(self: App, scope: Scope, receive: Receive, send: Send) -> None:
            async def app(scope: Scope, receive: Receive, send: Send) -> None:
                await serve(self, scope, receive, send)

            path = str(scope.get("path", "")).rstrip("/")
            if self.sse is not None and path.endswith(self.sse.path):
                await app(scope, receive, send)  # Its conversations are a Duplex's.
                return
            await listener.endpoint(self).serve(app, scope, receive, send)

        async def tapped_post(self: App, *asked: Any) -> None:
            await listener.endpoint(self).post(partial(post, self), *asked)

        self._patch.setattr(Duplex, "__init__", tapped_duplex)
        self._patch.setattr(HttpLink, "__init__", tapped_link)
        self._patch.setattr(App, "__call__", tapped_app)
        self._patch.setattr(App, "post", tapped_post)
        self._patch.setattr(InProcessLink, "__init__", tapped_in_process)

    def remove(self) -> None:
        self._patch.undo()


def runs_ours(channel: Channel) -> bool:
    """Whether the other end is a child process that runs this package, not a stand-in for one."""
    if not isinstance(channel, ProcessChannel):
        return False
    words = channel._process.args  # pyright: ignore[reportPrivateUsage]
    assert isinstance(words, list)
    program, *rest = map(str, words)
    return program == sys.executable and any("interlock" in _text(word) for word in rest)


def _text(word: str) -> str:
    """A script's text, or the word itself."""
    return Path(word).read_text() if word.endswith(".py") and Path(word).is_file() else word


listener: Final = Listener()
taps: Final = Taps(listener)


@pytest.fixture(autouse=True)
def listened_to(request: pytest.FixtureRequest) -> Generator[None]:
    """Listen while a test runs. Where calls or objects are counted nobody listens."""
    if request.node.nodeid.startswith(("tests/budget/", "tests/soak/")):
        yield
        return
    taps.install()
    yield
    taps.remove()
    OURS.clear()  # A port that one test's program had may be another test's peer's next.
    said, listener.violations[:] = list(listener.violations), []
    excused = any(request.node.nodeid.startswith(name) for name in EXCUSED)
    if said and not excused:
        raise said[0]
    if excused and not said:
        pytest.fail("Nothing was said that needs an excuse: take this test off the list")
