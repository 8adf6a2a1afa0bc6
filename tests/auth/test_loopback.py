"""The listener for the end of a login, against real connections: from browsers, and from pages in
them that would end or forge a login.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from tests.peers import soon
from tests.spec.marking import requirement

from interlock.auth.loopback import CONNECTIONS, Loopback
from interlock.auth.steps import Visited
from interlock.errors import ConfigError, NotConnected, TimedOut

SECRET = "c0de-that-nobody-may-see"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def port_of(loopback: Loopback) -> int:
    port = urlsplit(loopback.redirect_uri).port
    assert port
    return port


async def send(port: int, data: bytes) -> Reply:
    """Send bytes and read until the other side hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    whole = (await soon(reader.read())).decode()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    head, _, body = whole.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    pairs = [line.partition(": ") for line in lines]
    return Reply(int(first.split()[1]), {name.lower(): value for name, _, value in pairs}, body)


async def get(
    loopback: Loopback,
    query: str,
    *,
    path: str = "/callback",
    host: str | None = None,
    method: str = "GET",
    more: str = "",
) -> Reply:
    port = port_of(loopback)
    target = f"{path}?{query}" if query else path
    named = f"127.0.0.1:{port}" if host is None else host
    return await send(port, f"{method} {target} HTTP/1.1\r\nHost: {named}\r\n{more}\r\n".encode())


async def test_the_redirect_of_a_login_is_caught():
    async with Loopback() as loopback:
        loopback.expect("s")
        port = port_of(loopback)
        assert loopback.redirect_uri == f"http://127.0.0.1:{port}/callback"
        reply = await get(loopback, "code=a%2Fb&state=s&iss=https%3A%2F%2Fa.example")
        assert reply.status == 200
        assert "Login received" in reply.body
        assert await soon(loopback.wait(5)) == Visited(
            {"code": ("a/b",), "state": ("s",), "iss": ("https://a.example",)}
        )


async def test_a_refused_login_is_caught_too_and_the_page_says_no_more_than_that():
    async with Loopback() as loopback:
        loopback.expect("s")
        query = "error=access_denied&error_description=%3Cb%3Ehello%3C%2Fb%3E&state=s"
        reply = await get(loopback, query)
        assert reply.status == 200
        assert "not completed" in reply.body
        assert "hello" not in reply.body
        assert "access_denied" not in reply.body
        assert (await soon(loopback.wait(5))).parameters["error"] == ("access_denied",)


async def test_who_waits_already_is_given_what_comes():
    async with Loopback() as loopback:
        waiting = asyncio.ensure_future(loopback.wait(30))
        await get(loopback, "code=1")
        assert (await soon(waiting)).parameters == {"code": ("1",)}


async def test_the_page_arrives_whole_though_everything_is_closed_at_once():
    async with Loopback() as loopback:
        reading = asyncio.ensure_future(get(loopback, "code=1"))
        await soon(loopback.wait(5))
    reply = await soon(reading)
    assert reply.status == 200
    assert reply.body.rstrip().endswith("</html>")


async def test_a_page_can_neither_run_embed_nor_tell_anything():
    async with Loopback() as loopback:
        replies = [
            await get(loopback, f"code={SECRET}&state=s"),
            await get(loopback, f"code={SECRET}&state=s"),
            await get(loopback, f"state={SECRET}"),
            await get(loopback, f"code={SECRET}", path=f"/{SECRET}"),
            await get(loopback, f"code={SECRET}", host="evil.example"),
            await get(loopback, f"code={SECRET}", method="POST", more="Content-Length: 0\r\n"),
            await send(port_of(loopback), f"GET /callback?code={SECRET} HTTP/9\r\n\r\n".encode()),
        ]
    assert [reply.status for reply in replies] == [200, 409, 400, 404, 403, 405, 400]
    for reply in replies:
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert "<script" not in reply.body
        assert SECRET not in reply.body
        assert "aiohttp" not in str(reply.headers)


@requirement("CF-03")
@pytest.mark.parametrize(
    "query",
    [
        "code=forged&state=other",
        "code=forged",
        "error=access_denied",
        "error=access_denied&state=other",
        "code=forged&state=s&state=other",
        "state=s",
        "",
        "code=%FF&state=s",
        "&".join(f"a{number}=1" for number in range(100)),
    ],
)
async def test_what_is_not_of_this_login_does_not_end_it(query: str):
    async with Loopback() as loopback:
        loopback.expect("s")
        assert (await get(loopback, query)).status == 400
        with pytest.raises(TimedOut):
            await loopback.wait(0)
        assert (await get(loopback, "code=1&state=s")).status == 200
        assert (await soon(loopback.wait(5))).parameters["code"] == ("1",)


async def test_a_repeated_parameter_keeps_its_values():
    async with Loopback() as loopback:
        loopback.expect("s")
        await get(loopback, "code=1&code=2&state=s")
        assert (await soon(loopback.wait(5))).parameters["code"] == ("1", "2")


@requirement("CF-03")
async def test_the_first_redirect_counts():
    async with Loopback() as loopback:
        await get(loopback, "code=1&state=s")
        again = await get(loopback, "code=2&state=s")
        assert (again.status, "Already received" in again.body) == (409, True)
        assert (await soon(loopback.wait(5))).parameters["code"] == ("1",)


async def test_of_two_redirects_at_once_one_counts():
    async with Loopback() as loopback:
        replies = await asyncio.gather(*(get(loopback, f"code={n}") for n in range(8)))
        assert sorted(reply.status for reply in replies) == [200] + [409] * 7
        await soon(loopback.wait(5))


