"""The fetcher against real sockets on this machine, which a resolver of the test gives many names."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.peers import soon

from interlock.errors import ConnectFailed, ConnectionLost, InvalidMessage, TimedOut, UnsafeUrl
from interlock.transport.http.engine import Request
from interlock.transport.http.fetching import Fetcher

Answering: TypeAlias = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
HERE = "http://localhost/mcp"
HUSH = {"authorization": "Bearer hush", "dpop": "hush", "cookie": "a=hush", "accept": "a/b"}


class Heard(NamedTuple):
    port: int
    heads: list[bytes]
    names: list[str | None]
    """Server names that TLS was asked for."""


@asynccontextmanager
async def answering(*script: Answering, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Heard]:
    """A server that answers each request with the next of *script*, on whichever connection, and
    hangs up when there is no more.
    """
    heard = Heard(0, [], [])
    answers = list(script)
    ended: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while answers:
                heard.heads.append(await reader.readuntil(b"\r\n\r\n"))
                answer = answers.pop(0)
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.create_task(serve(reader, writer)))

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        heard.names.append(name)

    if tls is not None:
        tls.sni_callback = note
    server = await asyncio.start_server(start, "127.0.0.1", 0, ssl=tls)
    try:
        yield heard._replace(port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)


class Names:
    """A resolver: the addresses of each name, one list for each time that it is asked."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        known = self.names.get(host.split(".", maxsplit=1)[0])
        if known is None:
            return ["127.0.0.1"]
        return known.pop(0) if len(known) > 1 else known[0]


