"""The settings file, as Structs: the servers a `.mcp.json` names, and what is wrong with the rest.

One entry that cannot be used never costs the others: it is skipped, with a note that says why. Only
a file that cannot be read at all is an error. No value from the environment is ever in a note, in a
`repr` or in `describe()`: they show an entry as it was written.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeAlias

from msgspec import Struct, field

from interlock.auth.metadata import is_loopback
from interlock.errors import ConfigError

FILE_NAME: Final = ".mcp.json"
SIZE_LIMIT: Final = 1024 * 1024
RESERVED: Final = frozenset(
    {"workspace", "claude-in-chrome", "computer-use", "Claude Preview", "Claude Browser"}
)
"""Names that hosts use for servers of their own."""

_SHORTEST_TIMEOUT: Final = 1000
_TRANSPORTS: Final = {"streamable-http": "http"}
_SCHEMES: Final = {
    "http": ("http://", "https://"),
    "sse": ("http://", "https://"),
    "ws": ("ws://", "wss://"),
}
"""What the URL of each type begins with."""
_LATER: Final = ("headersHelper",)
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

UrlType: TypeAlias = Literal["http", "sse", "ws"]
Kind: TypeAlias = Literal["warning", "skipped", "not configured"]


class Note(Struct, frozen=True):
    """What a person should know about a file, or about one of its entries."""

    server: str | None
    """The entry; None for the file itself."""
    kind: Kind
    """A warning leaves the entry in use; everything else leaves it out."""
    text: str

    def __str__(self) -> str:
        place = "" if self.server is None else f"mcpServers.{self.server}: "
        mark = "Skipped — " if self.kind == "skipped" else ""
        return f"{place}{mark}{self.text}"


class _Written(Struct, frozen=True, kw_only=True):
    """What every entry has. Not for use: its two kinds are."""

    name: str
    timeout: float | None = None
    """Seconds a tool call may take; None where the file does not say."""
    written: str
    """The entry as it was written, variables unexpanded."""

    def describe(self) -> str:
        """One line for a listing."""
        return self.written

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.written!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("name", self.name), ("written", self.written)]


class StdioServer(_Written, frozen=True, kw_only=True):
    """A server that is a program."""

    type: ClassVar[str] = "stdio"

    command: str
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict[str, str])
    cwd: str | None = None


class OAuthEntry(Struct, frozen=True, kw_only=True):
    """What an entry says about logging in to its server; mostly nothing has to be said.

    *client_id* and *client_secret* are a client that was registered by hand, *callback_port* the
    port that its redirect URI names. *scopes* are asked for besides what the server asks for.
    *metadata_url* is where its authorization server describes itself, if that is not found.
    """

    client_id: str | None = None
    client_secret: str | None = None
    callback_port: int | None = None
    scopes: tuple[str, ...] = ()
    metadata_url: str | None = None

    def __repr__(self) -> str:
        # All of it may come from the environment.
        return "OAuthEntry(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class HttpServer(_Written, frozen=True, kw_only=True):
    """A server at a URL: over Streamable HTTP, the HTTP+SSE of 2024, or WebSocket.

    *oauth* None is for one that is never logged in to.
    """

    type: UrlType = "http"
    url: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    oauth: OAuthEntry | None = OAuthEntry()


Server: TypeAlias = StdioServer | HttpServer


class Config(Struct, frozen=True):
    """What a file says."""

    path: Path
    servers: dict[str, Server]
    """By name, in the order of the file."""
    notes: tuple[Note, ...] = ()
    """Its faults, in the order of the file."""


def load(path: Path | str, environ: Mapping[str, str]) -> Config:
    """Read a `.mcp.json`; variables come from *environ*.

    Raises ConfigError if there is no such file, or if it is no JSON object with `mcpServers`.
    """
    path = Path(path)
    top = _parse(_read(path), path)
    notes = [Note(None, "warning", text) for text in _twice(top, "the file")]
    entries = _entries(top, path)
    notes += [Note(None, "warning", text) for text in _twice(entries, "mcpServers")]
    servers: dict[str, Server] = {}
    for name, entry in entries.items():
        reader = _Reader(name, entry, environ)
        try:
            server = reader.server()
        except _Unusable as reason:
            notes += reader.notes
            notes.append(Note(name, reason.kind, str(reason)))
            continue
        notes += reader.notes
        servers[name] = server
    return Config(path, servers, tuple(notes))


# The file


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its keys came more than once."""

    twice: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        made.twice = tuple(key for key in made if keys.count(key) > 1)
    return made


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        raise ConfigError(
            f'there is no {path}: create it with {{"mcpServers": {{"NAME": {{"command": "…"}}}}}}, '
            "or name another file"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > SIZE_LIMIT:
        raise ConfigError(f"{path} has more than {SIZE_LIMIT} bytes: this is no list of servers")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} is not UTF-8 (line {line}): save it in that encoding") from None