async def test_another_login_is_waited_for_once_it_is_expected():
    async with Loopback() as loopback:
        loopback.expect("first")
        await get(loopback, "code=1&state=first")
        await soon(loopback.wait(5))
        loopback.expect("second")
        assert (await get(loopback, "code=1&state=first")).status == 400
        assert (await get(loopback, "code=2&state=second")).status == 200
        assert (await soon(loopback.wait(5))).parameters["code"] == ("2",)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/favicon.ico",
        "/callback/",
        "/Callback",
        "/callback/../callback",
        "/%63allback",
        "//callback",
    ],
)
async def test_other_paths_are_not_there(path: str):
    async with Loopback() as loopback:
        assert (await get(loopback, "code=1", path=path)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
async def test_other_methods_are_not_taken(method: str):
    async with Loopback() as loopback:
        reply = await get(loopback, "code=1", method=method, more="Content-Length: 0\r\n")
        assert (reply.status, reply.headers["allow"]) == (405, "GET")
        with pytest.raises(TimedOut):
            await loopback.wait(0)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1:{port}.evil.example",
        "",
    ],
)
async def test_a_host_that_is_not_ours_is_refused(host: str):
    async with Loopback() as loopback:
        named = host.format(port=port_of(loopback))
        assert (await get(loopback, "code=1", host=named)).status == 403
        with pytest.raises(TimedOut):
            await loopback.wait(0)


async def test_a_request_with_two_hosts_or_none_is_refused():
    async with Loopback() as loopback:
        port = port_of(loopback)
        twice = f"Host: 127.0.0.1:{port}\r\n" * 2
        for hosts in (twice, ""):
            reply = await send(port, f"GET /callback?code=1 HTTP/1.1\r\n{hosts}\r\n".encode())
            assert reply.status in (400, 403)
        with pytest.raises(TimedOut):
            await loopback.wait(0)


async def test_the_address_can_be_spelled_localhost_and_have_a_path_of_its_own():
    async with Loopback(host="localhost", path="/oauth/done") as loopback:
        port = port_of(loopback)
        assert loopback.redirect_uri == f"http://localhost:{port}/oauth/done"
        assert (await get(loopback, "code=1", path="/oauth/done")).status == 403
        named = await get(loopback, "code=1", path="/oauth/done", host=f"localhost:{port}")
        assert named.status == 200


async def test_a_long_redirect_is_taken_and_an_endless_one_is_not(
    caplog: pytest.LogCaptureFixture,
):
    async with Loopback() as loopback:
        loopback.expect("s")
        for size, status in ((40_000, 400), (20_000, 400), (12_000, 200)):
            code = SECRET + "a" * size
            reply = await get(loopback, f"code={code}&state=s")
            assert reply.status == status
            assert SECRET not in reply.body
    assert SECRET not in caplog.text


async def test_nothing_that_was_sent_is_logged(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    async with Loopback() as loopback:
        loopback.expect("s")
        port = port_of(loopback)
        await get(loopback, f"code={SECRET}&state=other")
        await get(loopback, f"code={SECRET}", host=f"{SECRET}.example")
        await send(port, f"{SECRET}\r\n\r\n".encode())
        await send(port, f"GET /callback?code={SECRET} HTTP/9\r\nx: {SECRET}\r\n\r\n".encode())
        await send(port, f"GET http://[{SECRET}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await get(loopback, f"code={SECRET}&state=s")
        visited = await soon(loopback.wait(5))
    assert SECRET not in caplog.text
    assert SECRET not in repr(visited)


async def test_a_connection_that_asks_nothing_is_ended():
    async with Loopback(connection_seconds=0.01) as loopback:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(loopback))
        assert await soon(reader.read()) == b""
        writer.close()


async def test_many_connections_do_not_keep_a_redirect_out():
    async with Loopback() as loopback, contextlib.AsyncExitStack() as stack:
        idle: list[asyncio.StreamReader] = []
        for _ in range(CONNECTIONS + 8):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(loopback))
            stack.callback(writer.close)
            idle.append(reader)
        assert (await get(loopback, "code=1")).status == 200
        for reader in idle[:8]:
            assert await soon(reader.read()) == b""
        assert not idle[-1].at_eof()


async def test_it_closes_at_once_with_connections_open():
    async with contextlib.AsyncExitStack() as stack:
        async with Loopback() as loopback:
            port = port_of(loopback)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            half, other = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(other.close)
            other.write(b"GET /call")
            await get(loopback, "code=1")
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 2
        assert await soon(reader.read()) == b""
        assert await soon(half.read()) == b""
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_a_port_that_is_taken_is_said_to_be():
    async with Loopback() as loopback:
        port = port_of(loopback)
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: another program listens there"):
            async with Loopback(port):
                pass
    async with Loopback(port) as later:
        assert port_of(later) == port


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_refused(port: int):
    with pytest.raises(ConfigError, match="is no port"):
        Loopback(port)


@pytest.mark.parametrize("path", ["", "callback", "/a?b", "/a b", "/a#b", "/%61"])
def test_a_path_that_is_none_is_refused(path: str):
    with pytest.raises(ConfigError, match="is no path"):
        Loopback(path=path)


async def test_nothing_can_be_awaited_where_nothing_is_listened_at():
    loopback = Loopback()
    with pytest.raises(NotConnected):
        _ = loopback.redirect_uri
    with pytest.raises(NotConnected):
        loopback.expect("s")
    with pytest.raises(NotConnected):
        await loopback.wait(1)


async def test_waiting_ends_with_its_time_its_cancellation_or_the_listener():
    async with Loopback() as loopback:
        with pytest.raises(TimedOut, match="No browser came back"):
            await loopback.wait(0)
        cancelled = asyncio.ensure_future(loopback.wait(30))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        waiting = asyncio.ensure_future(loopback.wait(30))
        await asyncio.sleep(0)
    with pytest.raises(NotConnected):
        await soon(waiting)