@asynccontextmanager
async def fetching(
    names: Callable[[str, int], Awaitable[Sequence[str]]] | None = None,
    *,
    near: str | None = HERE,
    allowed: Sequence[str] = (),
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[Fetcher]:
    fetcher = Fetcher(near=near, allowed=allowed, resolve=names or Names(), tls=tls)
    try:
        yield fetcher
    finally:
        await fetcher.close()


def response(body: bytes = b"{}", *headers: str, status: int = 200) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(url: str, status: int = 302) -> bytes:
    return response(b"", f"Location: {url}", status=status)


def get(url: str, **headers: str) -> Request:
    return Request("GET", url, headers)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


# What comes back.


async def test_a_fetch_gives_status_headers_body_and_where_it_came_from():
    async with answering(response(b"[]", "Content-Type: a/b")) as server, fetching() as fetcher:
        url = f"http://localhost:{server.port}/x?a=b"
        found = await soon(fetcher.fetch(get(url + "#part", accept="a/b")))
        assert (found.status, found.body, found.url) == (200, b"[]", url)
        assert found.headers["content-type"] == "a/b"
        assert server.heads[0].startswith(b"GET /x?a=b HTTP/1.1\r\n")
        assert b"accept: a/b" in server.heads[0]
        assert f"Host: localhost:{server.port}".encode() in server.heads[0]


@pytest.mark.parametrize("status", [201, 304, 400, 401, 404, 500, 503])
async def test_an_error_is_an_answer(status: int):
    async with answering(response(b"", status=status)) as server, fetching() as fetcher:
        found = await soon(fetcher.fetch(get(f"http://localhost:{server.port}")))
        assert found.status == status


async def test_headers_of_one_name_are_joined_and_cookies_left_out():
    head = response(
        b"", "WWW-Authenticate: Bearer", "Set-Cookie: a=b", "www-authenticate: DPoP a=b"
    )
    async with answering(head) as server, fetching() as fetcher:
        found = await soon(fetcher.fetch(get(f"http://localhost:{server.port}")))
        assert found.headers["www-authenticate"] == "Bearer, DPoP a=b"
        assert "set-cookie" not in found.headers


async def test_headers_that_are_no_text_can_be_written_all_the_same():
    head = b"HTTP/1.1 200 X\r\nX-A: \xff\xfe\r\nContent-Length: 0\r\n\r\n"
    async with answering(head) as server, fetching() as fetcher:
        found = await soon(fetcher.fetch(get(f"http://localhost:{server.port}")))
        assert found.headers["x-a"].encode() == b"??"


async def test_a_post_is_sent_with_its_body():
    async with answering(response(b"done")) as server, fetching() as fetcher:
        request = Request("POST", f"http://localhost:{server.port}/token", {"a": "b"}, b"")
        assert (await soon(fetcher.fetch(request))).body == b"done"
        assert server.heads[0].startswith(b"POST /token")


async def test_a_head_has_no_body_however_long_it_would_be():
    head = b"HTTP/1.1 200 X\r\nContent-Length: 99999999\r\n\r\n"
    async with answering(head) as server, fetching() as fetcher:
        found = await soon(
            fetcher.fetch(Request("HEAD", f"http://localhost:{server.port}", {}), limit=1)
        )
        assert (found.status, found.body) == (200, b"")


async def test_what_was_fetched_and_what_was_asked_show_no_secret():
    async with answering(response(b"hush", "dpop-nonce: hush")) as server, fetching() as fetcher:
        request = Request("POST", f"http://localhost:{server.port}/?hush", HUSH, b"hush")
        found = await soon(fetcher.fetch(request))
        assert "hush" not in repr(found) + repr(request)


async def test_many_fetch_at_once():
    many = 20
    async with answering(*[response(b"x")] * many) as server, fetching() as fetcher:
        url = f"http://localhost:{server.port}"
        found = await soon(asyncio.gather(*(fetcher.fetch(get(url)) for _ in range(many))))
        assert [each.body for each in found] == [b"x"] * many


async def test_neither_proxies_nor_passwords_of_the_environment_are_used(
    monkeypatch: pytest.MonkeyPatch,
):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://user:hush@127.0.0.1:1")
    async with answering(response()) as server, fetching() as fetcher:
        found = await soon(fetcher.fetch(get(f"http://localhost:{server.port}")))
        assert found.status == 200
        assert b"uthorization" not in server.heads[0]


async def test_this_machine_is_found_by_its_own_resolver():
    async with answering(response()) as server:
        fetcher = Fetcher(near=f"http://localhost:{server.port}/mcp")
        found = await soon(fetcher.fetch(get(f"http://localhost:{server.port}/x")))
        assert found.status == 200
        await fetcher.close()


# Where it goes.


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{}/",
        "https://localhost:{}/",
        "http://2130706433:{}/",
        "file:///etc/passwd",
    ],
)
async def test_what_is_refused_as_it_is_written_is_never_connected_to(url: str):
    names = Names()
    async with answering(response()) as server, fetching(names, near=None) as fetcher:
        with pytest.raises(UnsafeUrl):
            await soon(fetcher.fetch(get(url.format(server.port))))
        assert not server.heads
        assert not names.asked


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["10.0.0.5"],
        ["169.254.169.254"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%2"],
        ["1.1.1.1", "127.0.0.1"],
        ["127.0.0.1", "1.1.1.1"],
        ["1.1.1.1"] * 40 + ["127.0.0.1"],
        ["localhost"],
        ["2130706433"],
    ],
)
async def test_a_name_with_one_address_that_is_not_public_is_not_connected_to(addresses: list[str]):
    names = Names(rebound=[addresses])
    async with answering(response()) as server, fetching(names, near=None) as fetcher:
        with pytest.raises(UnsafeUrl, match=rf"https://rebound\.example:{server.port} has an addr"):
            await soon(fetcher.fetch(get(f"https://rebound.example:{server.port}/x?hush")))
        assert names.asked == ["rebound.example"]
        assert not server.heads


async def test_a_name_that_is_another_machine_the_second_time_is_judged_each_time():
    """DNS rebinding: nothing is connected to that was not judged, and nothing judged twice."""
    names = Names(rebound=[["127.0.0.1"], ["169.254.169.254"]])
    close = response(b"2", "Connection: close")
    async with answering(response(b"1"), close) as server, fetching(names) as fetcher:
        request = get(f"http://rebound.localhost:{server.port}/")
        assert (await soon(fetcher.fetch(request))).body == b"1"
        # The connection is still open, and still the one that was judged.
        assert (await soon(fetcher.fetch(request))).body == b"2"
        assert len(names.asked) == 1
        with pytest.raises(UnsafeUrl):
            await soon(fetcher.fetch(request))
        assert len(names.asked) == 2
        assert len(server.heads) == 2