def _parse(text: str, path: Path) -> _Object:
    try:
        top = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path} is not valid JSON (line {error.lineno}, column {error.colno}): "
            f"{_complaint(error)}"
        ) from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply to be a list of servers") from None
    if not isinstance(top, _Object):
        raise ConfigError(
            f"{path} must hold a JSON object with the key mcpServers, not {_kind_of(top)}"
        )
    return top


def _complaint(error: json.JSONDecodeError) -> str:
    """The parser's words, and the cause where it is one of the two usual ones."""
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    if not error.doc.strip():
        return "the file is empty"
    if after.startswith(("//", "/*", "#")):
        return "JSON has no comments"
    if after[:1] in {"}", "]"} and before.endswith(","):
        return f"a comma before {after[0]}"
    if after.startswith(",") and after[1:].lstrip()[:1] in {"}", "]"}:
        return "a comma after the last item"
    return error.msg


def _entries(top: _Object, path: Path) -> _Object:
    entries = top.get("mcpServers")
    if isinstance(entries, _Object):
        return entries
    if entries is not None:
        raise ConfigError(f"{path}: mcpServers must be an object, not {_kind_of(entries)}")
    for key, host in (("servers", "VS Code's mcp.json"), ("context_servers", "Zed's settings")):
        if key in top:
            raise ConfigError(
                f'{path} lists its servers under "{key}", the key of {host}: here it is '
                '"mcpServers"; rename the key'
            )
    if any(isinstance(item, _Object) and {"command", "url"} & item.keys() for item in top.values()):
        raise ConfigError(
            f'{path} lists its servers at the top: put them into an object under "mcpServers"'
        )
    found = ", ".join(map(json.dumps, top)) or "nothing"
    raise ConfigError(f'{path} has no key "mcpServers"; it has {found}')


def _twice(found: object, where: str) -> list[str]:
    if not isinstance(found, _Object):
        return []
    return [f'Duplicate key "{key}" in {where}; the last one counts' for key in found.twice]


# One entry


class _Unusable(Exception):
    """Why an entry is left out."""

    def __init__(self, text: str, kind: Kind = "skipped") -> None:
        super().__init__(text)
        self.kind: Kind = kind


