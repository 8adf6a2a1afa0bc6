"""Every requirement of the protocol that we know of, a row each, and where the specification says
it. Which of them have a test is what `report.py` finds out; why one has none stands in `UNTESTED`.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

REVISIONS: Final = {
    "A": "2024-11-05",
    "B": "2025-03-26",
    "C": "2025-06-18",
    "D": "2025-11-25",
    "E": "2026-07-28",
}
LEVELS: Final = ("M", "M!", "S", "S!", "Y", "i")
"""must, must not, should, should not, may; a fact of the wire, or what engineering makes of it.
Where one row holds several, the strongest."""
ROLES: Final = {"s": "server", "c": "client", "h": "gateway or host", "*": "everyone"}

_REPOSITORY: Final = "https://github.com/modelcontextprotocol/modelcontextprotocol"
_SPECIFICATION: Final = f"{_REPOSITORY}/blob/main/docs/specification"
_PAGES: Final = {
    "base": "basic/index.mdx",
    "ver": "basic/versioning.mdx",
    "life": "basic/lifecycle.mdx",
    "tr": "basic/transports.mdx",
    "http": "basic/transports/streamable-http.mdx",
    "stdio": "basic/transports/stdio.mdx",
    "pat": "basic/patterns/index.mdx",
    "mrtr": "basic/patterns/mrtr.mdx",
    "sub": "basic/patterns/subscriptions.mdx",
    "ping": "basic/utilities/ping.mdx",
    "auth": "basic/authorization.mdx",
    "ltask": "basic/utilities/tasks.mdx",
    "tools": "server/tools.mdx",
    "res": "server/resources.mdx",
    "prm": "server/prompts.mdx",
    "disc": "server/discover.mdx",
    "cache": "server/utilities/caching.mdx",
    "cmpl": "server/utilities/completion.mdx",
    "log": "server/utilities/logging.mdx",
    "page": "server/utilities/pagination.mdx",
    "canc": "basic/utilities/cancellation.mdx",
    "prog": "basic/utilities/progress.mdx",
    "elic": "client/elicitation.mdx",
    "samp": "client/sampling.mdx",
    "roots": "client/roots.mdx",
    "dep": "deprecated.mdx",
    "chg": "changelog.mdx",
}
_PAGES_OF_E: Final = {
    "tr": "basic/transports/index.mdx",
    "canc": "basic/patterns/cancellation.mdx",
    "prog": "basic/patterns/progress.mdx",
    "auth": "basic/authorization/index.mdx",
    "asd": "basic/authorization/authorization-server-discovery.mdx",
    "asec": "basic/authorization/security-considerations.mdx",
    "reg": "basic/authorization/client-registration.mdx",
}
_ELSEWHERE: Final = {
    "xt": "https://github.com/modelcontextprotocol/ext-tasks/blob/main/specification/draft/tasks.md",
    "xa": f"{_REPOSITORY}/tree/main/docs/extensions/apps",
    "ext": f"{_REPOSITORY}/blob/main/docs/extensions/overview.mdx",
    "xcc": f"{_REPOSITORY}/blob/main/docs/extensions/auth/oauth-client-credentials.mdx",
    "xema": f"{_REPOSITORY}/blob/main/docs/extensions/auth/enterprise-managed-authorization.mdx",
    "sbp": (
        f"{_REPOSITORY}/blob/main/docs/docs/2026-07-28/tutorials/security/"
        "security_best_practices.mdx"
    ),
    "host": (
        f"{_REPOSITORY}/blob/main/docs/docs/2026-07-28/develop/clients/client-best-practices.mdx"
    ),
    "cf": "https://github.com/modelcontextprotocol/conformance/tree/main/src/scenarios",
}


class Requirement(Struct, frozen=True):
    """One row. *revisions* are the dates it holds for, *links* the pages that say it."""

    id: str
    level: str
    revisions: tuple[str, ...]
    role: str
    links: tuple[str, ...]
    sentence: str
    section: str

    @property
    def must(self) -> bool:
        return self.level in ("M", "M!")


def revisions_of(span: str) -> tuple[str, ...]:
    """The dates of "A+" (from A on), "A-D", "B" (only)."""
    first, last = span[0], span[-1]
    last = "E" if last == "+" else last
    return tuple(date for letter, date in REVISIONS.items() if first <= letter <= last)


def link_of(page: str) -> str:
    """The address of "e/base", "sep-1034", "schema" or a page of an extension."""
    if page in _ELSEWHERE:
        return _ELSEWHERE[page]
    if page.startswith("sep-"):
        return f"{_REPOSITORY}/issues/{page.removeprefix('sep-')}"
    letter, _, key = page.partition("/")
    revision = REVISIONS[letter.upper()]
    if key == "schema":
        return f"{_REPOSITORY}/blob/main/schema/{revision}/schema.json"
    path = _PAGES_OF_E.get(key) if letter == "e" else None
    return f"{_SPECIFICATION}/{revision}/{path or _PAGES[key]}"


# id | level | revisions | role | pages | what it asks, in our words
_TABLE: Final = """
# 1. The envelope
RPC-01 | M | A+ | * | e/base d/tr | Every message is JSON-RPC 2.0, encoded as UTF-8, with `jsonrpc` "2.0".
RPC-02 | M | A+ | * | e/base | The id of a request is a string or an integer; null and fractions are none.
RPC-03 | M | A+ | * | e/base d/base | A sender does not use an id again: never within a legacy session, not while it is in flight in the modern era.
RPC-04 | M | A+ | * | e/base | A response repeats the id with its type and has either a result or an error; only where the id was illegible may an error lack it.
RPC-05 | M! | A+ | * | e/base | A notification has no id and is never answered, not even with an error.
RPC-06 | M | A+ | * | e/base | The code of an error is an integer and its message a string.
RPC-07 | M | A+ | s | b/base b/life c/chg | Batches are taken in 2025-03-26, `initialize` in none of them; from 2025-06-18 on an array is an invalid request.
RPC-08 | M | E | s | e/base | Every result says its kind in `resultType`.
RPC-09 | M | E | c | e/base | A result without `resultType` is complete; one of an unknown kind is no answer.
RPC-10 | M! | A-D | s | d/schema | Nothing that only the modern era knows is stamped on a legacy result.
RPC-11 | i | A+ | s | e/base | The standard codes of JSON-RPC say what is wrong: -32700, -32600, -32601, -32602, -32603.
RPC-12 | M! | E | * | e/base | No new code is taken from -32000 to -32019, and none received there means anything but -32002.
RPC-13 | M! | E | s | e/base | From -32020 to -32099 only the codes that the specification defines are sent.
RPC-14 | M! | E | * | e/base e/res | -32002 and -32042 are never sent; a client still understands -32002.
RPC-15 | S | E | * | e/base | What goes wrong on our own side is an exception of its own, never a made-up error of the peer.
RPC-16 | M | E | s | e/base xt | -32021 names the missing capabilities in the shape of client capabilities, with HTTP status 400.
RPC-17 | M | E | s | e/ver | -32022 names the versions supported, as discovery does, and the one requested, with HTTP status 400.
RPC-18 | i | A-D | * | d/res d/elic d/samp d/life | Legacy codes: -32002 for no such resource, -32042 for a URL to visit, -1 for a refused sampling, -32602 for a version.
RPC-19 | M | E | s | e/base e/http | Before a stream starts an error has the HTTP status of its code: 400, or 404 for an unknown method.
RPC-20 | M | A+ | * | e/schema | Unknown fields are ignored, and handed on by whoever relays a message.
RPC-21 | i | A+ | s | e/base cf | A request with several faults is answered with the first in a fixed order: envelope, `_meta`, headers, version, method, params.
META-01 | M | C+ | * | e/base | A key of `_meta` is an optional prefix of dotted labels, a slash and a name.
META-02 | M! | A+ | * | e/base d/base | Prefixes whose second label is `modelcontextprotocol` or `mcp` belong to the protocol.
META-03 | S | E | * | e/base | Keys of our own have a reversed domain name as prefix.
META-04 | M | E | * | e/base | The bare keys `progressToken`, `traceparent`, `tracestate` and `baggage` mean what the specification says.
META-05 | M | E | c | e/base | Every request of a client carries its protocol version and its capabilities, and should say who it is.
META-06 | M | E | s | e/base cf | A required key that is missing or of a wrong type is answered with -32602 and 400; a missing `clientInfo` is not.
META-07 | S | E | s | e/base | Every result says in `_meta` which server gave it.
META-08 | S! | E | * | e/base e/disc | Who a client or a server says it is decides nothing.
META-09 | M | E | s | e/base e/sub | Everything on a listen stream carries its subscription id: the id of the listen request, of the same type.
META-10 | i | D | * | d/ltask | `related-task` and `model-immediate-response` are what legacy tasks put into `_meta`.
META-11 | M! | A+ | * | e/base | Values at reserved keys that we do not know are passed on unread.
OTEL-01 | M | E | * | e/base | Trace context travels in `_meta` in the W3C formats, without prefix.
OTEL-02 | i | E | h | e/base | The message's trace context counts on every transport; a gateway makes its own span the parent downstream.
OTEL-03 | i | E | s | e/base | A malformed trace context is ignored and fails nothing.
OTEL-04 | i | E | * | e/base sep-414 | Trace context also goes into embedded requests and into the work of tasks.
# 2. Statelessness and lifecycle
ST-01 | M! | E | s | e/base | A modern server concludes nothing from earlier requests: no version, capability, identity or log level.
ST-02 | S | E | s | e/base | Conversations of different clients may mix on one connection.
ST-03 | M | E | * | e/base | State across requests is named in parameters: handles, requestState, task ids.
ST-04 | S! | E | c | e/base | A program is not tied to one conversation.
ST-05 | M! | E | s | e/tools e/res e/prm | Lists do not differ by connection, nor as a side effect of other requests.
ST-06 | M! | E | * | e/pat e/stdio e/http | A modern server sends no requests, a modern client no responses.
ST-07 | M! | E | s | e/base | A server relies on no capability that this request does not declare; what it cannot do without is refused with -32021.
ST-08 | M | E | * | e/base | Every message pattern is supported: request and response, input required, subscription.
LC-01 | M | A-D | * | d/life | `initialize` comes first, with version, capabilities and client info; its result has version, capabilities and server info.
LC-02 | M | A-D | c | d/life | After the answer to `initialize` the client sends `notifications/initialized`.
LC-03 | S! | A-D | * | d/life | Before the handshake is over nobody asks anything but `ping`.
LC-04 | M | A-D | s | d/life | The server answers with the version asked for if it supports it, else with its latest.
LC-05 | M | A-D | c | d/life | The client asks for a legacy version it supports, and leaves if the answer is one it does not.
LC-06 | M | A-D | * | d/life | Both sides keep to the negotiated version and to negotiated capabilities.
LC-07 | M | A-D | * | d/ping | Either side answers `ping` promptly with an empty result.
LC-08 | M! | A-D | c | d/canc | A client does not cancel `initialize`.
LC-09 | S | A+ | * | d/life e/canc | Every request has a timeout, settable per request; when it ends, the request is cancelled.
LC-10 | i | A-D | * | d/life | What the capabilities of either side may say, by revision.
# 3. Versions and two eras
VN-01 | i | A+ | * | e/ver | Modern is what carries its version in each request; legacy is what shakes hands.
VN-02 | M | E | * | e/ver | A version that a server does not implement is refused with -32022 and a list; the client retries with one of it, or tells.
VN-03 | M | E | s | e/disc | Every server implements `server/discover`, whose result may be cached.
VN-04 | i | E | s | e/disc e/ver | What discovery lists, the refusal of a version lists too, and a modern request may name.
VN-05 | M | E | * | e/ver | Extensions are a map from prefixed identifiers to objects of settings.
VN-06 | M | E | * | e/ver ext | An extension that only one side knows changes nothing; extensions are off by default.
VN-07 | i | E | * | ext | An extension that breaks gets a new identifier.
DS-01 | Y | A+ | s | e/ver | One endpoint, or one process, serves both eras at once.
DS-02 | M | A+ | s | e/ver | A request with modern `_meta` is served without state; `initialize` opens a legacy process or session.
DS-03 | i | A+ | s | e/http cf | Over HTTP the body decides the era, whatever the method; only without any hint the header does.
DS-04 | i | A+ | s | e/http | GET and DELETE belong to legacy sessions, and are refused with 405 otherwise.
DS-05 | i | A+ | s | e/stdio | Discovery does not settle the era of a process; both may mix.
DS-06 | S | E | s | e/ver | A server that is modern only answers `initialize` with an error that names its versions.
DS-07 | i | A+ | s | e/ver e/schema | A method of the other era does not exist: -32601.
DS-08 | i | A+ | s | e/mrtr | One handler serves both eras: legacy clients are asked by requests, modern ones by `input_required`.
DS-09 | i | A+ | s | e/sub | One change reaches legacy sessions and modern subscriptions alike.
DC-01 | S | A+ | c | e/stdio | Over stdio a client asks `server/discover` first; anything but a modern answer leads to `initialize`.
DC-02 | M! | A+ | c | e/stdio | The way back to `initialize` does not hang on one error code.
DC-03 | i | A+ | c | e/stdio | Errors of any code, silence and an exit at the first message all lead to the handshake; late answers are dropped.
DC-04 | S | A+ | c | e/http | Over HTTP a 400 is read before it is taken for a legacy server; 400, 404 or 405 to `initialize` leads to HTTP+SSE.
DC-05 | i | A+ | c | e/http | Outages, 5xx, log-ins and redirects say nothing of an era.
DC-06 | S | A+ | c | e/ver | The era is remembered for a process or a URL.
DC-07 | i | E | c | e/stdio | A client that is modern only probes too, so as to fail clearly.
DC-08 | i | A+ | c | e/http e/base | A client of one era sends nothing of the other: no handshake, ping or DELETE there, no `_meta` keys or mirrored headers here.
DC-09 | i | A+ | c | e/ver | Every pair of eras either works or fails with an error that says what to do.
# 4. Streamable HTTP, modern
HM-01 | M | E | s | e/http | One path takes POST; session ids and event ids of older clients are ignored, and none are given.
HM-02 | M | E | s | e/http | An Origin that is not allowed is refused with 403.
HM-03 | i | E | s | cf | A Host that is not allowed is refused as well.
HM-04 | M | E | c | e/http | A client only POSTs, accepts JSON and event streams, and sends JSON.
HM-05 | M | E | s | e/http | A body is one request or one notification.
HM-06 | M | E | s | e/http | A notification is answered with 202 and no body, or with an HTTP error.
HM-07 | M | E | * | e/http | A request is answered with JSON or with an event stream; a client takes both.
HM-10 | M | E | s | e/http | A stream carries only what belongs to its request, no requests, and ends with the response.
HM-11 | S | E | s | e/http | Streams tell proxies not to buffer them.
HM-12 | i | E | * | e/http | Silence is filled with comments, which clients ignore.
HM-13 | M | E | * | e/http e/chg | Streams have no event ids and are not resumed; what broke off is asked again under a new id.
HM-14 | i | E | s | e/http | JSON or stream is decided when the first byte must go out, so that errors keep their status.
HM-15 | M | E | s | e/http e/canc | A client that closes the stream has cancelled the request, and gets nothing more.
HM-16 | M! | E | s | e/http | Progress and log messages never travel on a listen stream.
HH-01 | M | E | * | e/http | `MCP-Protocol-Version` comes with every POST and agrees with the body, or is refused with 400 and -32020.
HH-02 | M | E | s | e/http | An unsupported version is 400 and -32022, an unknown method 404 and -32601.
HH-03 | M | E | s | e/http | A modern request without the version header is refused with 400 and -32020.
HH-04 | M | E | c | e/http | `Mcp-Method` repeats the method on every request.
HH-05 | M | E | c | e/http xt | `Mcp-Name` repeats the name of a tool or prompt, the URI of a resource or the id of a task.
HH-06 | M | E | s | e/http cf | A mirrored header that is missing, different or invalid is refused with 400 and -32020.
HH-07 | M | E | c | e/http | A value that a header cannot carry plainly is sent as Base64 between marks.
HH-08 | M | E | s | e/http cf | Marked values are decoded strictly before they are compared; what lacks a mark is literal.
HH-09 | M | E | h | e/http | Intermediaries refuse what fails validation with 4xx, and forward parameters they do not know.
XH-01 | M | E | * | e/http e/tools | A tool may mark parameters to be mirrored in headers, and an HTTP client mirrors them.
XH-02 | M | E | * | e/tools | The name of such a header is a token, and unique within its tool whatever its case.
XH-03 | M | E | * | e/tools | Only strings, booleans and integers within 2^53 can be mirrored.
XH-04 | M | E | * | e/http | Only what is reachable by `properties` alone can be mirrored.
XH-05 | M | E | c | e/http | A tool with an invalid mark is left out of the list, the others stay.
XH-06 | M | E | c | e/http cf | `Mcp-Param-{Name}` is sent for each marked argument that is there and not null.
XH-07 | M | E | s | e/http | The server compares decoded headers with arguments; a missing or different one is 400 and -32020.
XH-08 | S | E | c | e/http | On a mismatch the client lists the tools again and tries once more.
XH-09 | S! | E | s | e/tools | Secrets are not mirrored.
XH-10 | i | E | h | e/http | A gateway writes mirrored headers anew for each upstream.
# 5. Streamable HTTP, legacy
HL-01 | M | B-D | s | d/tr | One path takes POST and GET.
HL-02 | M | B-D | c | d/tr | A client accepts JSON and event streams on POST, event streams on GET.
HL-03 | M | B-D | s | d/tr b/tr | A body of responses and notifications is answered with 202 and nothing.
HL-04 | M | B-D | s | d/tr | A request is answered with JSON or a stream, which may carry messages of that request first.
HL-05 | S! | B-D | s | d/tr | A client that disconnects has not cancelled its request.
HL-06 | M | B-D | s | d/tr | GET gives a stream or 405; no responses travel on it.
HL-07 | M! | B-D | s | d/tr | One message travels on one stream only.
HL-08 | M! | B-D | * | d/tr sep-1699 | A stream is resumed by its last event id, and nothing of other streams is replayed.
HL-09 | M | D | * | d/tr sep-1699 | A server may close a stream that it began with an event id; the client comes back after `retry` milliseconds.
HL-10 | S | B-D | s | d/tr | A session id is visible ASCII and cannot be guessed.
HL-11 | M | B-D | * | d/tr | The client sends the session id from then on; without it 400, after its end 404, and then it begins anew.
HL-12 | M | C-D | * | c/tr d/tr | The negotiated version comes as a header with every later request; an unsupported one is refused with 400.
HL-13 | M | B-D | s | d/tr | An Origin that is not allowed is refused.
HL-14 | M | B-D | s | sbp | A session is no proof of who is asking.
HL-15 | i | B-D | s | d/tr | A second `initialize` in a session is 400, an unknown session 404.
HL-16 | i | B-D | s | d/tr | What a handler asks its client travels on the stream of that call.
HL-17 | M | B-D | * | sep-2260 | A server asks only during a request of the client.
SS-01 | M | A | s | a/tr | HTTP+SSE has a stream, whose first event names where to POST, and that place.
SS-02 | M | A | s | a/tr | Everything a server sends over HTTP+SSE is a `message` event; a POST is answered with 202.
SS-03 | S | A | s | e/http e/dep | It is served beside the newer transport.
SS-04 | i | A | c | d/tr c/tr b/tr | A client whose first POST fails with 400, 404 or 405 tries HTTP+SSE.
# 6. stdio
SD-01 | M | A+ | * | e/stdio d/tr | One message a line, in UTF-8; nothing else on stdout or stdin.
SD-02 | S! | A+ | c | e/stdio | What comes on stderr is a log, and no error.
SD-03 | M! | A+ | * | e/stdio d/tr | Modern servers write no requests and modern clients no responses; legacy ones may.
SD-04 | M | E | c | e/stdio | The client tells subscriptions on one pipe apart by their id.
SD-05 | M | E | * | e/stdio | A client cancels by `notifications/cancelled`; the server sends nothing more for that id.
SD-06 | S | A+ | * | e/stdio d/life | A client ends a program by closing its stdin, then by signals; a server exits when stdin ends.
SD-07 | M | A+ | c | e/stdio e/sub | A program that died is started again, and then its subscriptions are opened again.
SD-08 | M | E | * | e/tr | Transports of one's own keep the message format, the patterns and the metadata of requests.
SD-09 | i | A+ | s | e/stdio | There are no headers, so -32020 never occurs.
SD-10 | i | A+ | * | e/stdio | CRLF and blank lines are tolerated, lines are bounded, garbage is answered by servers and ignored by clients.
# 7. Results and caching
RC-01 | M | E | s | e/cache | Lists, reads and discovery say how long they may be kept and by whom.
RC-02 | M! | E | * | e/cache | `input_required` has no hints, and what came of a retry is not cached.
RC-03 | M | E | c | e/cache | What is kept is kept under its method and everything that decides the result.
RC-04 | S | E | c | e/cache | No hint, zero and less mean stale at once; else fresh for so many milliseconds.
RC-05 | M | E | c | e/cache | A TTL is no interval to poll in; whoever polls adds jitter and backs off.
RC-06 | M! | E | c | e/cache | Private entries are never shared between authorizations.
RC-07 | i | E | c | e/cache | A change that is told makes the matching entry stale at once.
RC-08 | M | E | s | e/cache | All pages of a list have one scope, each its own lifetime; an invalid cursor drops them all.
RC-09 | M | E | s | e/cache | Access does not depend on the scope said; what differs by user is private.
RC-10 | S | E | s | e/tools | Tools are listed in a stable order.
# 8. Multi round-trip requests
MR-01 | M! | E | * | e/mrtr | Only tools/call, prompts/get and resources/read may be answered with `input_required`.
MR-02 | M | E | s | e/mrtr | `input_required` has questions, a state, or both.
MR-03 | M | E | s | e/mrtr | Questions are a map from unique keys to requests of elicitation, sampling or roots.
MR-04 | M! | E | s | e/mrtr e/base | Nothing is asked that this request did not declare.
MR-05 | M! | E | s | e/mrtr | A server does not count on the client's coming back.
MR-06 | M | E | s | e/mrtr cf | State that decides anything is protected, and refused where it was changed.
MR-07 | M | E | s | e/mrtr | State is bound to who asked, to the request and to a time.
MR-08 | i | E | s | e/mrtr | Several workers share the keys that seal state, and keys can be changed.
MR-09 | M | E | c | e/mrtr | The client answers every question before it retries.
MR-10 | M | E | c | e/mrtr | A retry is the same request under a new id, with answers under their keys and the state unchanged if there was one.
MR-11 | M! | E | c | e/mrtr | Answers and state are used for their own request only.
MR-12 | S | E | s | e/mrtr cf | Unknown answers are ignored, missing ones asked for again, malformed ones refused.
MR-13 | i | E | * | e/mrtr e/samp e/roots | Declining is an ordinary answer.
MR-14 | i | E | c | e/mrtr | A client bounds how often it is asked for one request.
MR-15 | i | E | s | e/mrtr | A handler that runs again gets earlier answers by their keys, not by order.
MR-16 | i | E | h | e/mrtr | A gateway hands questions on only where its caller declared them, and gives no upstream another's state.
# 9. Subscriptions and changes
SU-01 | M | E | s | e/sub | The first message of a subscription acknowledges it, with its id and what will be told.
SU-02 | M! | E | s | e/sub xt | Nothing is told that was not asked for.
SU-03 | S | E | c | e/sub | The client compares what was acknowledged with what it asked for.
SU-04 | Y | E | * | e/sub | Several subscriptions may be open at once, each under its own id.
SU-05 | M | E | * | e/sub e/canc | A client ends a subscription as it cancels a request; a server ends one with its result.
SU-06 | M | E | c | e/sub | A subscription that broke off is opened again, and what was missed is fetched anew.
SU-07 | i | E | s | e/sub | Streams are kept alive and bounded in number; only what can be told is advertised.
SU-08 | i | E | s | e/sub | A subscription ends with the authorization that it was opened under.
SU-09 | i | A-D | s | d/res | resources/subscribe and unsubscribe are answered with an empty result, and updates name the URI.
SU-10 | S | A-D | s | d/tools d/res d/prm | List changes are told only where `listChanged` was declared, and then are.
# 10. Tools
TL-01 | M | A+ | s | e/tools | A server with tools declares them and answers tools/list; `listChanged` is declared only if it is told.
TL-02 | i | A+ | s | e/schema | A tool has a name and an input schema, and what its revision knows beside them.
TL-03 | S | D+ | s | e/tools sep-986 | A tool's name has 1 to 128 letters, digits, `_`, `-` and `.`, and is unique.
TL-04 | S | E | h | e/tools | Tools of several servers are told apart by names that the operator gave, not by what servers call themselves.
TL-05 | M | A+ | s | e/tools e/schema | An input schema is an object whose type is object.
TL-06 | i | C+ | s | e/tools sep-2106 | An output schema describes an object, from 2026-07-28 on any value.
TL-07 | M | A+ | * | cf | A schema arrives as it was written, unknown keywords included.
TL-08 | S | E | s | e/tools | Tools are listed in a stable order.
JS-01 | M | D+ | * | e/base | Without `$schema` a schema is of 2020-12, which is supported; an unsupported dialect fails gracefully.
JS-02 | M! | E | * | e/base | A `$ref` is never fetched from the network by itself.
JS-03 | S | E | * | e/base | A `$ref` that cannot be resolved refuses; it does not let everything pass.
JS-04 | S | E | * | e/base | Depth, number and time of schemas are bounded.
JS-05 | i | D+ | * | e/base | Validators are compiled when first needed, and kept; `format` is an annotation.
TC-01 | i | A+ | s | e/tools | Absent arguments are empty ones.
TC-02 | M | A+ | s | e/tools | An unknown tool and malformed params are answered with -32602.
TC-03 | S | D+ | s | d/tools | Arguments that do not fit are a result with `isError`, and say what to do.
TC-04 | i | A+ | s | e/tools | An exception of a handler is a result with `isError`, without a trace.
TC-05 | i | A+ | s | e/schema | A result has `content`, which may be empty.
TC-06 | i | A+ | s | e/schema | Content is text, image, audio, a link or a resource; older revisions get text for what they do not know.
TC-07 | M | C+ | * | e/tools | Structured content fits the output schema, and null is a value of its own.
TC-08 | i | C-D | s | e/tools | Structured content that is no object is adapted for clients that want objects.
TC-09 | i | C+ | * | e/tools | A result with `isError` is not held against the output schema.
TC-10 | M | B+ | c | e/schema e/tools | Annotations have defaults, and are not trusted.
TC-11 | M | A+ | s | e/tools | A server validates what it is given.
TC-12 | S | A+ | c | e/tools | A person can deny a call; errors reach the model.
TC-13 | i | E | s | e/tools sbp | Tools with state give opaque handles and check them on each call.
TC-14 | i | D | s | d/ltask | A tool says whether it can, cannot or must run as a task.
IC-01 | i | D+ | * | e/base | Icons have a source, and may have type, sizes and theme.
IC-02 | M | D+ | h | e/base | Who shows icons shows PNG and JPEG.
IC-03 | M | D+ | h | e/base | Who shows icons takes https and data URIs only, and does not trust what they lead to.
# 11. Resources
RS-01 | M | A+ | s | e/res | A server with resources declares them, `subscribe` and `listChanged` each for itself.
RS-02 | i | A+ | s | e/schema | A resource has a URI and a name, a template a URI template and a name.
RS-03 | Y | A+ | s | e/res | A read gives contents with URI and text or Base64, perhaps several.
RS-04 | M | A+ | * | e/res | A resource that is not there is -32602 in the modern era, -32002 before.
RS-05 | M! | E | s | e/res | A missing resource is no empty list.
RS-06 | i | E | s | e/res | A read may be answered with `input_required`.
RS-07 | i | A+ | s | e/res | Annotations say for whom, how important, and since when.
RS-08 | M | A+ | s | e/res | URIs of one's own scheme follow RFC 3986.
RS-09 | M | A+ | s | e/res | URIs are validated, no path escapes its folder, and binary data is encoded.
RS-10 | i | A+ | s | e/res | Templates match after plain resources, and decode what they match.
RS-11 | i | A+ | s | e/res | A client hears of updates of what it subscribed to, listed or not.
# 12. Prompts
PR-01 | M | A+ | s | e/prm | A server with prompts declares them.
PR-02 | i | A+ | s | e/prm | Arguments are strings; messages have a role and one content block.
PR-03 | M | A+ | s | e/prm | An unknown prompt or a missing argument is -32602; arguments are validated.
PR-04 | i | E | s | e/prm | A prompt may be answered with `input_required`.
# 13. Completion
CM-01 | M | B+ | s | e/cmpl | A server that completes declares it; else -32601.
CM-02 | i | A+ | s | e/cmpl | What is completed is an argument of a prompt or of a template, given the others.
CM-03 | M | A+ | s | e/cmpl | At most a hundred values, best first; bad references are -32602.
# 14. Pagination
PG-01 | i | A+ | s | e/page | Lists come in pages; no `nextCursor` means the end.
PG-02 | M | A+ | c | e/page | A cursor is opaque; an empty one is one.
PG-03 | S | A+ | s | e/page | Cursors are stable, and an invalid one is -32602.
PG-04 | i | A+ | c | e/page | A client reads no list that does not end.
# 15. Logging, progress, cancellation
LG-01 | i | A+ | s | e/log | Eight levels in order; a message has level, data and perhaps a logger.
LG-02 | M | A+ | s | e/log | A server that logs declares it.
LG-03 | i | A-D | s | d/log | `logging/setLevel` settles the least level of a session.
LG-04 | M! | E | s | e/log | Nothing is logged to a request that names no level, nothing below it, and nothing elsewhere.
LG-05 | M! | A+ | s | e/log | Logs hold no secrets.
PGS-01 | M | A+ | s | e/prog | Progress only rises, under the token of a request that runs, and ends with it.
PGS-02 | i | A+ | * | e/prog | Both sides report progress in legacy revisions, only the server in the modern era.
PGS-03 | i | A+ | h | e/prog | A gateway maps tokens.
CX-01 | i | A+ | * | e/canc d/canc | Either side cancels its own legacy requests; modern clients on stdio, or by closing the stream.
CX-02 | S | A+ | * | e/canc | What is cancelled stops and is not answered; unknown and malformed cancellations are ignored.
CX-03 | i | B-D | s | d/canc | A cancelled legacy request over HTTP ends its stream without an answer.
CX-04 | S | A+ | * | e/canc | Timeouts are settable per request and cancel it; progress may extend them up to a cap.
# 16. What clients answer
EL-01 | M | C+ | * | e/elic d/elic | Elicitation is declared with its modes, and only those are used.
EL-02 | i | C+ | * | e/elic | An answer accepts, declines or cancels; only an accepted form has content.
EL-03 | i | C+ | s | e/elic | A form is a flat object of strings, numbers, booleans and choices.
EL-04 | i | D+ | * | e/elic | Without a mode it is a form.
EL-05 | S | C+ | * | e/elic sep-1034 | Defaults are filled in; both sides validate the answer.
EL-06 | M | D+ | s | e/elic | Secrets are not asked for by form.
EL-07 | S | D+ | * | e/elic | A URL to visit comes with a message; accepting is consent only.
EL-08 | Y | D | s | d/elic | -32042 lists the URLs that must be visited first.
EL-09 | M! | D+ | s | e/elic | Such a URL holds no data of the user and opens nothing by itself.
EL-10 | M | D+ | c | e/elic | A URL is shown whole, opened only with consent, out of the model's sight, and never fetched ahead.
EL-11 | M | C+ | c | e/elic | The user sees which server asks, and can decline, cancel and review.
EL-12 | M | C+ | s | e/elic | An answer is bound to the user who was asked.
EL-13 | M | C+ | s | e/elic | A server deals with a no, a cancellation and a failure.
SA-01 | M | A+ | * | e/samp | Sampling is declared; tools and context only where they were.
SA-02 | M | A+ | * | e/samp | A question has messages and a limit of tokens that is kept.
SA-03 | i | A+ | * | e/samp | An answer has role, content, model and why it stopped.
SA-04 | M | D+ | * | e/samp | Results of tools stand alone in a message, and each use of a tool gets one.
SA-05 | i | A+ | c | d/samp | A user who refuses is the error -1 in legacy revisions.
SA-06 | S | A+ | c | e/samp | Sampling is approved by a person and bounded.
RO-01 | M | A+ | c | e/roots | Roots are declared, file URIs, and refused with -32601 where they are not.
RO-02 | M | A+ | c | e/roots | Only roots that a user allowed are told, and paths are validated.
DP-01 | S | E | * | e/dep | What is deprecated keeps working and warns once.
# 17. Tasks
TD-01 | M | D | * | d/ltask | Tasks are declared by kind of request, and used only as declared.
TD-02 | M | D | * | d/ltask | A tool that cannot run as a task does not, one that must does, else -32601.
TD-03 | M | D | s | d/ltask | `task` in the params asks for a task, which is returned at once; who has no tasks ignores it.
TD-04 | i | D | s | d/ltask | Task ids are made by the receiver and cannot be guessed.
TD-05 | i | D | s | d/ltask | A task works, may need input, and ends completed, failed or cancelled, for good.
TD-06 | i | D | s | d/ltask | A result with `isError` is a failed task.
TD-07 | M | D | s | d/ltask | tasks/get does not wait; tasks/result does, and gives what the request would have given.
TD-08 | M | D | * | d/ltask | Messages of a task name it in `_meta`.
TD-09 | M | D | s | d/ltask | tasks/list gives, in pages, what tasks/get can reach.
TD-10 | M | D | s | d/ltask | tasks/cancel cancels a task that runs, and refuses one that ended with -32602.
TD-11 | S | D | s | d/ltask | A task says when it was made and changed, how long it is kept and how often to ask.
TD-12 | i | D | s | d/ltask | A progress token lives as long as its task; status notifications are optional.
TD-13 | M | D | s | d/ltask | A task belongs to who made it.
TD-14 | i | D | s | d/ltask | Unknown ids and cursors are -32602.
TX-01 | i | E | * | xt | Both sides declare the extension; there is no core capability for tasks.
TX-02 | M | E | * | xt | The server decides, and makes a task only where the request declared the extension; clients take both answers.
TX-03 | i | E | s | xt | A created task is flat, and holds neither result nor questions.
TX-04 | M! | E | s | xt | A task is not returned before it can be fetched.
TX-05 | i | E | s | xt | tasks/get gives the task with its questions, its result or its error.
TX-06 | M | E | s | xt | A result with `isError` is a completed task; the result is what the call would have given.
TX-07 | M | E | s | xt | tasks/update takes some or all answers; keys are unique for the task's life.
TX-08 | M! | E | * | xt | tasks/cancel asks a task to end; notifications/cancelled does not.
TX-09 | i | E | s | xt | tasks/result and tasks/list do not exist, and `task` in params is ignored.
TX-10 | M | E | s | xt | An unknown task is -32602, an undeclared extension -32021.
TX-11 | M! | E | s | xt | A subscription to tasks tells whole tasks, and never progress or logs.
TX-12 | M | E | * | xt | Over HTTP `Mcp-Name` is the id of the task.
TX-13 | S | E | s | xt | Input before a task is asked for as usual; during one through the task.
TX-14 | S | E | * | xt | A task may end with its time to live, and is not asked for more often than it says.
TX-15 | S | E | * | xt | Task ids cannot be guessed, and each use is checked.
TX-16 | i | E | * | xt | The names of tasks are reserved.
TX-17 | i | A+ | c | xt | A call that became a task can be awaited like any other.
# 18. Skills
SK-01 | i | D+ | s | cf | Skills are an extension, beside the resources capability.
SK-02 | i | D+ | s | cf | skills/list and skills/get give URI, frontmatter and resources with digest and size.
SK-03 | i | D+ | s | cf | The URI of a skill ends in its name and SKILL.md; number and size are bounded.
SK-04 | i | D+ | s | cf | resources/directory/read lists what is directly in a directory.
SK-05 | i | D+ | c | cf | A client fetches nothing ahead, and checks size, digest and frontmatter.
# 19. Apps
AP-01 | M | D+ | s | xa | An app is offered to hosts that declare its type; a text result always works.
AP-02 | Y | D+ | s | xa | An app is a `ui://` resource of its own type, and need not be listed.
AP-03 | i | D+ | s | xa | The resource says what it may connect to and use.
AP-04 | i | D+ | s | xa | The tool names its app, and who may see the tool.
AP-05 | M | D+ | h | xa | A host hides from the model what is for the app, and from the app what is for the model.
AP-06 | M! | D+ | h | xa | A host allows an app no more than it declared.
AP-07 | i | D+ | h | xa | A web host shows an app in a sandbox of another origin.
AP-08 | i | D+ | h | xa | App and host speak JSON-RPC.
AP-09 | i | D+ | h | xa | The host tells the app input and result of its tool.
AP-10 | i | D+ | h | xa | The host says what it can do and how it looks.
AP-11 | i | D+ | * | xa | What of this is a library's: registration, capability test, rewriting in a gateway.
# 20. Authorization
AU-01 | M | B+ | * | e/auth | Authorization is for HTTP; programs take credentials from their environment.
AU-02 | i | B+ | * | e/auth | An MCP server is a resource server of OAuth 2.1.
RS9-01 | M | C+ | s | e/asd | The server says who may issue its tokens (RFC 9728).
RS9-02 | M | C+ | s | e/asd | That is found through a 401 or at a well-known place.
RS9-03 | S | D+ | s | e/auth | The challenge names the scopes needed.
RS9-04 | M | B+ | s | e/auth | 401 without a valid token, 403 without scope, 400 if malformed.
RS9-05 | S | D+ | s | e/auth | A 403 says which scopes are lacking.
RS9-06 | M | E | s | e/auth | A broader scope contains the narrower.
RS9-07 | S! | E | s | e/auth | `offline_access` is not asked for by servers.
RS9-08 | M | B+ | s | e/auth e/asec sbp | Only tokens that were issued for this server are taken.
RS9-09 | M | B+ | s | e/auth | Every HTTP request is authorized by itself.
RS9-10 | i | B+ | s | e/auth | How a token is validated.
RS9-11 | i | C+ | * | e/auth | The canonical URI of a server.
RS9-12 | i | B+ | s | e/asec | Upstream calls use tokens of their own.
RS9-13 | i | B+ | s | e/auth | Browsers may read what they need of the headers.
CD-01 | M | C+ | c | e/asd | The client reads the challenge, else the well-known places.
CD-02 | i | C+ | c | cf | Metadata for another resource ends the attempt.
CD-03 | i | C+ | c | e/asd | One issuer is chosen; state is kept apart by issuer.
CD-04 | M | C+ | c | e/asd | The well-known places of an issuer are tried in order.
CD-05 | M | E | c | e/asd cf | The issuer in the metadata is the one that was asked.
CD-06 | i | B | c | b/auth cf | In 2025-03-26 the issuer is the server's own origin.
CD-07 | i | B+ | c | e/asd | Discovery is kept for a while.
CR-01 | S | D+ | c | e/reg | Registered before, else by metadata document, else dynamically, else by the user.
CR-02 | M | D+ | c | e/reg | A client's metadata document lives at its id.
CR-03 | M | B+ | c | e/reg | Dynamic registration says what kind of application it is.
CR-04 | M | E | c | e/reg cf | Credentials belong to their issuer.
CR-05 | i | B+ | c | cf | How a client authenticates at the token endpoint.
CF-01 | M | B+ | c | e/asec | PKCE with S256, or nothing.
CF-02 | M | C+ | c | e/auth | `resource` goes with every authorization and token request.
CF-03 | M | B+ | c | e/asec | `state` is verified; redirects are loopback or https.
CF-04 | M | E | c | e/auth | `iss` of the response is compared before anything else.
CF-05 | i | D+ | c | e/auth | Which scopes are asked for.
CF-06 | M! | E | c | e/auth | Nobody counts on a refresh token.
CF-07 | i | B+ | c | e/auth | The token goes into the header of every request, never into the query.
CF-08 | Y | E | c | e/auth | A 403 leads to a step up, a few times.
CF-09 | M | B+ | c | e/asec | Refresh tokens rotate.
CF-10 | M | B+ | c | e/asec sbp | Tokens are stored safely; endpoints are https.
CF-11 | i | B+ | c | sbp | Only https is opened in a browser, without a shell.
CF-12 | M! | B+ | c | e/auth | A token goes nowhere but to its resource.
AS-01 | M | B+ | s | e/asec e/reg e/auth | What an authorization server does.
AS-02 | M | D+ | s | e/asec sbp | Metadata documents are fetched with care, and shown.
AS-03 | i | E | s | cf | The suite's scenarios for authorization servers.
# 21. Extensions of authorization
XC-01 | Y | E | * | xcc | Client credentials are declared as an extension.
XC-02 | i | E | c | xcc | A client without a user gets a token by itself.
XE-01 | i | E | c | xema | The identity provider gives an assertion for a server.
XE-02 | M! | E | c | xema | The assertion is exchanged for a token; nobody is sent to authorize.
XE-03 | i | E | s | xema | How the assertion is checked.
XE-04 | i | E | * | xema | It is configured by the organisation, and never logged.
XD-01 | i | E | c | cf | A token is bound to a key by proofs.
XD-02 | i | E | c | cf | A nonce that is asked for is sent once more.
XD-03 | i | E | s | cf | How a proof is checked.
XW-01 | i | E | c | cf | A workload exchanges its platform's token.
XW-02 | i | E | c | cf | What is refused is told, not tried again.
# 22. Security
SEC-01 | M | B+ | h | sbp | A proxy asks for consent client by client.
SEC-02 | M | B+ | h | sbp | Cookies of consent are bound and protected.
SEC-03 | M | B+ | h | sbp | Redirects match exactly, and state is used once.
SEC-04 | M! | B+ | h | sbp | A token is not passed through.
SEC-05 | M | B+ | c | sbp | A client on a server is no way into its network.
SEC-06 | M! | B+ | s | sbp | To have a session or a handle proves nothing; both cannot be guessed.
SEC-07 | M | A+ | h | sbp | Before a local server is set up the user sees its whole command and agrees.
SEC-08 | S | A+ | s | sbp | A local server is reached over stdio, or over HTTP that checks host and origin.
SEC-09 | i | A+ | h | sbp | Who starts programs for others starts only what is allowed.
SEC-10 | i | B+ | c | sbp | Only https is opened in a browser, without a shell.
SEC-11 | i | E | c | sbp | Answers of one issuer are not taken for another's.
SEC-12 | i | B+ | * | sbp | Scopes are small and precise.
SEC-13 | i | A+ | h | sbp | What servers say of themselves is not trusted.
SEC-14 | i | A+ | * | sbp | Sizes, depths, numbers and rates are bounded.
SEC-15 | i | A+ | * | sbp | Tokens and sealed state appear in no log and no error.
# 23. Gateways
GW-01 | i | A+ | h | e/ver | Each side of a gateway has its own era, and everything is translated.
GW-02 | i | A+ | h | e/base | Upstream sees what the caller declared; the caller sees what upstreams offer.
GW-03 | i | A+ | h | e/base | Ids, tokens, cursors, URIs and state are mapped and lead back to their upstream.
GW-04 | i | E | h | e/http | Mirrored headers are checked on the way in and written anew on the way out.
GW-05 | i | E | h | e/cache | Only public results are shared between users.
GW-06 | i | A+ | h | e/canc | Cancellation is handed on both ways.
GW-07 | i | A+ | h | e/tools | One upstream that fails does not fail the others.
GW-08 | i | A+ | h | e/base | A gateway is its own server; what belongs to one hop is written anew, the rest of `_meta` handed on.
GW-09 | i | A+ | h | e/samp e/elic | A question shows which server asks.
GW-10 | i | E | h | host | Many tools can be found a few at a time.
"""

CONSOLE: Final = "shows something to a person: the console is an issue of its own"

UNTESTED: Final[dict[str, str]] = {
    **dict.fromkeys(("IC-02", "AP-07", "AP-08", "AP-09", "AP-10"), CONSOLE),
    **dict.fromkeys(("OTEL-02", "OTEL-04"), "spans are made by telemetry: an issue of its own"),
    "VN-07": "a rule for whoever designs an extension",
    "DS-06": "our server always speaks both eras: there is none without the handshake",
    "TC-13": "what stands behind a handle, and how long, is its tool's own; who asks is in ctx.principal",
    "TX-16": "says of names that nobody else may take them for something else; there is nothing to see",
    "SEC-07": "setting up servers for a user is the host's: an issue of its own",
    "SEC-09": "guarding what a host starts for others: an issue of its own",
    "AS-03": "the scenarios are a program of its own, which make conformance runs against our issuer",
    "GW-10": "finding tools a few at a time: an issue of its own",
}  # fmt: skip
"""Why a row has no test; one that is neither here nor tested is missing."""


def _read(table: str) -> dict[str, Requirement]:
    rows: dict[str, Requirement] = {}
    section = ""
    for line in table.splitlines():
        if line.startswith("# "):
            section = line[2:]
        elif line:
            name, level, span, role, pages, sentence = line.split(" | ")
            if name in rows or level not in LEVELS or role not in ROLES:
                raise ValueError(f"{line!r} is no row: its id, level or role is wrong")
            links = tuple(link_of(page) for page in pages.split())
            rows[name] = Requirement(
                name, level, revisions_of(span), role, links, sentence, section
            )
    return rows


REQUIREMENTS: Final = _read(_TABLE)


def why_untested(row: Requirement) -> str | None:
    """Why a requirement needs no test yet, or can have none; None if nobody said so."""
    return UNTESTED.get(row.id)
