"""What a client can send over HTTP/1.1, right and wrong, as one table: what is answered, and by which
section of RFC 9112 (or 9110, where it says so).

Where uvicorn, which has the same parser, does something else, the row says what, and why we do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

CLOSES: Final = False
STAYS: Final = True

NOTE: Final = b'{"jsonrpc":"2.0","method":"m"}'
"""Taken with 202 wherever it arrives whole, refused with 400 and `error` wherever it does not."""
SAFE: Final = b"Host: localhost\r\n"
KIND: Final = b"Content-Type: application/json\r\n"
GET: Final = b"GET /after HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""What is found at /after is nothing: 404."""
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
ONE: Final = b"1e\r\n" + NOTE + b"\r\n"
END: Final = b"0\r\n\r\n"


class Answer(NamedTuple):
    status: int
    part: bytes = b""
    """Something that is in its body."""
    bodiless: bool = False
    """Whether nothing may follow its head, whatever that says."""
    other: int = 0
    """Another status that it may have, where it depends on how the bytes come."""


class Case(NamedTuple):
    name: str
    section: str
    data: bytes
    answers: tuple[Answer, ...]
    stays: bool
    """Whether another request is answered on the connection afterwards."""
    uvicorn: tuple[int, ...] | None = None
    """The statuses of uvicorn, where they are others."""
    why: str = ""
    """Why ours are right, where they are others."""
    slow: bool = False
    """Whether more would have to come: it ends by time, and at uvicorn not at all."""


def case(
    name: str,
    section: str,
    data: bytes,
    *answers: int | tuple[int, bytes] | Answer,
    stays: bool,
    uvicorn: Sequence[int] | None = None,
    why: str = "",
    slow: bool = False,
) -> Case:
    made = [
        each
        if isinstance(each, Answer)
        else Answer(each)
        if isinstance(each, int)
        else Answer(*each)
        for each in answers
    ]
    said = None if uvicorn is None else tuple(uvicorn)
    return Case(name, section, data, tuple(made), stays, said, why, slow)


def get(*lines: bytes, line: bytes = b"GET /a HTTP/1.1", host: bytes = SAFE) -> bytes:
    return line + b"\r\n" + host + b"".join(each + b"\r\n" for each in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = NOTE, line: bytes = b"POST /mcp HTTP/1.1") -> bytes:
    """A POST whose head says how long *body* is, unless *lines* speak of that."""
    said = b"".join(each + b"\r\n" for each in lines)
    if not any(word in said.lower() for word in (b"content-length", b"transfer-encoding")):
        said += b"Content-Length: %d\r\n" % len(body)
    return line + b"\r\n" + SAFE + KIND + said + b"\r\n" + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


LOST: Final = "what is wrong behind a request makes it forget to answer that"
WRONG: Final = (400, b"Not HTTP/1.1")
NOTHING: Final = (404, b"/a")
AFTER: Final = (404, b"/after")