class _Reader:
    """Reads one entry, and takes notes."""

    def __init__(self, name: str, entry: Any, environ: Mapping[str, str]) -> None:
        self._name = name
        self._entry = entry
        self._environ = environ
        self._missing: list[str] = []
        self._untidy: list[str] = []
        self._notes: list[Note] = []

    @property
    def notes(self) -> list[Note]:
        notes = self._notes.copy()
        if self._missing:
            names = ", ".join(dict.fromkeys(self._missing))
            notes.append(self._note(f"Missing environment variables: {names}"))
        if self._untidy:
            places = ", ".join(self._untidy)
            notes.append(self._note(f"Leading or trailing whitespace in: {places}"))
        return notes

    def server(self) -> Server:
        self._check_name()
        entry = self._entry
        if not isinstance(entry, _Object):
            raise _Unusable(f"Invalid configuration: expected object, received {_kind_of(entry)}")
        for where, item in (("this entry", entry), *((key, entry.get(key)) for key in entry)):
            self._notes += [self._note(text) for text in _twice(item, where)]
        self._notes += [
            self._note(f'"{key}" is not supported yet and has no effect')
            for key in _LATER
            if key in entry
        ]
        kind = self._type(entry)
        if kind in ("http", "sse", "ws"):
            return self._http(kind)
        if kind == "stdio":
            if entry.get("oauth"):
                why = '"oauth" has no effect on a program; what it has to know goes into env'
                self._notes.append(self._note(why))
            return self._stdio()
        raise _Unusable(f'unknown MCP server type "{kind}" for server "{self._name}"')

    def _check_name(self) -> None:
        if self._name in RESERVED:
            raise _Unusable(f'the name "{self._name}" is reserved; give the server another one')
        if not self._name.strip() or not self._name.isprintable():
            raise _Unusable("a name must have visible characters, and no others")

    def _type(self, entry: _Object) -> str:
        if "type" not in entry:
            if "url" in entry and "command" not in entry:
                raise _Unusable(
                    f'MCP server "{self._name}" has a "url" but no "type"; '
                    'add "type": "http" (or "sse" / "ws") to this entry'
                )
            return "stdio"
        written = _string(entry["type"], "type")
        return _TRANSPORTS.get(written, written)

    def _stdio(self) -> StdioServer:
        command = _string(self._entry.get("command", _ABSENT), "command")
        if not command.strip():
            raise _Unusable("Invalid configuration: command: must not be empty")
        args = self._list("args")
        env = self._strings("env")
        cwd = None
        if self._entry.get("cwd") is not None:
            cwd = self._expand(_string(self._entry["cwd"], "cwd"), "cwd")
        return StdioServer(
            name=self._name,
            timeout=self._timeout(),
            written=shlex.join([command, *args]) if args else command,
            command=self._expand(command, "command"),
            args=tuple(self._expand(arg) for arg in args),
            env={key: self._expand(value, f"env.{key}") for key, value in env.items()},
            cwd=cwd,
        )

    def _http(self, kind: UrlType) -> HttpServer:
        written = _string(self._entry.get("url", _ABSENT), "url")
        headers = self._strings("headers")
        url = self._expand(written, "url")
        if not url.strip():
            raise _Unusable("its url is empty", "not configured")
        # With a variable missing it is loaded as it stands: the note about it says what to do.
        schemes = _SCHEMES[kind]
        if not self._missing and not url.strip().lower().startswith(schemes):
            shown = _without_secrets(written)
            expected = " or ".join(schemes)
            raise _Unusable(f"Invalid configuration: url: expected {expected}, as written: {shown}")
        return HttpServer(
            name=self._name,
            type=kind,
            timeout=self._timeout(),
            written=_without_secrets(written),
            url=url,
            headers={key: self._expand(value, f"headers.{key}") for key, value in headers.items()},
            oauth=self._oauth(kind, headers),
        )

    def _oauth(self, kind: UrlType, headers: Mapping[str, str]) -> OAuthEntry | None:
        written = self._entry.get("oauth")
        if kind == "ws" and written:
            self._notes.append(self._note('"oauth" has no effect on a WebSocket; use headers'))
        if kind == "ws" or written is False:
            return None
        if written is None:
            return OAuthEntry()
        if not isinstance(written, _Object):
            raise _Unusable(
                f"Invalid configuration: oauth: expected object or false, received {_kind_of(written)}"
            )
        if any(name.lower() == "authorization" for name in headers):
            why = '"oauth" has no effect beside an Authorization header; leave one of them out'
            self._notes.append(self._note(why))
        client_id, client_secret = (
            self._optional(written, key) for key in ("clientId", "clientSecret")
        )
        if client_secret is not None and client_id is None:
            raise _Unusable(
                "Invalid configuration: oauth.clientSecret: expected a clientId with it"
            )
        scopes = self._optional(written, "scopes")
        return OAuthEntry(
            client_id=client_id,
            client_secret=client_secret,
            callback_port=_port(written.get("callbackPort"), "oauth.callbackPort"),
            scopes=tuple(scopes.split()) if scopes is not None else (),
            metadata_url=self._metadata_url(written),
        )

    def _metadata_url(self, written: _Object) -> str | None:
        missing = len(self._missing)
        url = self._optional(written, "authServerMetadataUrl")
        if url is None or len(self._missing) > missing:
            return url
        if not url.startswith("https://") and not (url.startswith("http://") and is_loopback(url)):
            shown = _without_secrets(written["authServerMetadataUrl"])
            raise _Unusable(
                "Invalid configuration: oauth.authServerMetadataUrl: expected https://, as written: "
                + shown
            )
        return url

    def _optional(self, written: _Object, key: str) -> str | None:
        """A string of `oauth`, with its variables; None where there is none."""
        value, place = written.get(key), f"oauth.{key}"
        return None if value is None else self._expand(_string(value, place), place)

    def _timeout(self) -> float | None:
        written = self._entry.get("timeout")
        if written is None:
            return None
        if isinstance(written, bool) or not isinstance(written, int | float):
            raise _Unusable(
                f"Invalid configuration: timeout: expected number, received {_kind_of(written)}"
            )
        if not written >= _SHORTEST_TIMEOUT:
            self._notes.append(
                self._note(f"timeout is in milliseconds; below {_SHORTEST_TIMEOUT} it is ignored")
            )
            return None
        return written / 1000

    def _list(self, key: str) -> list[str]:
        written = self._entry.get(key)
        if written is None:
            return []
        if _kind_of(written) != "array":
            raise _Unusable(
                f"Invalid configuration: {key}: expected array, received {_kind_of(written)}"
            )
        return [_string(item, f"{key}.{index}") for index, item in enumerate(written)]

    def _strings(self, key: str) -> dict[str, str]:
        written = self._entry.get(key)
        if written is None:
            return {}
        if not isinstance(written, _Object):
            raise _Unusable(
                f"Invalid configuration: {key}: expected object, received {_kind_of(written)}"
            )
        return {inner: _string(value, f"{key}.{inner}") for inner, value in written.items()}

    def _expand(self, text: str, place: str | None = None) -> str:
        """The text with its variables; one that is not set and has no default stays as written."""

        def value(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            if name in self._environ:
                return self._environ[name]
            if default is not None:
                return default
            self._missing.append(name)
            return match[0]

        expanded = _VARIABLE.sub(value, text)
        if place is not None and expanded != expanded.strip():
            self._untidy.append(place)
        return expanded

    def _note(self, text: str) -> Note:
        return Note(self._name, "warning", text)


_ABSENT: Final = object()

_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (bool, "boolean"),
    (str, "string"),
    (int, "number"),
    (float, "number"),
    (list, "array"),
    (dict, "object"),
)


def _kind_of(value: object) -> str:
    """What JSON calls it."""
    if value is _ABSENT:
        return "undefined"
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")


def _string(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise _Unusable(
            f"Invalid configuration: {place}: expected string, received {_kind_of(value)}"
        )
    return value


def _port(value: object, place: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _Unusable(
            f"Invalid configuration: {place}: expected number, received {_kind_of(value)}"
        )
    if not 0 < value < 65536:
        raise _Unusable(f"Invalid configuration: {place}: expected a port, 1 to 65535")
    return value


def _without_secrets(url: str) -> str:
    """A URL as it was written, without what is written where secrets are: user and query values."""
    url = re.sub(r"(?<=//)[^/?#@]*@", "…@", url)
    return re.sub(r"([?&][^=&#]*=)(?!\$\{)[^&#]+", r"\1…", url)