async def test_a_name_with_a_dot_at_its_end_is_judged_as_the_one_without():
    async with answering(response()) as server, fetching(near="http://mcp.corp/mcp") as fetcher:
        found = await soon(fetcher.fetch(get(f"http://MCP.corp.:{server.port}/x")))
        assert found.status == 200


async def test_plain_http_goes_to_no_name_of_the_internet():
    names = Names(localhost=[["1.1.1.1"]])
    async with fetching(names) as fetcher:
        with pytest.raises(UnsafeUrl, match="without encryption"):
            await soon(fetcher.fetch(get("http://localhost/")))
        with pytest.raises(UnsafeUrl, match="without encryption"):
            await soon(fetcher.fetch(get("http://as.example/")))


# What goes wrong on the way.


async def test_nobody_there_is_a_failed_connect_that_names_the_host_alone():
    async with answering() as server:
        pass
    async with fetching() as fetcher:
        with pytest.raises(ConnectFailed, match=rf"http://localhost:{server.port}: ") as failed:
            await soon(fetcher.fetch(get(f"http://localhost:{server.port}/hush?hush")))
        assert "hush" not in str(failed.value)
        assert failed.value.__suppress_context__


async def test_a_name_that_does_not_exist_is_a_failed_connect():
    async def nothing(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with fetching(nothing) as fetcher:
        with pytest.raises(ConnectFailed, match=r"as\.example.*not known"):
            await soon(fetcher.fetch(get("https://as.example/")))


async def test_a_name_without_addresses_is_a_failed_connect():
    async with fetching(Names(none=[[]])) as fetcher:
        with pytest.raises(ConnectFailed, match=r"none\.example has no address"):
            await soon(fetcher.fetch(get("https://none.example/")))


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
async def test_what_is_no_http_is_a_lost_connection_that_names_the_host_alone(answer: bytes):
    async with answering(answer) as server, fetching() as fetcher:
        request = Request("POST", f"http://localhost:{server.port}/?hush", {}, b"")
        with pytest.raises(ConnectionLost, match="broke off") as lost:
            await soon(fetcher.fetch(request))
        assert "hush" not in str(lost.value)
        assert lost.value.__suppress_context__


async def test_a_body_that_breaks_off_is_a_lost_connection():
    short = b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nabc"
    async with answering(short) as server, fetching() as fetcher:
        with pytest.raises(ConnectionLost, match=r"answer from http://localhost:\d+ broke"):
            await soon(fetcher.fetch(get(f"http://localhost:{server.port}/")))


async def test_a_closed_fetcher_fetches_nothing():
    async with answering(response()) as server, fetching() as fetcher:
        await fetcher.close()
        with pytest.raises(ConnectionLost, match="was closed"):
            await soon(fetcher.fetch(get(f"http://localhost:{server.port}/")))
        assert not server.heads


# What is too long, and what is too slow.


async def test_a_body_that_says_that_it_is_long_is_not_read():
    long = b"HTTP/1.1 200 X\r\nContent-Length: 104857600\r\n\r\n"
    async with answering(long) as server, fetching() as fetcher:
        with pytest.raises(
            InvalidMessage, match=r"localhost:\d+ sends more than the 262144"
        ) as odd:
            await soon(fetcher.fetch(get(f"http://localhost:{server.port}/?hush")))
        assert "hush" not in str(odd.value)


async def test_a_body_that_never_ends_is_read_as_far_as_the_limit():
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            sent += 0x10000
            await writer.drain()

    async with answering(endless) as server, fetching() as fetcher:
        with pytest.raises(InvalidMessage, match="more than the 1000 "):
            await soon(fetcher.fetch(get(f"http://localhost:{server.port}/"), limit=1000))
    assert sent < 50_000_000


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_body_that_unpacks_to_a_long_one_is_read_as_far_as_the_limit(coding: str):
    whole = b"\0" * 100_000_000
    bomb = gzip.compress(whole, 1) if coding == "gzip" else zlib.compress(whole, 1)
    packed = response(bomb, f"Content-Encoding: {coding}")
    async with answering(packed) as server, fetching() as fetcher:
        with pytest.raises(InvalidMessage, match="more than the 262144 "):
            await soon(fetcher.fetch(get(f"http://localhost:{server.port}/")))
        assert b"accept-encoding: identity" in server.heads[0].lower()


async def test_a_packed_body_within_the_limit_is_unpacked():
    packed = response(gzip.compress(b"{}"), "Content-Encoding: gzip")
    async with answering(packed) as server, fetching() as fetcher:
        found = await soon(fetcher.fetch(get(f"http://localhost:{server.port}/")))
        assert found.body == b"{}"


@pytest.mark.parametrize(
    "line", [b"X-A: " + b"x" * 8000 + b"\r\n", b"x" * 8000], ids=["many", "long"]
)
async def test_headers_that_never_end_are_not_read_for_ever(line: bytes):
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 X\r\n")
        while True:
            writer.write(line)
            sent += len(line)
            await writer.drain()

    async with answering(endless, endless) as server, fetching() as fetcher:
        with pytest.raises((ConnectionLost, TimedOut)):
            await soon(fetcher.fetch(get(f"http://localhost:{server.port}/"), seconds=2))
    assert sent < 50_000_000


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 X\r\nX-A: ")
    while True:
        writer.write(b"x")
        await asyncio.sleep(0.01)


async def drip_body(writer: asyncio.StreamWriter) -> None:
    writer.write(CHUNKED)
    while True:
        writer.write(b"1\r\nx\r\n")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("slow", [silence, drip_headers, drip_body])
async def test_an_answer_that_never_comes_or_in_drops_is_not_waited_for(slow: Answering):
    async with answering(slow) as server, fetching() as fetcher:
        with pytest.raises(TimedOut, match=r"localhost:\d+ did not answer in 0\.1 seconds") as late:
            await soon(fetcher.fetch(get(f"http://localhost:{server.port}/?hush"), seconds=0.1))
        assert "hush" not in str(late.value)


async def test_a_name_that_is_never_found_is_not_waited_for():
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with fetching(never) as fetcher:
        with pytest.raises(TimedOut, match=r"https://as\.example did not answer"):
            await soon(fetcher.fetch(get("https://as.example/"), seconds=0.05))


async def test_all_hops_together_have_the_time_of_one_fetch():
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(redirect("/again"))

    async with answering(*[slowly] * 50) as server, fetching() as fetcher:
        request = get(f"http://localhost:{server.port}/")
        with pytest.raises(TimedOut):
            await soon(fetcher.fetch(request, seconds=0.2, redirects=50))
        assert len(server.heads) < 10


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_within_an_origin_with_all_headers(status: int):
    moved = redirect("/there?a=b#part", status)
    async with answering(moved, response(b"there")) as server, fetching() as fetcher:
        url = f"http://localhost:{server.port}"
        found = await soon(fetcher.fetch(get(f"{url}/here", **HUSH)))
        assert (found.body, found.url) == (b"there", f"{url}/there?a=b")
        assert server.heads[1].startswith(b"GET /there?a=b HTTP/1.1")
        assert b"Bearer hush" in server.heads[1]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "other.localhost"])
