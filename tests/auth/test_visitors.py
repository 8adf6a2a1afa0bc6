"""How a person is sent to a login: what they are told, and which port they come back to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest
from tests.peers import soon

from interlock.auth.browser import PASTED_TO, Browser
from interlock.auth.steps import Visit, Visited
from interlock.auth.visitors import by_hand, in_browser
from interlock.errors import AuthorizationFailed, ConfigError

CAME = Visited({"code": ("1",), "state": ("s",)})


def visiting(redirect_uri: str) -> Visit:
    query = urlencode({"state": "s", "redirect_uri": redirect_uri})
    return Visit(f"https://a.example/authorize?{query}", redirect_uri, "https://a.example")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def back(redirect_uri: Callable[[], str]) -> Callable[[str], bool]:
    """Opens pages as the browser of somebody who is sent back at once."""

    def open_page(url: str) -> bool:
        build_opener(ProxyHandler({})).open(f"{redirect_uri()}?code=1&state=s", timeout=10).close()
        return True

    return open_page


# In a browser here.


async def test_each_login_has_a_visitor_of_its_own_and_they_come_back_to_it():
    here: list[str] = []
    visitors = in_browser(lambda line: None, open=back(lambda: here[-1]))
    for _ in range(2):
        async with visitors(None) as visitor:
            here.append(visitor.redirect_uri)
            assert await soon(visitor(visiting(visitor.redirect_uri))) == CAME
            with pytest.raises(ConfigError, match="would not be seen here"):
                await visitor(visiting("http://127.0.0.1:1/callback"))


async def test_the_port_of_the_last_login_is_taken_if_it_is_free():
    visitors = in_browser(lambda line: None)
    port = free_port()
    async with visitors(port) as visitor:
        assert visitor.redirect_uri == f"http://127.0.0.1:{port}/callback"
        async with visitors(port) as beside:
            assert beside.redirect_uri != visitor.redirect_uri


async def test_a_port_that_was_told_is_the_only_one():
    port, last = free_port(), free_port()
    visitors = in_browser(lambda line: None, port=port)
    async with visitors(last) as visitor:
        assert visitor.redirect_uri == f"http://127.0.0.1:{port}/callback"
        with pytest.raises(ConfigError, match=str(port)):
            async with visitors(last):
                pass


async def test_nobody_is_waited_for_longer_than_told():
    async with in_browser(lambda line: None, timeout=0, open=lambda url: True)(None) as visitor:
        with pytest.raises(AuthorizationFailed, match="begin the login anew"):
            await visitor(visiting(visitor.redirect_uri))


async def test_without_a_word_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]):
    async with in_browser(timeout=0, open=lambda url: False)(None) as visitor:
        assert isinstance(visitor, Browser)
        visit = visiting(visitor.redirect_uri)
        with pytest.raises(AuthorizationFailed):
            await visitor(visit)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "You are sent to a.example to log in.",
        f"If no browser opens, open this page yourself: {visit.url}",
        "No browser could be opened here.",
    ]


# By hand.


async def test_by_hand_the_last_address_is_brought_back(capsys: pytest.CaptureFixture[str]):
    asked: list[str] = []

    async def ask(question: str) -> str:
        asked.append(question)
        return f"{PASTED_TO}?code=1&state=s\n"

    async with by_hand(ask)(free_port()) as visitor:
        assert visitor.redirect_uri == PASTED_TO  # Whichever port a browser came back to before.
        visit = visiting(visitor.redirect_uri)
        assert await visitor(visit) == CAME
    assert asked == ["The address: "]
    out, err = capsys.readouterr()
    assert out == ""
    assert f"Open this page in a browser, on any machine: {visit.url}\n" in err


async def test_by_hand_the_port_that_a_server_knows_stands_in_the_address():
    said: list[str] = []
    answers = iter([f"{PASTED_TO}?code=1&state=s", "http://127.0.0.1:4711/callback?code=1&state=s"])

    async def ask(question: str) -> str:
        return next(answers)

    async with by_hand(ask, said.append, port=4711)(None) as visitor:
        assert visitor.redirect_uri == "http://127.0.0.1:4711/callback"
        assert await visitor(visiting(visitor.redirect_uri)) == CAME
    assert (
        said[-1] == "That is not it: the address has to begin with http://127.0.0.1:4711/callback."
    )


async def test_by_hand_nothing_listens_here():
    # The address is only read: that another program has its port does not matter.
    listener = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]

    async def ask(question: str) -> str:
        return "1#s"

    async with listener, by_hand(ask, lambda line: None, port=port)(None) as visitor:
        assert await visitor(visiting(visitor.redirect_uri)) == CAME
