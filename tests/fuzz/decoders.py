"""Everything of ours that reads what others wrote, as one table: a new decoder is a new row.

A row's `read` is given bytes and either comes back or raises what it says it raises. A `Stream` is
given the same bytes in pieces, and must come to the same wherever they were cut.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import Raw
from tests.fuzz.grammar import Grammar
from tests.official import definitions, methods, schema
from tests.peers import MODERN, Desk, ask, echo, hello, modern, reply, say
from tests.transport.http.host import Host
from tests.transport.http.host import mirrored as mirroring

from interlock.cli import arguments
from interlock.cli.problem import Problem
from interlock.client import reading
from interlock.client.skills import fault_of
from interlock.client.target import read_target
from interlock.client.tasks import created
from interlock.errors import ConfigError, PeerError, RpcError
from interlock.gateway.config import load
from interlock.protocol.call import Call
from interlock.protocol.dispatch import Dispatch, admit
from interlock.protocol.exchange import Exchange
from interlock.protocol.ladder import Mirror, Refusal
from interlock.protocol.outgoing import Outgoing, outcome
from interlock.protocol.schema import BadSchema, compile  # noqa: A004  the room's word
from interlock.protocol.sealing import Keyring, Unsealed
from interlock.protocol.session import Envelope, Session
from interlock.server import forms
from interlock.transport.http import elsewhere
from interlock.transport.http.asgi import App
from interlock.transport.http.client import HttpLink
from interlock.transport.http.engine import Request, Response
from interlock.transport.http.guards import Guards
from interlock.transport.http.sse2024_client import (
    _endpoint as endpoint_in,  # pyright: ignore[reportPrivateUsage]
)
from interlock.transport.http.streams import Keep, Streams
from interlock.wire import content, frontmatter, headers, jsonrpc, meta, ndjson, skills, sse, uri
from interlock.wire.jsonrpc import UNREADABLE, Fault
from interlock.wire.lifecycle import InitializeParams
from interlock.wire.meta import ClientCapabilities, Implementation, RawResult, RequestMeta
from interlock.wire.methods import BY_NAME, ROWS, TO_CLIENT, TO_SERVER
from interlock.wire.notices import CancelledNotice, LogNotice, ProgressNotice
from interlock.wire.parameters import BadAnnotation, disagreement, mirrored, values
from interlock.wire.prompts import Prompt
from interlock.wire.resources import Resource, ResourceTemplate
from interlock.wire.skills import Skill
from interlock.wire.tools import CallToolParams, Tool
from interlock.wire.versions import BY_NAME as REVISIONS

Read: TypeAlias = Callable[[bytes], object]
Raises: TypeAlias = tuple[type[Exception], ...]


class Row(NamedTuple):
    """One decoder, what it may raise, and some of what it is made for."""

    name: str
    read: Read
    samples: Sequence[bytes]
    raises: Raises = ()


class Stream(NamedTuple):
    """One decoder that is fed in pieces; what it makes of them must not depend on the cuts."""

    name: str
    read: Callable[[Iterable[bytes]], object]
    samples: Sequence[bytes]


class Talk(NamedTuple):
    """One side of ours, given what its peer sends in pieces; it may come to no other end."""

    name: str
    read: Callable[[Sequence[bytes]], Coroutine[Any, Any, object]]
    samples: Sequence[bytes]


def written(value: Any) -> bytes:
    return json.dumps(value).encode()


def official(revision: str, definition: str, count: int = 3) -> list[Any]:
    """Instances of a definition: always the same ones."""
    chance = [random.Random(f"{revision} {definition} {number}") for number in range(count)]
    made = [Grammar(revision, each).make(definition) for each in chance]
    # Any word will do for the schema, not for whoever reads the result.
    return [
        each | {"resultType": "complete"} if each.get("resultType", "task") != "task" else each
        for each in made
    ]


def messages(revision: str) -> list[bytes]:
    """A valid message of every kind that a revision has."""
    unions = ("ClientRequest", "ServerRequest", "ClientNotification", "ServerNotification")
    found = [name for union in unions for name in methods(revision, union).values()]
    return [written(each) for name in found for each in official(revision, name, 1)]


MESSAGES: Final = [
    *messages("2025-11-25"),
    *messages(MODERN),
    hello(),
    reply(1, {"content": []}),
    b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x","data":{"a":[1]}}}',
    b"[" + ask("ping", 1) + b"," + say("notifications/initialized") + b"]",
]


# Streams.


def lines(pieces: Iterable[bytes], limit: int = 200) -> object:
    splitter = ndjson.Splitter(limit)
    found: list[bytes] = []
    for piece in pieces:
        try:
            found += splitter.feed(piece)
        except ndjson.LineTooLong as error:
            found += error.lines
    return [*found, splitter.flush()]


def events(pieces: Iterable[bytes]) -> object:
    reader = sse.Reader()
    found = [event for piece in pieces for event in reader.feed(piece)]
    return [*found, reader.last_event_id]


def bounded_events(pieces: Iterable[bytes]) -> object:
    """With a limit, which event is dropped may depend on the cuts; how long one may be does not."""
    reader = sse.Reader(40)
    found: list[sse.Event] = []
    for piece in pieces:
        try:
            found += reader.feed(piece)
        except sse.EventTooLong as error:
            found += error.events
    return all(len(event.data) <= 40 for event in found)


EVENTS: Final = [
    sse.event(b'{"a":1}'),
    sse.event(b"one\r\ntwo\rthree\n", id="7", name="message", retry=9),
    sse.event(b"", id="prime", retry=0) + sse.comment("alive") + sse.event(b"x", id="2"),
    b"\xef\xbb\xbfdata: x\n\n",
    b"data\r\rdata:\r\r\nid\n\ndata: \xff\n\n",
]
STREAMS: Final = [
    Stream("ndjson", lines, [b"\n".join(MESSAGES[:3]), b"a\r\nb\n\n \n" + b"x" * 300 + b"\nc"]),
    Stream("sse", events, EVENTS),
    Stream("sse with a limit", bounded_events, [*EVENTS, sse.event(b"x" * 60) + EVENTS[0]]),
]


# What is read from text and headers.


def text(read: Callable[[str], object]) -> Read:
    # What is no UTF-8 comes as lone surrogates, as arguments of a command line do.
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def latin(read: Callable[[str], object]) -> Read:
    return lambda data: read(data.decode("latin-1"))


def header_lines(data: bytes) -> list[tuple[bytes, bytes]]:
    """Headers as a server hands them over: names in lower case, values without their line's end."""
    pairs = (line.partition(b":") for line in data.split(b"\n"))
    return [(name.strip().lower(), value.strip()) for name, _, value in pairs]


