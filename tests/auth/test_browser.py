"""Conversations that are driven: their requests sent, their pages visited by people of all kinds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest
from tests.peers import soon
from tests.spec.marking import requirement

from interlock.auth.browser import (
    ANSWER_LIMIT,
    ANSWER_SECONDS,
    PASTED_TO,
    REDIRECTS,
    Browser,
    Nobody,
    Pasted,
    Visitor,
    drive,
)
from interlock.auth.steps import Answer, Conversation, Fetch, Visit, Visited
from interlock.errors import (
    AuthorizationFailed,
    ConfigError,
    ConnectFailed,
    ConnectionLost,
    InvalidMessage,
    LoginNeeded,
    NotConnected,
    TimedOut,
    UnsafeUrl,
)
from interlock.transport.http.engine import Request
from interlock.transport.http.fetching import Fetched, Fetcher

CAME = Visited({"code": ("1",)})
UNSAFE = (
    "javascript:alert(1)",
    "file:///etc/passwd",
    "http://evil.example/authorize",
    "https://evil.example/\x1b[2J",
    "-flag",
    "https://evil.example/`calc`",
)


def page(
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    url: str = "https://a.example/",
) -> Fetched:
    return Fetched(status, headers or {}, body, url)


class Mailbox:
    """A fetcher that notes what it is to fetch, and answers with the next of its pages."""

    def __init__(self, *pages: Fetched | Exception | Callable[[], Awaitable[Fetched]]) -> None:
        self.pages = list(pages)
        self.sent: list[tuple[Request, int, float, int]] = []

    async def fetch(
        self, request: Request, *, limit: int, seconds: float, redirects: int
    ) -> Fetched:
        self.sent.append((request, limit, seconds, redirects))
        found = self.pages.pop(0)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, Fetched) else await found()


async def unvisited(visit: Visit) -> Visited:
    raise AssertionError(f"nobody was to visit {visit}")


def asking(*steps: Fetch | Visit) -> Conversation[list[Answer | Visited]]:
    """Takes its steps one after another; what came of them."""
    came: list[Answer | Visited] = []
    for step in steps:
        came += [(yield step)]
    return came


async def test_a_request_is_sent_as_it_is_and_its_answer_comes_back():
    mailbox = Mailbox(page(201, {"content-type": "application/json"}, b"{}"))
    step = Fetch("POST", "https://a.example/token", {"Accept": "x", "dpop": "p"}, b"body")
    came = await drive(asking(step), mailbox, unvisited)
    assert came == [Answer(201, {"content-type": "application/json"}, b"{}")]
    headers = {"accept": "x", "dpop": "p"}
    expected = Request("POST", "https://a.example/token", headers, b"body")
    assert mailbox.sent == [(expected, ANSWER_LIMIT, ANSWER_SECONDS, 0)]


async def test_only_a_get_may_be_redirected():
    mailbox = Mailbox(page(), page(), page())
    steps = [Fetch(method, "https://a.example/") for method in ("GET", "POST", "DELETE")]
    await drive(asking(*steps), mailbox, unvisited)
    assert [redirects for *_, redirects in mailbox.sent] == [REDIRECTS, 0, 0]


@pytest.mark.parametrize("failure", [ConnectFailed, ConnectionLost, TimedOut, InvalidMessage])
async def test_a_request_that_comes_to_nothing_is_an_answer(failure: type[Exception]):
    mailbox = Mailbox(failure("nothing there"), page(204))
    first, second = Fetch("GET", "https://a.example/"), Fetch("GET", "https://b.example/")
    came = await drive(asking(first, second), mailbox, unvisited)
    assert came == [Answer(0, {}, b"nothing there"), Answer(204)]


async def test_an_unsafe_address_ends_the_conversation():
    conversation = asking(Fetch("GET", "https://a.example/"), Fetch("GET", "https://b.example/"))
    with pytest.raises(UnsafeUrl, match="private"):
        await drive(conversation, Mailbox(UnsafeUrl("private")), unvisited)
    assert list(conversation) == []


async def test_requests_go_out_through_the_guarded_fetcher():
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().partition(" HTTP/1.1")[0]
        await reader.readexactly(6 if head.startswith("POST") else 0)
        heads.append(head)
        moved = b"307 Moved\r\nLocation: /there\r\nConnection: close\r\n\r\n"
        found = b"200 OK\r\nX-One: 1\r\nConnection: close\r\n\r\n{}"
        writer.write(b"HTTP/1.1 " + (found if head.endswith("there") else moved))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    here = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    fetcher = Fetcher(near=here)
    try:
        async with server:
            steps = Fetch("GET", f"{here}/"), Fetch("POST", f"{here}/", {}, b"code=1")
            followed, posted = await soon(drive(asking(*steps), fetcher, unvisited))
            assert isinstance(followed, Answer)
            assert (followed.status, followed.headers["x-one"], followed.body) == (200, "1", b"{}")
            assert isinstance(posted, Answer)
            assert posted.status == 307
            assert heads == ["GET /", "GET /there", "POST /"]
        gone = await soon(drive(asking(Fetch("GET", f"{here}/?q=1")), fetcher, unvisited))
        assert isinstance(gone[0], Answer)
        assert gone[0].status == 0
        assert gone[0].body
        with pytest.raises(UnsafeUrl):
            await drive(asking(Fetch("GET", "https://169.254.169.254/")), fetcher, unvisited)
    finally:
        await fetcher.close()


async def test_a_page_is_visited_by_who_visits():
    async def visit(step: Visit) -> Visited:
        assert step.redirect_uri == "https://c.example/"
        return CAME

    step = Visit("https://a.example/", "https://c.example/", "https://a.example")
    assert await drive(asking(step), Mailbox(), visit) == [CAME]


async def test_a_conversation_without_steps_is_over_at_once():
    assert await drive(asking(), Mailbox(), unvisited) == []


def failing(when: int, closed: list[bool]) -> Generator[Fetch, Answer | Visited, None]:
    try:
        for _ in range(when):
            yield Fetch("GET", "https://a.example/")
        raise AuthorizationFailed("not you", "access_denied")
    finally:
        closed.append(True)


@pytest.mark.parametrize("when", [0, 1, 2])
async def test_what_a_conversation_raises_comes_out_as_it_is(when: int):
    closed: list[bool] = []
    with pytest.raises(AuthorizationFailed, match="not you") as caught:
        await drive(failing(when, closed), Mailbox(page(), page()), unvisited)
    assert caught.value.error == "access_denied"
    assert closed == [True]


async def test_a_failing_visit_closes_the_conversation():
    closed: list[bool] = []

    def conversation() -> Conversation[None]:
        try:
            yield Visit("https://a.example/", "https://c.example/", "https://a.example")
        finally:
            closed.append(True)

    with pytest.raises(LoginNeeded):
        await drive(conversation(), Mailbox(), Nobody("https://s.example/mcp"))
    assert closed == [True]


async def test_a_cancelled_conversation_is_closed():
    closed: list[bool] = []
    sending = asyncio.Event()

    async def never() -> Fetched:
        sending.set()
        await asyncio.Event().wait()
        raise AssertionError

    driving = asyncio.ensure_future(drive(failing(1, closed), Mailbox(never), unvisited))
    await soon(sending.wait())
    driving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await driving
    assert closed == [True]


def visiting(redirect_uri: str, state: str = "s", host: str = "a.example", **more: str) -> Visit:
    query = urlencode({"state": state, "redirect_uri": redirect_uri})
    url = f"https://{host}/authorize?{query}"
    return Visit(url, redirect_uri, more.get("issuer", "https://a.example"), ("read", "write"))


class Person:
    """Opens pages as a browser does whose person is already logged in: they are sent back at once.

    In a thread of its own, as the browser is a program of its own.
    """

    def __init__(self, *queries: str) -> None:
        self.queries = queries
        self.opened: list[str] = []
        self.statuses: list[int] = []
        self.redirect_uri = ""
        self.reading: threading.Thread | None = None

    def __call__(self, url: str) -> bool:
        self.opened.append(url)
        self.reading = threading.Thread(target=self._come_back)
        self.reading.start()
        return True

    def _come_back(self) -> None:
        opener = build_opener(ProxyHandler({}))
        for query in self.queries:
            try:
                with opener.open(f"{self.redirect_uri}?{query}", timeout=10) as response:
                    self.statuses.append(response.status)
            except HTTPError as error:
                self.statuses.append(error.code)
                error.close()

    def gone(self) -> None:
        if self.reading is not None:
            self.reading.join(10)


async def test_a_browser_opens_the_page_and_comes_back():
    said: list[str] = []
    person = Person("code=1&state=s")
    async with Browser(said.append, open=person) as browser:
        person.redirect_uri = browser.redirect_uri
        visit = visiting(browser.redirect_uri)
        found = await soon(browser(visit))
        await asyncio.to_thread(person.gone)
    assert found == Visited({"code": ("1",), "state": ("s",)})
    assert person.opened == [visit.url]
    assert person.statuses == [200]
    assert said == [
        "You are sent to a.example to log in. It is asked for: read write.",
        f"If no browser opens, open this page yourself: {visit.url}",
    ]


async def test_a_page_in_the_browser_cannot_forge_the_end_of_a_login():
    person = Person(
        "code=forged&state=guess", "code=forged", "error=access_denied", "code=1&state=s"
    )
    async with Browser(lambda line: None, open=person) as browser:
        person.redirect_uri = browser.redirect_uri
        found = await soon(browser(visiting(browser.redirect_uri)))
        await asyncio.to_thread(person.gone)
    assert found.parameters["code"] == ("1",)
    assert person.statuses == [400, 400, 400, 200]


async def test_a_whole_conversation_can_be_driven_with_a_browser():
    person = Person("code=1&state=s")
    async with Browser(lambda line: None, open=person) as browser:
        person.redirect_uri = browser.redirect_uri
        steps = (
            Fetch("GET", "https://a.example/"),
            visiting(browser.redirect_uri),
            Fetch("POST", "https://a.example/token"),
        )
        came = await soon(drive(asking(*steps), Mailbox(page(), page(400)), browser))
        await asyncio.to_thread(person.gone)
    assert came == [Answer(200), Visited({"code": ("1",), "state": ("s",)}), Answer(400)]


async def test_visits_wait_for_one_another():
    loop = asyncio.get_running_loop()
    opened: asyncio.Queue[str] = asyncio.Queue()

    def open_page(url: str) -> bool:
        loop.call_soon_threadsafe(opened.put_nowait, url)
        return True

    async with Browser(lambda line: None, open=open_page) as browser:
        states = ("first", "second")
        visits = [
            asyncio.ensure_future(browser(visiting(browser.redirect_uri, state)))
            for state in states
        ]
        for state, visit in zip(states, visits, strict=True):
            url = await soon(opened.get())
            assert f"state={state}" in url
            assert opened.empty()
            person = Person(f"code={state}&state={state}")
            person.redirect_uri = browser.redirect_uri
            person(url)
            assert (await soon(visit)).parameters["code"] == (state,)
            await asyncio.to_thread(person.gone)


async def test_who_has_no_browser_is_told_and_may_open_the_page_themselves():
    said: list[str] = []

    def open_none(url: str) -> bool:
        person(url)
        return False

    person = Person("code=1&state=s")
    async with Browser(said.append, open=open_none) as browser:
        person.redirect_uri = browser.redirect_uri
        await soon(browser(visiting(browser.redirect_uri)))
        await asyncio.to_thread(person.gone)
    assert said[-1] == "No browser could be opened here."


async def test_nobody_is_waited_for_without_end():
    async with Browser(lambda line: None, timeout=0, open=lambda url: True) as browser:
        with pytest.raises(AuthorizationFailed, match="begin the login anew"):
            await browser(visiting(browser.redirect_uri))


@requirement("CF-03")
async def test_a_browser_that_would_come_back_elsewhere_is_not_sent():
    opened: list[str] = []
    async with Browser(lambda line: None, open=lambda url: not opened.append(url)) as browser:
        with pytest.raises(ConfigError, match="would not be seen here"):
            await browser(visiting("http://127.0.0.1:1/callback"))
    assert opened == []


async def test_the_port_and_the_spelling_can_be_chosen():
    async with Browser(lambda line: None, host="localhost") as browser:
        port = int(browser.redirect_uri.split(":")[2].partition("/")[0])
        assert browser.redirect_uri == f"http://localhost:{port}/callback"
    async with Browser(lambda line: None, port=port) as browser:
        assert browser.redirect_uri == f"http://127.0.0.1:{port}/callback"
    with pytest.raises(NotConnected):
        _ = browser.redirect_uri


async def test_a_port_is_used_again_if_it_is_free():
    async with Browser(lambda line: None) as first:
        port = int(first.redirect_uri.split(":")[2].partition("/")[0])
        async with Browser(lambda line: None, before=port) as second:
            assert second.redirect_uri != first.redirect_uri
    async with Browser(lambda line: None, before=port) as third:
        assert third.redirect_uri == f"http://127.0.0.1:{port}/callback"


@requirement("CF-11", "SEC-10")
@pytest.mark.parametrize("url", UNSAFE)
async def test_an_unsafe_page_is_neither_opened_nor_shown(url: str):
    said: list[str] = []
    opened: list[str] = []

    async def ask(question: str) -> str:
        raise AssertionError(question)

    async with Browser(said.append, open=lambda url: not opened.append(url)) as browser:
        visitors: list[Visitor] = [browser, Pasted(said.append, ask)]
        for visitor in visitors:
            step = Visit(url, visitor.redirect_uri, "https://a.example")
            with pytest.raises(AuthorizationFailed, match="is not opened") as caught:
                await visitor(step)
            assert ("evil.example" in str(caught.value)) is ("evil.example" in url)
            assert str(caught.value).isprintable()
    assert said == opened == []


async def test_what_a_server_says_of_itself_cannot_write_on_the_terminal():
    said: list[str] = []
    scopes = ("read\x1b[2J", "write\nYou are sent to google.example", *["more"] * 30)
    async with Browser(said.append, timeout=0, open=lambda url: True) as browser:
        step = visiting(browser.redirect_uri, issuer="https://b\x1b\x07.example\nok/")
        with pytest.raises(AuthorizationFailed):
            await browser(Visit(step.url, step.redirect_uri, step.issuer, scopes))
    assert all(line.isprintable() for line in said)
    assert said[0].startswith("You are sent to a.example to log in, on behalf of b?")
    assert said[0].endswith("and more.")


def answering(*answers: str) -> Callable[[str], Awaitable[str]]:
    left = list(answers)

    async def ask(question: str) -> str:
        return left.pop(0)

    return ask


@pytest.mark.parametrize(
    "text",
    [
        f"{PASTED_TO}?code=1&state=s",
        f"  {PASTED_TO}?code=1&state=s\n",
        f"{PASTED_TO}?state=s&code=1#_=_",
        PASTED_TO.replace("http", "HTTP", 1) + "?code=1&state=s",
        "1#s",
    ],
)
async def test_an_address_is_pasted_from_another_machine(text: str):
    said: list[str] = []
    visit = visiting(PASTED_TO)
    found = await Pasted(said.append, answering(text))(visit)
    assert found.parameters == {"code": ("1",), "state": ("s",)}
    assert visit.url in said[1]
    assert PASTED_TO in said[2]


async def test_a_pasted_address_brings_all_its_parameters():
    text = f"{PASTED_TO}?code=1&code=2&state=s&iss=https%3A%2F%2Fa.example"
    found = await Pasted(lambda line: None, answering(text))(visiting(PASTED_TO))
    assert found.parameters["code"] == ("1", "2")
    assert found.parameters["iss"] == ("https://a.example",)


async def test_a_refusal_can_be_pasted_too():
    text = f"{PASTED_TO}?error=access_denied&state=s"
    found = await Pasted(lambda line: None, answering(text))(visiting(PASTED_TO))
    assert found.parameters["error"] == ("access_denied",)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing was pasted"),
        ("hunter2", "the whole address is needed"),
        ("hunter2#", "the whole address is needed"),
        ("#s", "the whole address is needed"),
        ("hunter2#other", "another login"),
        (f"{PASTED_TO}?code=hunter2&state=other", "another login"),
        (f"{PASTED_TO}?code=hunter2", "another login"),
        (f"{PASTED_TO}?state=s", "neither a code nor an error"),
        (f"{PASTED_TO}?code=hunter2%FF&state=s", "cannot be read"),
        ("https://a.example/authorize?state=s", f"has to begin with {PASTED_TO}"),
        (f"https{PASTED_TO[4:]}?code=hunter2&state=s", "has to begin with"),
        (f"{PASTED_TO}/more?code=hunter2&state=s", "has to begin with"),
        ("http://127.0.0.1:1/callback?code=hunter2&state=s", "has to begin with"),
        ("http://evil.example:47811/callback?code=hunter2&state=s", "has to begin with"),
        ("http://x@127.0.0.1:47811/callback?code=hunter2&state=s", "has to begin with"),
        ("http://[/callback?code=hunter2", "has to begin with"),
        (f"{PASTED_TO}?code=hunter2 &state=s", "no spaces"),
        (f"{PASTED_TO}?code=hunter2\x1b[A&state=s", "no spaces"),
        (f"{PASTED_TO}?state=s&code={'a' * 40_000}", "no spaces, and"),
    ],
)
async def test_a_wrong_paste_is_explained_and_asked_again(text: str, why: str):
    said: list[str] = []
    pasted = Pasted(said.append, answering(text, f"{PASTED_TO}?code=1&state=s"))
    found = await pasted(visiting(PASTED_TO))
    assert found.parameters["code"] == ("1",)
    assert why in said[-1]
    assert "hunter2" not in said[-1]
    assert said[-1].isprintable()


async def test_after_some_wrong_pastes_the_login_is_over():
    pasted = Pasted(lambda line: None, answering(*["hunter2"] * 3))
    with pytest.raises(AuthorizationFailed, match="3 times") as caught:
        await pasted(visiting(PASTED_TO))
    assert "hunter2" not in str(caught.value)


async def test_where_nobody_is_a_login_is_needed():
    nobody = Nobody("https://s.example/mcp", "run: login s")
    with pytest.raises(
        LoginNeeded, match=r"s\.example/mcp needs a login at a\.example.+login s"
    ) as caught:
        await nobody(visiting(nobody.redirect_uri))
    assert caught.value.url == "https://s.example/mcp"