FRAMING: Final = [
    case("a body of its length", "6.2", post(), 202, stays=STAYS),
    case("a length of 0", "6.2", post(body=b""), (400, b"error"), stays=STAYS),
    case("no length and no coding", "6.3", get(line=b"POST /mcp HTTP/1.1"), 415, stays=STAYS),
    case(
        "a length with zeros before it",
        "8.6 of 9110",
        post(b"Content-Length: 0030"),
        202,
        stays=STAYS,
    ),
    case(
        "a length in blanks",
        "5.1",
        post(b"Content-Length: \t 30  "),
        202,
        stays=STAYS,
        uvicorn=(400,),
        why="it hands on the blanks, which are none of the value",
    ),
    case(
        "length and coding",
        "6.1",
        post(b"Content-Length: 30", CHUNKED[:-2], body=ONE + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "coding and length",
        "6.1",
        post(CHUNKED[:-2], b"Content-Length: 5", body=ONE + END + GET),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "coding and length, both of nothing",
        "6.1",
        post(CHUNKED[:-2], b"Content-Length: 0", body=END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "the same length twice",
        "6.3",
        post(b"Content-Length: 30", b"Content-Length: 30"),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "two lengths",
        "6.3",
        post(b"Content-Length: 30", b"Content-Length: 31"),
        WRONG,
        stays=CLOSES,
    ),
    case("a list of the same length", "6.3", post(b"Content-Length: 30, 30"), WRONG, stays=CLOSES),
    case("a list of lengths", "6.3", post(b"Content-Length: 30, 31"), WRONG, stays=CLOSES),
    case("a length with a plus", "6.3", post(b"Content-Length: +30"), WRONG, stays=CLOSES),
    case("a negative length", "6.3", post(b"Content-Length: -30"), WRONG, stays=CLOSES),
    case("a length in hex", "6.3", post(b"Content-Length: 0x1e"), WRONG, stays=CLOSES),
    case("a length with a point", "6.3", post(b"Content-Length: 30.0"), WRONG, stays=CLOSES),
    case("a length with an exponent", "6.3", post(b"Content-Length: 3e1"), WRONG, stays=CLOSES),
    case("a length with an underscore", "6.3", post(b"Content-Length: 3_0"), WRONG, stays=CLOSES),
    case("a length of words", "6.3", post(b"Content-Length: thirty"), WRONG, stays=CLOSES),
    case("a length in two parts", "6.3", post(b"Content-Length: 3 0"), WRONG, stays=CLOSES),
    case("an empty length", "6.3", post(b"Content-Length:"), WRONG, stays=CLOSES),
    case(
        "a length in other digits",
        "6.3",
        post("Content-Length: ３０".encode()),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "a length of 64 bits",
        "6.3",
        post(b"Content-Length: 18446744073709551615"),
        (400, b"not a number"),
        stays=CLOSES,
    ),
    case(
        "a length of more than 64 bits",
        "6.3",
        post(b"Content-Length: 18446744073709551616"),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "a length beyond what is taken",
        "15.5.14 of 9110",
        post(b"Content-Length: 99999999999"),
        (413, b"at most"),
        stays=CLOSES,
    ),
    case(
        "a length with a fold in it", "5.2", post(b"Content-Length: 3\r\n 0"), WRONG, stays=CLOSES
    ),
    case(
        "a length in a name of its own",
        "5.1",
        post(b"Content_Length: 99", b"Content-Length: 30"),
        202,
        stays=STAYS,
    ),
    case("a length in capitals", "5.1 of 9110", post(b"CONTENT-LENGTH: 30"), 202, stays=STAYS),
    case(
        "two requests where the first is shorter than it is",
        "6.3",
        post() + post(b"Content-Length: 29") + GET,
        202,
        (400, b"error"),
        WRONG,
        stays=CLOSES,
        uvicorn=(400,),
        why=LOST,
    ),
    case(
        "a GET with a body",
        "9.3.1 of 9110",
        b"GET /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nxy",
        NOTHING,
        stays=STAYS,
    ),
    case(
        "a GET with a body that is a request",
        "9.3.1 of 9110",
        b"GET /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(GET) + GET,
        NOTHING,
        stays=STAYS,
    ),
]

CODINGS: Final = [
    case("a body in a chunk", "7.1", chunked(ONE + END), 202, stays=STAYS),
    case(
        "a body in chunks",
        "7.1",
        chunked(b"1\r\n{\r\n1d\r\n" + NOTE[1:] + b"\r\n" + END),
        202,
        stays=STAYS,
    ),
    case(
        "a chunk size in capitals, with zeros",
        "7.1",
        chunked(b"00001E\r\n" + NOTE + b"\r\n000\r\n\r\n"),
        202,
        stays=STAYS,
    ),
    case("coding of nothing", "7.1", chunked(END), (400, b"error"), stays=STAYS),
    case(
        "coding in odd letters",
        "7",
        post(b"tRANSFER-eNCODING: cHuNkEd", body=ONE + END),
        202,
        stays=STAYS,
    ),
    case(
        "coding in blanks",
        "5.1",
        post(b"Transfer-Encoding:\t chunked ", body=ONE + END),
        202,
        stays=STAYS,
    ),
    case(
        "coding with a tab behind it",
        "5.1",
        post(b"Transfer-Encoding: chunked\t", body=ONE + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "coding twice in a list",
        "7.1",
        post(b"Transfer-Encoding: chunked, chunked", body=ONE + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "coding twice in lines",
        "7.1",
        post(CHUNKED[:-2], CHUNKED[:-2], body=ONE + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "the coding identity",
        "6.3",
        post(b"Transfer-Encoding: identity", body=ONE + END),
        (400, b"Where the body ends"),
        stays=CLOSES,
    ),
    case(
        "a coding that is nearly one",
        "6.3",
        post(b"Transfer-Encoding: xchunked", body=ONE + END),
        (400, b"Where the body ends"),
        stays=CLOSES,
    ),
    case(
        "a coding that goes on",
        "6.3",
        post(b"Transfer-Encoding: chunkedx", body=ONE + END),
        (400, b""),
        stays=CLOSES,
    ),
    case(
        "a coding in quotes",
        "6.3",
        post(b'Transfer-Encoding: "chunked"', body=ONE + END),
        (400, b""),
        stays=CLOSES,
    ),
    case(
        "a coding with a parameter",
        "7",
        post(b"Transfer-Encoding: chunked;q=1", body=ONE + END),
        (400, b""),
        stays=CLOSES,
    ),
    case(
        "a coding after a control",
        "5.5 of 9110",
        post(b"Transfer-Encoding: \x0bchunked", body=ONE + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "an empty coding", "6.1", post(b"Transfer-Encoding:", body=ONE + END), WRONG, stays=CLOSES
    ),
    case(
        "a comma for a coding",
        "6.1",
        post(b"Transfer-Encoding: ,chunked", body=ONE + END),
        501,
        stays=CLOSES,
        uvicorn=(202,),
        why="a list may have an empty member, but who sends one hopes for two readings",
    ),
    case(
        "a coding that is not known",
        "6.1",
        post(b"Transfer-Encoding: gzip, chunked", body=ONE + END),
        501,
        stays=CLOSES,
        uvicorn=(202,),
        why="what is compressed is no JSON, and uvicorn hands it on as if it were",
    ),
    case(
        "a coding that is not known, in lines",
        "6.1",
        post(b"Transfer-Encoding: gzip", CHUNKED[:-2], body=ONE + END),
        501,
        stays=CLOSES,
        uvicorn=(202,),
        why="the same in two lines",
    ),
    case(
        "coding that is not last",
        "6.3",
        post(b"Transfer-Encoding: chunked, gzip", body=ONE + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "coding and then identity",
        "6.3",
        post(CHUNKED[:-2], b"Transfer-Encoding: identity", body=ONE + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "coding in HTTP/1.0",
        "6.1",
        post(CHUNKED[:-2], body=ONE + END, line=b"POST /mcp HTTP/1.0"),
        (400, b"HTTP/1.0 has no"),
        stays=CLOSES,
        uvicorn=(202,),
        why="its framing is to be taken as faulty, since whoever passed it on may not have read it",
    ),
    case(
        "coding with a blank before the colon",
        "5.1",
        post(b"Transfer-Encoding : chunked", body=ONE + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "coding behind a name that is empty",
        "5.1",
        post(b": x", CHUNKED[:-2], body=ONE + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "a chunk with an extension",
        "7.1.1",
        chunked(b'1e;a=b;c="d"\r\n' + NOTE + b"\r\n" + END),
        202,
        stays=STAYS,
    ),
    case(
        "a last chunk with an extension", "7.1.1", chunked(ONE + b"0;x\r\n\r\n"), 202, stays=STAYS
    ),
    case("a trailer", "7.1.2", chunked(ONE + b"0\r\nX-Sum: 1\r\n\r\n"), 202, stays=STAYS),
    case(
        "a trailer that names a host",
        "6.5.1 of 9110",
        chunked(ONE + b"0\r\nHost: evil.example\r\nOrigin: https://evil.example\r\n\r\n"),
        202,
        stays=STAYS,
        uvicorn=(400,),
        why="it takes trailers for headers, so that they can say who asks",
    ),
    case(
        "a trailer with a length",
        "6.5.1 of 9110",
        chunked(ONE + b"0\r\nContent-Length: 5\r\n\r\nabcde"),
        WRONG,
        stays=CLOSES,
        uvicorn=(400,),
    ),
    case(
        "a trailer with a fold",
        "5.2",
        chunked(ONE + b"0\r\nX: a\r\n b\r\n\r\n"),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "a trailer with a NUL",
        "5.5 of 9110",
        chunked(ONE + b"0\r\nX: a\0\r\n\r\n"),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "an endless trailer",
        "5.4 of 9110",
        chunked(ONE + b"0\r\nX: " + b"x" * 400_000),
        (431, b"trailer"),
        stays=CLOSES,
        uvicorn=(),
        why="it collects the field for as long as it comes",
        slow=True,
    ),
    case(
        "an endless extension",
        "7.1.1",
        chunked(b"1e;" + b"x" * 400_000),
        (431, b"extension"),
        stays=CLOSES,
        uvicorn=(),
        why="it reads on for as long as it comes",
        slow=True,
    ),
    case("a chunk size of nothing", "7.1", chunked(b"\r\n" + NOTE), WRONG, stays=CLOSES),
    case(
        "a chunk size in hex as C writes it",
        "7.1",
        chunked(b"0x1e\r\n" + NOTE + b"\r\n" + END),
        WRONG,
        stays=CLOSES,
    ),
    case("a negative chunk size", "7.1", chunked(b"-1\r\n" + NOTE), WRONG, stays=CLOSES),
    case("a chunk size with a plus", "7.1", chunked(b"+1e\r\n" + NOTE), WRONG, stays=CLOSES),
    case("a chunk size of other letters", "7.1", chunked(b"g\r\n" + NOTE), WRONG, stays=CLOSES),
    case(
        "a chunk size with a blank after it", "7.1", chunked(b"1e \r\n" + NOTE), WRONG, stays=CLOSES
    ),
    case(
        "a chunk size with a blank before it",
        "7.1",
        chunked(b" 1e\r\n" + NOTE),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "a chunk size beyond 64 bits",
        "7.1",
        chunked(b"fffffffffffffffff\r\n" + NOTE),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "a chunk size of 64 bits, which does not come",
        "7.1",
        chunked(b"7fffffffffffffff\r\n" + NOTE),
        (408, b"too long"),
        stays=CLOSES,
        slow=True,
    ),
    case("a chunk size with a NUL", "7.1", chunked(b"1e\0\r\n" + NOTE), WRONG, stays=CLOSES),
    case(
        "a chunk longer than its size",
        "7.1",
        chunked(b"1d\r\n" + NOTE + b"\r\n" + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "a chunk shorter than its size",
        "7.1",
        chunked(b"1f\r\n" + NOTE + b"\r\n" + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "chunks ended by LF alone", "2.2", chunked(b"1e\n" + NOTE + b"\n0\n\n"), WRONG, stays=CLOSES
    ),
    case(
        "a chunk's data ended by LF alone",
        "7.1",
        chunked(b"1e\r\n" + NOTE + b"\n" + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "an extension ended by LF alone",
        "7.1.1",
        chunked(b"1e;x\n" + NOTE + b"\r\n" + END),
        WRONG,
        stays=CLOSES,
    ),
    case(
        "a quoted extension with a break in it",
        "7.1.1",
        chunked(b'1e;a="\r\n' + NOTE + b"\r\n" + END),
        WRONG,
        stays=CLOSES,
    ),
    case("no last chunk", "8", chunked(ONE), (408, b"too long"), stays=CLOSES, slow=True),
    case(
        "a last chunk without its end",
        "8",
        chunked(ONE + b"0\r\n"),
        (408, b"too long"),
        stays=CLOSES,
        slow=True,
    ),
    case(
        "what follows chunks is another request",
        "7.1",
        chunked(ONE + END) + GET,
        202,
        AFTER,
        stays=STAYS,
    ),
]

LINES: Final = [
    case(
        "no more than is needed",
        "2.1",
        b"GET /a HTTP/1.1\r\nHost:localhost\r\n\r\n",
        NOTHING,
        stays=STAYS,
    ),
    case(
        "lines ended by LF alone",
        "2.2",
        b"GET /a HTTP/1.1\nHost: localhost\n\n",
        WRONG,
        stays=CLOSES,
    ),
    case("a field ended by LF alone", "2.2", get(b"X: y\nZ: w"), WRONG, stays=CLOSES),
    case(
        "a head ended by LF alone",
        "2.2",
        b"GET /a HTTP/1.1\r\nHost: localhost\r\n\n",
        WRONG,
        stays=CLOSES,
    ),
    case(
        "lines ended by CR alone",
        "2.2",
        b"GET /a HTTP/1.1\rHost: localhost\r\r",
        WRONG,
        stays=CLOSES,
    ),
    case("a CR in a value", "2.2", get(b"X: a\rb"), WRONG, stays=CLOSES),
    case("a CR before a line's end", "2.2", get(b"X: a\r"), WRONG, stays=CLOSES),
    case("a CR in the request line", "2.2", get(line=b"GET /a HTTP/1.1\r"), WRONG, stays=CLOSES),
    case("a fold", "5.2", get(b"X: a\r\n b"), WRONG, stays=CLOSES),
    case("a fold of a tab", "5.2", get(b"X: a\r\n\tb"), WRONG, stays=CLOSES),
    case("a fold of nothing", "5.2", get(b"X: a\r\n \r\nY: b"), WRONG, stays=CLOSES),
    case(
        "a blank before the first field",
        "2.2",
        b"GET /a HTTP/1.1\r\n Host: localhost\r\n\r\n",
        WRONG,
        stays=CLOSES,
    ),
    case("a blank before a colon", "5.1", get(b"X : y"), WRONG, stays=CLOSES),
    case("a tab before a colon", "5.1", get(b"X\t: y"), WRONG, stays=CLOSES),
    case("a field without a colon", "5", get(b"X"), WRONG, stays=CLOSES),
    case("a field without a name", "5.1 of 9110", get(b": y"), WRONG, stays=CLOSES),
    case("a field without a value", "5.5 of 9110", get(b"X:", b"Y:"), NOTHING, stays=STAYS),
    case("a name with a bracket", "5.1 of 9110", get(b"X[1]: y"), WRONG, stays=CLOSES),
    case("a name with a quote", "5.1 of 9110", get(b'X": y'), WRONG, stays=CLOSES),
    case("a name with a slash", "5.1 of 9110", get(b"X/Y: y"), WRONG, stays=CLOSES),
    case("a name with a letter beyond ASCII", "5.1 of 9110", get(b"X\xe9: y"), WRONG, stays=CLOSES),
    case(
        "a name with every odd character that it may have",
        "5.1 of 9110",
        get(b"!#$%&'*+-.^_`|~: y"),
        NOTHING,
        stays=STAYS,
    ),
    case("a name with a NUL", "5.1 of 9110", get(b"X\0: y"), WRONG, stays=CLOSES),
    case("a value with a NUL", "5.5 of 9110", get(b"X: a\0b"), WRONG, stays=CLOSES),
    case("a value with a control", "5.5 of 9110", get(b"X: a\x01b"), WRONG, stays=CLOSES),
    case("a value with DEL", "5.5 of 9110", get(b"X: a\x7fb"), WRONG, stays=CLOSES),
    case("a value with a tab", "5.5 of 9110", get(b"X: a\tb"), NOTHING, stays=STAYS),
    case("a value beyond ASCII", "5.5 of 9110", get(b"X: \xc3\xa9\xff"), NOTHING, stays=STAYS),
    case("a NUL before everything", "2.2", b"\0" + get(), WRONG, stays=CLOSES),
    case(
        "a NUL in the method",
        "3.1",
        get(line=b"GE\0T /a HTTP/1.1"),
        Answer(501, other=400),
        stays=CLOSES,
    ),
    case("a NUL in the target", "3.2", get(line=b"GET /a\0 HTTP/1.1"), WRONG, stays=CLOSES),
    case("a NUL in the version", "2.3", get(line=b"GET /a HTTP/1.\0"), WRONG, stays=CLOSES),
    case(
        "a NUL after the head",
        "9.3",
        get() + b"\0",
        NOTHING,
        WRONG,
        stays=CLOSES,
        uvicorn=(400,),
        why=LOST,
    ),
    case("an empty line before a request", "2.2", b"\r\n" + get(), NOTHING, stays=STAYS),
    case("empty lines before a request", "2.2", b"\r\n\r\n\r\n" + get(), NOTHING, stays=STAYS),
    case(
        "empty lines between requests",
        "2.2",
        get() + b"\r\n\r\n" + GET,
        NOTHING,
        AFTER,
        stays=STAYS,
    ),
    case("a blank before a request", "2.2", b" " + get(), WRONG, stays=CLOSES),
    case("a hundred fields", "5.4 of 9110", get(*[b"X: y"] * 99), NOTHING, stays=STAYS),
    case(
        "a hundred and one",
        "5.4 of 9110",
        get(*[b"X: y"] * 100),
        (431, b"100 header fields"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it has no limit, and keeps each",
    ),
    case(
        "a head as long as is taken",
        "5.4 of 9110",
        get(b"X: " + b"x" * 32_000),
        NOTHING,
        stays=STAYS,
    ),
    case(
        "a head that is longer",
        "5.4 of 9110",
        get(b"X: " + b"x" * 40_000),
        (431, b"32768"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it has no limit",
    ),
    case(
        "a name that is longer",
        "5.4 of 9110",
        get(b"x" * 40_000 + b": y"),
        (431, b"32768"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it has no limit",
    ),
    case(
        "a head that is longer, and wrong further on",
        "5.4 of 9110",
        get(b"X: " + b"x" * 40_000, b"Y: \0"),
        (431, b"32768"),
        stays=CLOSES,
        uvicorn=(400,),
        why="what is beyond the limit is not read",
    ),
    case(
        "empty lines without an end",
        "2.2",
        b"\r\n" * 20_000,
        (431, b"32768"),
        stays=CLOSES,
        uvicorn=(),
        why="it reads on for as long as they come",
        slow=True,
    ),
    case(
        "half a head",
        "8",
        b"GET /a HTTP/1.1\r\nHost: loc",
        (408, b"too long"),
        stays=CLOSES,
        slow=True,
    ),
    case("half a request line", "8", b"GET /", (408, b"too long"), stays=CLOSES, slow=True),
    case(
        "a head without its last line",
        "8",
        b"GET /a HTTP/1.1\r\nHost: localhost\r\n",
        (408, b"too long"),
        stays=CLOSES,
        slow=True,
    ),
    case("half a body", "8", post()[:-10], (408, b"too long"), stays=CLOSES, slow=True),
    case(
        "a long body that does not come",
        "8",
        post(b"Content-Length: 100000", body=b""),
        (408, b"too long"),
        stays=CLOSES,
        slow=True,
    ),
    case("nothing at all", "9.5", b"", stays=CLOSES, slow=True),
]

TARGETS: Final = [
    case("a path", "3.2.1", get(), NOTHING, stays=STAYS),
    case(
        "a path with a query", "3.2.1", get(line=b"GET /a?b=/c&d=?e HTTP/1.1"), NOTHING, stays=STAYS
    ),
    case(
        "the endpoint with a query", "3.2.1", post(line=b"POST /mcp?x=1 HTTP/1.1"), 202, stays=STAYS
    ),
    case(
        "the endpoint with a slash after it",
        "3.2.1",
        post(line=b"POST /mcp/ HTTP/1.1"),
        202,
        stays=STAYS,
    ),
    case(
        "the endpoint, percent-encoded",
        "6.2.2.2 of RFC 3986",
        post(line=b"POST /%6dcp HTTP/1.1"),
        202,
        stays=STAYS,
    ),
    case(
        "a path that ends nowhere", "3.2.1", get(line=b"GET /a%zz%2 HTTP/1.1"), NOTHING, stays=STAYS
    ),
    case(
        "a target as a URL",
        "3.2.2",
        post(line=b"POST http://localhost/mcp HTTP/1.1"),
        202,
        stays=STAYS,
    ),
    case(
        "a target as a URL without a path",
        "3.2.2",
        get(line=b"GET http://localhost HTTP/1.1"),
        (404, b"/"),
        stays=STAYS,
        uvicorn=(),
        why="it fails, and says nothing",
    ),
    case(
        "a URL of another host than Host",
        "3.2.2",
        post(line=b"POST http://evil.example/mcp HTTP/1.1"),
        (403, b"evil.example"),
        stays=STAYS,
        uvicorn=(202,),
        why="Host is to be ignored where the target says more",
    ),
    case(
        "a URL of our host, and a Host of another",
        "3.2.2",
        b"POST http://localhost/mcp HTTP/1.1\r\nHost: evil.example\r\n"
        + KIND
        + b"Content-Length: 30\r\n\r\n"
        + NOTE,
        202,
        stays=STAYS,
        uvicorn=(403,),
        why="Host is to be ignored where the target says more",
    ),
    case(
        "a URL with a user",
        "4.2.4 of 9110",
        get(line=b"GET http://localhost@evil.example/a HTTP/1.1"),
        (400, b"user"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it is to be taken as an error, if the source is not trusted",
    ),
    case(
        "a URL of https where there is no TLS",
        "7.4 of 9110",
        get(line=b"GET https://localhost/a HTTP/1.1"),
        421,
        stays=CLOSES,
        uvicorn=(404,),
        why="a request for https must be rejected unless it came over TLS",
    ),
    case(
        "a URL of another scheme",
        "3.2.2",
        get(line=b"GET ftp://localhost/a HTTP/1.1"),
        400,
        stays=CLOSES,
        uvicorn=(404,),
        why="ftp is not what is spoken here",
    ),
    case(
        "a URL without a host",
        "4.2.1 of 9110",
        get(line=b"GET http:///a HTTP/1.1"),
        400,
        stays=CLOSES,
    ),
    case("an authority", "3.2.3", get(line=b"GET localhost:80 HTTP/1.1"), WRONG, stays=CLOSES),
    case(
        "an asterisk for OPTIONS",
        "3.2.4",
        get(line=b"OPTIONS * HTTP/1.1"),
        (404, b"/"),
        stays=STAYS,
        uvicorn=(),
        why="it fails, and says nothing",
    ),
    case(
        "an asterisk for GET",
        "3.2.4",
        get(line=b"GET * HTTP/1.1"),
        400,
        stays=CLOSES,
        uvicorn=(),
        why="it fails, and says nothing",
    ),
    case("a path without a slash", "3.2", get(line=b"GET a HTTP/1.1"), WRONG, stays=CLOSES),
    case("no target", "3", get(line=b"GET HTTP/1.1"), WRONG, stays=CLOSES),
    case("a target with a blank", "3.2", get(line=b"GET /a b HTTP/1.1"), WRONG, stays=CLOSES),
    case(
        "a target with a fragment",
        "3.2",
        get(line=b"GET /a#b HTTP/1.1"),
        (400, b"fragment"),
        stays=CLOSES,
        uvicorn=(404,),
        why="no form of a target has one",
    ),
    case("a target beyond ASCII", "3.2", get(line=b"GET /\xe9 HTTP/1.1"), WRONG, stays=CLOSES),
    case("a target with a tab", "3.2", get(line=b"GET /a\t HTTP/1.1"), WRONG, stays=CLOSES),
    case(
        "a long target", "3", get(line=b"GET /a" + b"a" * 8000 + b" HTTP/1.1"), NOTHING, stays=STAYS
    ),
    case(
        "a target that is too long",
        "3",
        get(line=b"GET /" + b"a" * 9000 + b" HTTP/1.1"),
        414,
        stays=CLOSES,
        uvicorn=(404,),
        why="it has no limit",
    ),
    case(
        "a target that is longer than a head may be",
        "3",
        get(line=b"GET /" + b"a" * 40_000 + b" HTTP/1.1"),
        414,
        stays=CLOSES,
        uvicorn=(404,),
        why="it has no limit",
    ),
    case(
        "two blanks in the request line", "3", get(line=b"GET  /a  HTTP/1.1"), NOTHING, stays=STAYS
    ),
    case(
        "a tab for a blank",
        "3",
        get(line=b"GET\t/a HTTP/1.1"),
        Answer(501, other=400),
        stays=CLOSES,
    ),
    case("a blank after the version", "3", get(line=b"GET /a HTTP/1.1 "), WRONG, stays=CLOSES),
    case(
        "no Host",
        "3.2",
        b"GET /a HTTP/1.1\r\n\r\n",
        (400, b"Host"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look; the endpoint does",
    ),
    case(
        "no Host, and a URL",
        "3.2",
        b"GET http://localhost/a HTTP/1.1\r\n\r\n",
        (400, b"Host"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look",
    ),
    case(
        "two Hosts",
        "3.2",
        get(b"Host: evil.example"),
        (400, b"Two Host"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look; the endpoint does",
    ),
    case(
        "the same Host twice",
        "3.2",
        get(b"Host: localhost"),
        (400, b"Two Host"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look; the endpoint does",
    ),
    case(
        "an empty Host",
        "3.2",
        post(line=b"POST /mcp HTTP/1.1").replace(b"localhost", b""),
        (403, b"not one of"),
        stays=STAYS,
    ),
    case(
        "a Host of two",
        "3.2",
        get(host=b"Host: localhost, evil.example\r\n"),
        (400, b"no host"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look; the endpoint does",
    ),
    case(
        "a Host with a blank",
        "3.2",
        get(host=b"Host: localhost evil.example\r\n"),
        (400, b"no host"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look; the endpoint does",
    ),
    case(
        "a Host with a user",
        "3.2",
        get(host=b"Host: localhost@evil.example\r\n"),
        (400, b"no host"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look; the endpoint does",
    ),
    case(
        "a Host with a path",
        "3.2",
        get(host=b"Host: localhost/a\r\n"),
        (400, b"no host"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look; the endpoint does",
    ),
    case(
        "a Host with a port of words",
        "3.2",
        get(host=b"Host: localhost:http\r\n"),
        (400, b"no host"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look; the endpoint does",
    ),
    case("a Host that is an address", "3.2", get(host=b"Host: [::1]:80\r\n"), NOTHING, stays=STAYS),
]

VERSIONS: Final = [
    case("HTTP/1.0", "9.3", b"GET /a HTTP/1.0\r\n\r\n", NOTHING, stays=CLOSES),
    case(
        "HTTP/1.0 that asks to stay",
        "9.3",
        b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        NOTHING,
        stays=STAYS,
    ),
    case("HTTP/1.0 with a body", "6.3", post(line=b"POST /mcp HTTP/1.0"), 202, stays=CLOSES),
    case(
        "HTTP/1.0 with two Hosts",
        "3.2",
        b"GET /a HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        (400, b"Two Host"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look",
    ),
    case("HTTP/1.1 that wants to go", "9.6", get(b"Connection: close"), NOTHING, stays=CLOSES),
    case(
        "HTTP/1.1 that wants to go, in a list",
        "9.6",
        get(b"Connection: x, Close"),
        NOTHING,
        stays=CLOSES,
    ),
    case(
        "what follows a wish to go", "9.6", get(b"Connection: close") + GET, NOTHING, stays=CLOSES
    ),
    case(
        "HTTP/0.9",
        "2.3",
        b"GET /a\r\n\r\n",
        (505, b"0.9"),
        stays=CLOSES,
        uvicorn=(404,),
        why="it answers with a head that such a client does not know",
    ),
    case(
        "HTTP/0.9 by its name",
        "2.3",
        b"GET /a HTTP/0.9\r\n\r\n",
        (505, b"0.9"),
        stays=CLOSES,
        uvicorn=(404,),
        why="there is no such version",
    ),
    case(
        "HTTP/2.0 in the words of 1.1",
        "15.6.6 of 9110",
        get(line=b"GET /a HTTP/2.0"),
        (505, b"2.0"),
        stays=CLOSES,
        uvicorn=(404,),
        why="the major version says that it would not understand the answer",
    ),
    case(
        "the preface of HTTP/2",
        "3.4 of RFC 9113",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        400,
        stays=CLOSES,
    ),
    case("HTTP/1.2", "2.3", get(line=b"GET /a HTTP/1.2"), WRONG, stays=CLOSES),
    case("HTTP/3.0", "2.3", get(line=b"GET /a HTTP/3.0"), WRONG, stays=CLOSES),
    case("HTTP/11", "2.3", get(line=b"GET /a HTTP/11"), WRONG, stays=CLOSES),
    case("HTTP/1.10", "2.3", get(line=b"GET /a HTTP/1.10"), WRONG, stays=CLOSES),
    case("a version in small letters", "2.3", get(line=b"GET /a http/1.1"), WRONG, stays=CLOSES),
    case("no version that is known", "2.3", get(line=b"GET /a HTTQ/1.1"), WRONG, stays=CLOSES),
    case("the version of RTSP", "2.3", b"OPTIONS /a RTSP/1.0\r\n\r\n", NOTHING, stays=CLOSES),
    case(
        "TLS at a plain port",
        "3",
        b"\x16\x03\x01\x00\xc0\x01\x00\x00\xbc\x03\x03" + b"\x00" * 40,
        WRONG,
        stays=CLOSES,
    ),
    case(
        "SSH at a plain port",
        "3",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        Answer(501),
        stays=CLOSES,
        uvicorn=(400,),
        why="what it begins with is a method that nobody knows",
    ),
]

METHODS: Final = [
    case(
        "a method in small letters",
        "9.1 of 9110",
        get(line=b"get /a HTTP/1.1"),
        501,
        stays=CLOSES,
        uvicorn=(400,),
        why="a method is told by its letters, and this one is not known: 501 is due",
    ),
    case(
        "a method that is not known",
        "9.1 of 9110",
        get(line=b"FETCH /a HTTP/1.1"),
        501,
        stays=CLOSES,
        uvicorn=(400,),
        why="501 is due",
    ),
    case(
        "a method that begins as one that is",
        "9.1 of 9110",
        get(line=b"GETS /a HTTP/1.1"),
        501,
        stays=CLOSES,
        uvicorn=(400,),
        why="501 is due",
    ),
    case("no method", "3.1", get(line=b" /a HTTP/1.1"), WRONG, stays=CLOSES),
    case("a method with a colon", "3.1", get(line=b":GET /a HTTP/1.1"), WRONG, stays=CLOSES),
    case(
        "PUT at the endpoint",
        "15.5.6 of 9110",
        get(line=b"PUT /mcp HTTP/1.1"),
        (405, b"PUT"),
        stays=STAYS,
    ),
    case(
        "TRACE at the endpoint",
        "9.3.8 of 9110",
        get(line=b"TRACE /mcp HTTP/1.1"),
        (405, b"TRACE"),
        stays=STAYS,
    ),
    case("GET at the endpoint", "15.5.6 of 9110", get(line=b"GET /mcp HTTP/1.1"), 405, stays=STAYS),
    case(
        "HEAD",
        "9.3.2 of 9110",
        get(line=b"HEAD /a HTTP/1.1"),
        Answer(404, bodiless=True),
        stays=STAYS,
    ),
    case(
        "HEAD at the endpoint",
        "9.3.2 of 9110",
        get(line=b"HEAD /mcp HTTP/1.1"),
        Answer(405, bodiless=True),
        stays=STAYS,
    ),
    case(
        "HEAD and then GET",
        "9.3.2 of 9110",
        get(line=b"HEAD /a HTTP/1.1") + GET,
        Answer(404, bodiless=True),
        AFTER,
        stays=STAYS,
    ),
    case(
        "HEAD that is refused",
        "9.3.2 of 9110",
        get(b"Host: b", line=b"HEAD /a HTTP/1.1"),
        Answer(400, bodiless=True),
        stays=CLOSES,
        uvicorn=(404,),
        why="it does not look for a second Host",
    ),
    case(
        "HEAD with a fold",
        "9.3.2 of 9110",
        get(b"X: a\r\n b", line=b"HEAD /a HTTP/1.1"),
        Answer(400, bodiless=True),
        stays=CLOSES,
        uvicorn=(400,),
        why="as uvicorn, which sends a body with it",
    ),
    case("OPTIONS", "9.3.7 of 9110", get(line=b"OPTIONS /mcp HTTP/1.1"), 204, stays=STAYS),
    case(
        "OPTIONS of a page that may",
        "9.3.7 of 9110",
        get(
            b"Origin: http://localhost:3000",
            b"Access-Control-Request-Method: POST",
            line=b"OPTIONS /mcp HTTP/1.1",
        ),
        204,
        stays=STAYS,
    ),
    case(
        "OPTIONS of a page that may not",
        "9.3.7 of 9110",
        get(
            b"Origin: https://evil.example",
            b"Access-Control-Request-Method: POST",
            line=b"OPTIONS /mcp HTTP/1.1",
        ),
        (403, b"evil.example"),
        stays=STAYS,
    ),
    case(
        "CONNECT",
        "9.3.6 of 9110",
        get(line=b"CONNECT example.com:443 HTTP/1.1") + GET,
        (501, b"CONNECT"),
        stays=CLOSES,
        uvicorn=(),
        why="it fails, and says nothing",
    ),
    case(
        "CONNECT to a path",
        "3.2.3",
        get(line=b"CONNECT /mcp HTTP/1.1"),
        (501, b"CONNECT"),
        stays=CLOSES,
        uvicorn=(405,),
        why="no method of ours",
    ),
]

UPGRADES: Final = [
    case(
        "an upgrade to WebSocket",
        "7.8 of 9110",
        get(
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ),
        NOTHING,
        stays=STAYS,
    ),
    case(
        "an upgrade to HTTP/2",
        "7.8 of 9110",
        get(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        ),
        NOTHING,
        stays=STAYS,
    ),
    case(
        "what follows an upgrade",
        "7.8 of 9110",
        get(b"Connection: Upgrade", b"Upgrade: h2c") + GET,
        NOTHING,
        AFTER,
        stays=STAYS,
        uvicorn=(404,),
        why="who ignores an upgrade goes on in HTTP/1.1; uvicorn loses what came with it",
    ),
    case(
        "an upgrade with a body, and what follows",
        "7.8 of 9110",
        post(b"Connection: Upgrade", b"Upgrade: h2c") + GET,
        202,
        AFTER,
        stays=STAYS,
        uvicorn=(400,),
        why="it takes the body for another protocol",
    ),
    case(
        "an upgrade with chunks, and what follows",
        "7.8 of 9110",
        chunked(ONE + END, b"Connection: Upgrade", b"Upgrade: h2c") + GET,
        202,
        AFTER,
        stays=STAYS,
        uvicorn=(400,),
        why="it takes the body for another protocol",
    ),
    case(
        "an upgrade without its connection",
        "7.8 of 9110",
        get(b"Upgrade: h2c") + GET,
        NOTHING,
        AFTER,
        stays=STAYS,
    ),
    case(
        "expecting to be told to go on",
        "10.1.1 of 9110",
        post(b"Expect: 100-continue"),
        202,
        stays=STAYS,
    ),
    case("the same in capitals", "10.1.1 of 9110", post(b"EXPECT: 100-CONTINUE"), 202, stays=STAYS),
    case(
        "expecting it without a body",
        "10.1.1 of 9110",
        get(b"Expect: 100-continue"),
        NOTHING,
        stays=STAYS,
    ),
    case(
        "expecting it of chunks",
        "10.1.1 of 9110",
        chunked(ONE + END, b"Expect: 100-continue"),
        202,
        stays=STAYS,
    ),
    case(
        "expecting it, refused before the body",
        "10.1.1 of 9110",
        post(b"Expect: 100-continue", b"Origin: https://evil.example", body=b"")[:-4].replace(
            b"Content-Length: 0", b"Content-Length: 30"
        )
        + b"\r\n\r\n",
        (403, b"evil"),
        stays=CLOSES,
    ),
    case(
        "expecting it in HTTP/1.0",
        "10.1.1 of 9110",
        post(b"Expect: 100-continue", line=b"POST /mcp HTTP/1.0"),
        202,
        stays=CLOSES,
        uvicorn=(202,),
    ),
    case(
        "expecting something else",
        "10.1.1 of 9110",
        post(b"Expect: 200-ok"),
        417,
        stays=CLOSES,
        uvicorn=(202,),
        why="it does not look; 417 may be said, and tells the client",
    ),
    case(
        "expecting two things",
        "10.1.1 of 9110",
        post(b"Expect: 100-continue, x"),
        417,
        stays=CLOSES,
        uvicorn=(202,),
        why="it does not look",
    ),
]

PIPELINES: Final = [
    case("two at once", "9.3.2", get() + GET, NOTHING, AFTER, stays=STAYS),
    case(
        "five at once, of the same head", "9.3.2", post() * 5, 202, 202, 202, 202, 202, stays=STAYS
    ),
    case(
        "the same head with bodies of others",
        "9.3.2",
        post() + post(body=b"{" + b" " * 28 + b"}") + post(),
        202,
        (400, b"error"),
        202,
        stays=STAYS,
    ),
    case(
        "heads of other lengths in turn",
        "9.3.2",
        (post() + post(body=NOTE + b" ")) * 3,
        *[202] * 6,
        stays=STAYS,
    ),
    case(
        "more heads than are remembered",
        "9.3.2",
        b"".join(post(b"X: %d" % n) for n in (1, 2, 3, 4, 5, 6, 1, 2, 6)),
        *[202] * 9,
        stays=STAYS,
    ),
    case(
        "an endpoint's error in the middle",
        "9.3.2",
        post() + post(body=b"nonsense") + GET,
        202,
        (400, b"error"),
        AFTER,
        stays=STAYS,
    ),
    case(
        "an error of the framing in the middle",
        "9.3.2",
        post() + post(b"Content-Length: x") + GET,
        202,
        WRONG,
        stays=CLOSES,
        uvicorn=(400,),
        why=LOST,
    ),
    case(
        "a smuggled request behind an error",
        "11.2",
        get() + b"GARBAGE\r\n\r\n" + GET,
        NOTHING,
        501,
        stays=CLOSES,
        uvicorn=(400,),
        why=LOST,
    ),
    case(
        "a known head, then one that differs by a blank",
        "9.3.2",
        post() + post(b"Content-Length:  30") + post(),
        202,
        202,
        202,
        stays=STAYS,
    ),
    case(
        "a known head, then both length and coding",
        "11.2",
        post() + post(b"Content-Length: 30", CHUNKED[:-2]),
        202,
        WRONG,
        stays=CLOSES,
        uvicorn=(400,),
        why=LOST,
    ),
    case(
        "a known head, and half a body",
        "8",
        post() + post()[:-5],
        202,
        (408, b"too long"),
        stays=CLOSES,
        slow=True,
    ),
    case(
        "a known head, and half of it",
        "8",
        post() + post()[:40],
        202,
        (408, b"too long"),
        stays=CLOSES,
        slow=True,
    ),
    case(
        "a known head, then from another page",
        "9.3.2",
        post() + post(b"Origin: https://evil.example"),
        202,
        (403, b"evil"),
        stays=STAYS,
    ),
    case(
        "chunks, then a length, then chunks",
        "9.3.2",
        chunked(ONE + END) + post() + chunked(ONE + END) + GET,
        202,
        202,
        202,
        AFTER,
        stays=STAYS,
    ),
    case(
        "HTTP/1.0 among them",
        "9.3.2",
        post() + post(line=b"POST /mcp HTTP/1.0") + GET,
        202,
        202,
        stays=CLOSES,
    ),
]

CASES: Final = [*FRAMING, *CODINGS, *LINES, *TARGETS, *VERSIONS, *METHODS, *UPGRADES, *PIPELINES]