def encoded(value: str) -> object:
    sent = headers.encode_value(value)
    assert headers.decode_value(sent) == value
    return sent


def inspect(data: bytes) -> object:
    return Guards(origins=["https://app.example.com"]).inspect(header_lines(data))


def template(value: str) -> object:
    made = uri.Template(value)
    return made.match("note://a/b%20c?x=1&y=%2F"), made.match(value)


def expanded(value: Any) -> object:
    if isinstance(value, dict):
        made = uri.Template("x://{a}{/b*}{.h}{?c,d:3}{&e*}")
        return made.expand(cast("dict[str, Any]", value))
    return None


TEMPLATES: Final = [uri.Template(each) for each in ("note://{id}", "file:///{+path}{?a,b*}", "{x}")]


def matched(value: str) -> object:
    return [each.match(value) for each in TEMPLATES]


def written_event(value: str) -> object:
    """What we write we read back."""
    first, _, rest = value.partition("|")
    (event,) = sse.Reader().feed(sse.event(rest.encode("utf-8", "replace"), id=first, name=first))
    return event


HEADERS: Final = [
    b"host: 127.0.0.1:8000\ncontent-type: application/json\naccept: text/event-stream, */*;q=0.1",
    b"host: localhost\nmcp-protocol-version: 2026-07-28\nmcp-method: tools/call\nmcp-name: =?base64?w6k=?=",
    b"host: localhost:80\ncontent-length: 17\norigin: http://localhost:3000",
    b"host: [::1]\nmcp-session-id: abc\nlast-event-id: 00ff00-0-1\ncontent-encoding: gzip",
]

TEXTS: Final = [
    Row(
        "headers.decode_value",
        latin(headers.decode_value),
        [b"echo", b"=?base64?5pel5pys?=", b" a b "],
        (headers.BadHeader,),
    ),
    Row(
        "headers.encode_value",
        text(encoded),
        ["日本".encode(), b"a b", b"=?base64?x?="],
        (headers.BadHeader,),
    ),
    Row("headers.text", headers.text, [b"\t x "]),
    Row("guards.inspect", inspect, HEADERS),
    Row(
        "uri.Template",
        text(template),
        [b"note://{id}", b"file:///{+path}{?a,b*}", b"x://{a:3}/{b}{#c}"],
        (uri.BadTemplate,),
    ),
    Row(
        "uri.Template.match",
        text(matched),
        [b"note://a%20b", b"file:///a/b?a=1&b=2", b"file:///..%2f..%2fetc"],
    ),
    Row(
        "sse.event",
        text(written_event),
        [b"7|x\ny", b"7|", "é|日本".encode()],
        (ValueError,),
    ),
    Row(
        "client.target",
        text(read_target),
        [
            b"https://u:p@example.com:80/mcp",
            b"npx -y 'a b'",
            b"server.py",
            b"http://[::1",
            b"x" * 300 + b".py",
        ],
        (ConfigError,),
    ),
    Row(
        "cli.arguments.pairs",
        text(lambda value: arguments.pairs(value.split("\n"))),
        [b"a=1\nb={}", b"c=@nothing"],
        (Problem,),
    ),
    Row("cli.arguments.whole", text(arguments.whole), [b'{"a":[1]}', b"@nothing"], (Problem,)),
]