async def test_credentials_stay_at_their_origin(host: str):
    """Another port is another origin, and coming back does not bring them back."""
    async with answering(response(b"there")) as third, fetching() as fetcher:
        back = redirect(f"http://localhost:{third.port}/")
        async with answering(back) as second:
            away = redirect(f"http://{host}:{second.port}/")
            async with answering(away) as first:
                url = f"http://localhost:{first.port}/"
                assert (await soon(fetcher.fetch(get(url, **HUSH)))).body == b"there"
        assert b"hush" in first.heads[0]
        for server in (second, third):
            assert b"hush" not in server.heads[0]
            assert b"accept: a/b" in server.heads[0]


async def test_a_post_that_is_redirected_is_handed_over():
    async with answering(redirect("/there", 307)) as server, fetching() as fetcher:
        url = f"http://localhost:{server.port}/"
        found = await soon(fetcher.fetch(Request("POST", url, HUSH, b"")))
        assert (found.status, found.headers["location"], found.url) == (307, "/there", url)
        assert len(server.heads) == 1


@pytest.mark.parametrize("status", [300, 304, 302])
async def test_what_says_not_where_to_is_handed_over(status: int):
    async with answering(response(b"", status=status)) as server, fetching() as fetcher:
        found = await soon(fetcher.fetch(get(f"http://localhost:{server.port}/")))
        assert found.status == status