# What is read from JSON.


def json_value(read: Callable[[Any], object], *, kind: type = object) -> Read:
    """A decoder of values that came out of JSON already."""

    def take(data: bytes) -> object:
        try:
            value = msgspec.json.decode(data)
        except UNREADABLE:
            return None
        return read(value) if isinstance(value, kind) else None

    return take


def raw_value(read: Callable[[Raw], object]) -> Read:
    """A decoder of raw members, which are JSON as far as `jsonrpc.read` made sure of it."""

    def take(data: bytes) -> object:
        message = jsonrpc.read(b'{"jsonrpc":"2.0","method":"x","params":%b}' % data)
        return None if type(message) is Fault else read(message.params)

    return take


def result_value(read: Callable[[RawResult], object]) -> Read:
    def take(data: bytes) -> object:
        message = jsonrpc.read(b'{"jsonrpc":"2.0","id":1,"result":%b}' % data)
        if type(message) is Fault:
            return None
        return read(outcome(message, "x", modern=True))

    return take


def of_type(type_: Any) -> Read:
    return msgspec.json.Decoder(type_).decode


def session(revision: str = "2025-11-25") -> Session:
    opened = Session()
    opened.open(
        InitializeParams(
            protocol_version=revision,
            capabilities=ClientCapabilities(),
            client_info=Implementation(name="x", version="1"),
        )
    )
    return opened


def admitted(data: bytes) -> object:
    """As a request of either side, in every state that a session can be in."""
    message = jsonrpc.read(data)
    if type(message) is Fault:
        return Refusal.of(message).encode()
    found: list[object] = []
    for table in (TO_SERVER, TO_CLIENT):
        for state in (None, Session(), session(), session("2025-03-26"), Refusal(-32001, "gone")):
            for mirror in (None, Mirror(), Mirror(MODERN, "tools/call", "echo"), Mirror("x", "y")):
                found.append(admit(message, table, mirror, state))
                if isinstance(found[-1], Refusal):
                    json.loads(found[-1].encode())
    return found


def exchanged(data: bytes) -> object:
    """On both ends, with something open on each."""
    found: list[object] = []
    for table, state in ((TO_SERVER, Session()), (TO_SERVER, session()), (TO_CLIENT, None)):
        exchange: Exchange[str] = Exchange(table, state)
        exchange.waiting.update({1: "waits", "s1": "waits"})
        found.append(exchange.receive(data))
    return found


def configured(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mcp.json")
        path.write_bytes(data)
        return load(path, {"HOME": "/home/x", "KEY": "k"})


def mirrored_values(data: bytes) -> object:
    wanted = mirrored(
        {
            "properties": {
                "a": {"type": "string", "x-mcp-header": "A"},
                "b": {"type": "integer", "x-mcp-header": "B"},
                "c": {"properties": {"d": {"type": "boolean", "x-mcp-header": "D"}}},
            }
        }
    )
    sent = values(wanted, data)
    assert (
        disagreement(
            wanted, data, [(name.lower().encode(), value.encode()) for name, value in sent.items()]
        )
        is None
    )
    return disagreement(wanted, data, [(b"mcp-param-a", b"x"), (b"mcp-param-b", data[:50])])


def fitted(value: Any) -> object:
    schema = cast("dict[str, Any]", value)
    return arguments.by_schema([("a", "1"), ("b", "x")], schema), arguments.described(schema)


KEYRING: Final = Keyring(b"k" * 32, clock=lambda: 1000.0)
SEALED: Final = KEYRING.seal(b"something", bound=b"", ttl=10)

SCHEMAS: Final = [
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}},
    {"$defs": {"n": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/n"}]}}, "$ref": "#/$defs/n"},
    {"properties": {"a": {"type": "string", "x-mcp-header": "Region", "pattern": "^(a+)+$"}}},
]
CONFIG: Final = {
    "mcpServers": {
        "a": {"command": "x", "args": ["${KEY}", "b"], "env": {"A": "${B:-c}"}, "timeout": 5},
        "b": {"type": "http", "url": "https://example.com/mcp", "headers": {"X": "$KEY"}},
    }
}
RESULTS: Final[dict[str, Callable[[RawResult], object]]] = {
    "CallToolResult": reading.read_tool_result,
    "ReadResourceResult": partial(reading.read_contents, uri="note://1"),
    "GetPromptResult": reading.read_prompt,
}
PAGES: Final = {
    "ListToolsResult": ("tools", Tool),
    "ListPromptsResult": ("prompts", Prompt),
    "ListResourcesResult": ("resources", Resource),
    "ListResourceTemplatesResult": ("resourceTemplates", ResourceTemplate),
}


def samples(*names: str) -> list[bytes]:
    return [written(each) for name in names for each in official(MODERN, name)]


def resumed(id: str) -> object:
    """An event id that a client says it has seen, of a session with one stream."""
    streams = Streams(Keep())
    streams.standing().add(b"x")
    return streams.find(id)


def batched(data: bytes) -> object:
    found = jsonrpc.read_batch(data)
    return [jsonrpc.read(each) for each in found] if isinstance(found, list) else found


def filled(value: Any) -> object:
    """What a client filled into a form."""
    form = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
    return forms.complaint(form, value)


def a_skill(value: Any) -> object:
    return fault_of(msgspec.convert(value, Skill))


SKILL: Final[dict[str, Any]] = {
    "uri": "skill://tidy/SKILL.md",
    "frontmatter": {"name": "tidy", "description": "x"},
    "resources": [],
}

VALUES: Final = [
    Row("jsonrpc.read", jsonrpc.read, MESSAGES),
    Row(
        "jsonrpc.read_error",
        raw_value(jsonrpc.read_error),
        [written(each) for each in official(MODERN, "Error")],
    ),
    Row("dispatch.admit", admitted, MESSAGES),
    Row("exchange.receive", exchanged, MESSAGES),
    Row("content.read", raw_value(content.read), samples("ContentBlock"), UNREADABLE),
    Row("meta.RequestMeta", of_type(RequestMeta), samples("RequestMetaObject"), UNREADABLE),
    Row("meta.members", meta.members, samples("MetaObject"), UNREADABLE),
    Row("meta.carried", meta.carried, samples("RequestMetaObject", "MetaObject"), UNREADABLE),
    *(
        Row(
            f"client.reading {name}",
            result_value(read),
            samples(name),
            (RpcError, PeerError),
        )
        for name, read in RESULTS.items()
    ),
    *(
        Row(
            f"client.reading {name}",
            result_value(
                lambda result, of=of: reading.read_page(result, of[0], cast("Any", of[1]), of[0])
            ),
            samples(name),
            (RpcError, PeerError),
        )
        for name, of in PAGES.items()
    ),
    Row(
        "sealing.Keyring",
        text(lambda t: KEYRING.open(t, bound=b"")),
        [SEALED.encode()],
        (Unsealed,),
    ),
    Row(
        "parameters.mirrored",
        json_value(mirrored, kind=dict),
        [written(each) for each in SCHEMAS],
        (BadAnnotation,),
    ),
    Row(
        "parameters.values",
        raw_value(lambda raw: mirrored_values(bytes(raw))),
        [written({"a": "é", "b": 42.0, "c": {"d": True}})],
    ),
    Row(
        "schema.compile",
        json_value(lambda value: compile(value).complaint(value)),
        [written(each) for each in SCHEMAS],
        (BadSchema,),
    ),
    Row("gateway.config", configured, [written(CONFIG), b'{"mcpServers":{}}'], (ConfigError,)),
    Row(
        "uri.Template.expand",
        json_value(expanded),
        [written({"a": 1, "b": ["x"]})],
        (uri.BadValue,),
    ),
    Row(
        "cli.arguments.by_schema",
        json_value(fitted, kind=dict),
        [written(each) for each in SCHEMAS],
        (Problem,),
    ),
]


def rows_of_methods() -> list[Row]:
    """The params and the result of every method, as any peer may send them."""
    found: list[Row] = []
    for row in ROWS:
        params: list[bytes] = []
        results: list[bytes] = []
        for name in REVISIONS:
            known = methods(name, "ClientRequest") | methods(name, "ServerRequest")
            asked = known.get(row.name, "")
            answer = asked.replace("Request", "Result")
            if asked:
                params += [written(each.get("params", {})) for each in official(name, asked, 2)]
            if answer in definitions(schema(name)):
                results += [written(each) for each in official(name, answer, 2)]
        found.append(Row(f"params of {row.name}", row.decoder.decode, params, UNREADABLE))
        found.append(
            Row(f"result of {row.name}", of_type(row.result), results or [b"{}"], UNREADABLE)
        )
    return found


LATER: Final = [
    Row("jsonrpc.read_batch", batched, MESSAGES),
    Row(
        "frontmatter.read",
        text(frontmatter.read),
        [b"---\nname: tidy\ndescription: |\n  x\nlist: [1, 0o7, {a: .5}]\n---\n# Tidy"],
        (frontmatter.BadFrontmatter,),
    ),
    Row(
        "skills.name_in",
        text(lambda uri: (skills.is_name(uri), skills.root_of(uri), skills.name_in(uri))),
        [b"skill://tidy/SKILL.md"],
    ),
    Row("client.skills", json_value(a_skill, kind=dict), [written(SKILL)], UNREADABLE),
    Row(
        "client.tasks",
        result_value(created),
        [written(each) for each in official(MODERN, "CreateTaskResult")],
        (PeerError, RpcError),
    ),
    Row(
        "http.sse2024 endpoint",
        partial(endpoint_in, "http://127.0.0.1:80/sse"),
        [b"/messages?session=1", b"http://127.0.0.1:80/m", b"http://[::1"],
        (PeerError,),
    ),
    Row("http.elsewhere", elsewhere.read, [elsewhere.write(session())]),
    Row("http.streams", latin(resumed), [b"00ff00-0-1", b"0-0-0"]),
    Row("server.forms", json_value(filled, kind=dict), [written({"size": 1})]),
]
NOTICES: Final = [
    Row(f"params of {name}", of_type(type_), [written(sample)], UNREADABLE)
    for name, type_, sample in (
        ("progress", ProgressNotice, {"progressToken": 1, "progress": 0.5}),
        ("message", LogNotice, {"level": "info", "data": [1]}),
        ("cancelled", CancelledNotice, {"requestId": "a", "reason": "x"}),
    )
]

# Whole sides.


async def asked_over_http(pieces: Sequence[bytes]) -> object:
    """An endpoint whose request body comes so. It answers; nothing is left running."""
    app = App(Desk(echo=echo))
    try:
        headers = mirroring(modern("tools/call", params={"name": "echo"}))
        asked = Host(app).post(pieces or [b""], headers)
        body = await asked.whole()
    finally:
        await app.stop()
    assert asked.status in (200, 202, 400, 404)
    return asked.status, json.loads(body) if body else None


class _Answer:
    """A response whose body comes in pieces."""

    def __init__(self, pieces: Sequence[bytes], kind: str) -> None:
        self.status = 200
        self.headers = {"content-type": kind}
        self._pieces = pieces

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def read(self, limit: int) -> bytes:
        return b"".join(self._pieces)

    def close(self) -> None:
        pass


class _Answering:
    """An engine that gives one answer."""

    def __init__(self, answer: _Answer) -> None:
        self._answer = answer

    async def send(self, request: Request) -> Response:
        return self._answer

    async def close(self) -> None:
        pass


async def answered_over_http(pieces: Sequence[bytes], kind: str) -> object:
    """A client whose answer comes so."""
    envelope = Envelope(REVISIONS[MODERN], Implementation(name="x", version="1"))
    link = HttpLink("http://127.0.0.1/mcp", _Answering(_Answer(pieces, kind)), Dispatch(Desk()))
    link.settle(Outgoing(envelope))
    row = BY_NAME["tools/call"]
    call = Call(row, CallToolParams(name="x"), envelope)
    try:
        return bytes((await link.handle(call)).body)
    except (PeerError, RpcError) as error:
        return str(error)
    finally:
        await link.close()


ANSWERS: Final = [
    reply(1, {"content": [], "resultType": "complete"}),
    reply(1, {"resultType": "input_required", "requestState": "x"}),
    b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"x"}}',
]
STREAMED: Final = [
    b"".join(sse.event(each) for each in (say("notifications/progress", {"progress": 1}), answer))
    for answer in ANSWERS
]
TALKS: Final = [
    Talk("http.asgi", asked_over_http, MESSAGES),
    Talk("http.client of JSON", partial(answered_over_http, kind="application/json"), ANSWERS),
    Talk("http.client of events", partial(answered_over_http, kind="text/event-stream"), STREAMED),
]

TABLE: Final = [*TEXTS, *VALUES, *rows_of_methods(), *LATER, *NOTICES]