@pytest.mark.parametrize("redirects", [0, 1, 3])
async def test_a_loop_is_left_after_as_many_redirects_as_are_followed(redirects: int):
    async with answering(*[redirect("/")] * 9) as server, fetching() as fetcher:
        request = get(f"http://localhost:{server.port}/")
        found = await soon(fetcher.fetch(request, redirects=redirects))
        assert found.status == 302
        assert len(server.heads) == redirects + 1


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "//169.254.169.254/latest/",
        "http://[fd00:ec2::254]/",
        "http://metadata.example/",
        "https://metadata.example/",
        "http://2130706433/",
        "http://127.1/",
        "http://user:pass@localhost/",
        "file:///etc/passwd",
        "ftp://localhost/",
        "data:text/plain,x",
        "javascript:alert(1)",
        "http://[::1",
        "http:\\\\localhost",
        "http://localhost/ x",
        "http://local\thost/",
        "/x\x7f",
        "http://löcalhost/",
    ],
)
async def test_each_hop_is_judged_as_if_it_were_the_first(location: str):
    names = Names(metadata=[["169.254.169.254"]])
    async with answering(redirect("/on"), redirect(location)) as server, fetching(names) as fetcher:
        with pytest.raises(UnsafeUrl):
            await soon(fetcher.fetch(get(f"http://localhost:{server.port}/")))
        assert len(server.heads) == 2


async def test_two_places_to_go_on_to_are_none():
    torn = response(b"", "Location: /a", "Location: /b", status=302)
    async with answering(torn) as server, fetching() as fetcher:
        with pytest.raises(UnsafeUrl, match="no URL"):
            await soon(fetcher.fetch(get(f"http://localhost:{server.port}/")))


# TLS.


def certificate(name: str) -> tuple[str, str]:
    """A certificate that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM).decode(), private.decode()


class Tls(NamedTuple):
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    made, private = certificate("as.example")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_text(made + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return Tls(server, ssl.create_default_context(cadata=made))


async def test_what_is_connected_to_is_the_address_and_what_must_be_proven_is_the_name(tls: Tls):
    names = Names()
    async with (
        answering(response(b"1"), response(b"2"), tls=tls.server) as server,
        fetching(names, near=None, allowed=["127.0.0.1"], tls=tls.client) as fetcher,
    ):
        for body in (b"1", b"2"):
            found = await soon(fetcher.fetch(get(f"https://as.example:{server.port}/")))
            assert found.body == body
        assert server.names == ["as.example"]
        assert names.asked == ["as.example"]
        assert f"Host: as.example:{server.port}".encode() in server.heads[0]


async def test_whoever_is_at_the_address_and_has_another_name_is_told_nothing(tls: Tls):
    async with (
        answering(response(), tls=tls.server) as server,
        fetching(near=None, allowed=["127.0.0.1"], tls=tls.client) as fetcher,
    ):
        with pytest.raises(ConnectFailed, match=r"evil\.example"):
            await soon(fetcher.fetch(get(f"https://evil.example:{server.port}/?hush")))
        assert not server.heads


async def test_whoever_nobody_vouches_for_is_told_nothing(tls: Tls):
    async with (
        answering(response(), tls=tls.server) as server,
        fetching(near=None, allowed=["127.0.0.1"]) as fetcher,
    ):
        with pytest.raises(ConnectFailed, match="certificate"):
            await soon(fetcher.fetch(get(f"https://as.example:{server.port}/")))
        assert not server.heads


async def test_a_redirect_never_leads_out_of_encryption(tls: Tls):
    async with (
        answering(response()) as plain,
        answering(redirect(f"http://localhost:{plain.port}/"), tls=tls.server) as server,
        fetching(tls=tls.client) as fetcher,
    ):
        with pytest.raises(UnsafeUrl, match="without encryption; that is not followed"):
            await soon(fetcher.fetch(get(f"https://as.example:{server.port}/", **HUSH)))
        assert not plain.heads
