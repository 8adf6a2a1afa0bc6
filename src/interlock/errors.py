"""Every exception a caller may catch.

    InterlockError
    ├─ UsageError              ours: this program asked for something that cannot be
    │  ├─ ConfigError          a configuration, target or file cannot be used as written
    │  ├─ RegistrationError    a function cannot become a tool, resource or prompt
    │  └─ NotConnected         used before it was connected, or after it was closed
    ├─ StoreError              a store cannot read or write at the moment; trying again may help
    ├─ ToolError               raised by a tool, for the model to read and act on
    ├─ RpcError                a JSON-RPC error, as a handler raises it and as a peer sent it
    │  ├─ ResourceNotFound     no such resource; the code depends on the revision
    │  ├─ MissingCapability    the client did not declare what the request needs
    │  ├─ InsufficientScope    the caller's token does not allow what it asks for
    │  └─ HttpRpcError         one that came with an HTTP error status
    └─ PeerError               theirs: the other side failed, and the connection may be gone
       ├─ ConnectFailed        nothing that speaks MCP could be reached
       ├─ ConnectionLost       it was reached, and then went away
       │  └─ ServerExited      it was a child process; carries its exit code and last stderr
       ├─ HttpError            it answered with an HTTP error and no JSON-RPC one
       ├─ AuthorizationFailed  who we are was not taken, or who would vouch for it cannot be trusted
       │  └─ LoginNeeded       only a person can go on, by logging in
       ├─ UnsafeUrl            it named an address that is not gone to
       ├─ InvalidMessage       it sent something that is not MCP
       ├─ Unverified           it sent something else than it had announced
       ├─ TaskCancelled        it, or somebody else, ended a task of ours
       └─ TimedOut             it did not answer in time

The first division is *ours or theirs*: a `UsageError` is fixed in this program, a `PeerError` is
survived. `ToolError` and `RpcError` are answers rather than failures, and cross the wire.
No exception of this package is ever wrapped in an `ExceptionGroup`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
LEGACY_RESOURCE_NOT_FOUND = -32002


class InterlockError(Exception):
    """Anything this package raises on purpose."""


class UsageError(InterlockError):
    """This program asked for something that cannot be; the message says what to change."""


class ConfigError(UsageError):
    """A configuration file, a target or an address cannot be used as it is written."""


class RegistrationError(UsageError):
    """A function cannot be registered as a tool, resource or prompt as it is declared."""


class NotConnected(UsageError):
    """A client was used before `connect()` or after `close()`."""


class StoreError(InterlockError):
    """What must be kept cannot be read or written: a file is locked, full or damaged."""


class ToolError(InterlockError):
    """Raise it in a tool: its text reaches the model as an `isError` result.

    Any other exception is masked, because its text was not written for a model to read.
    """


class RpcError(InterlockError):
    """A JSON-RPC error: raise it in a handler to answer with it, catch it when a peer did.

    *code* is the JSON-RPC code (application codes lie outside -32768…-32000), *message* one
    sentence for a person, *data* any JSON value.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"{self.message} (error {self.code})"


class ResourceNotFound(RpcError):
    """No resource has this URI.

    Answered with -32602 from 2026-07-28 on and with -32002 before it (§ Resources, Error
    Handling); dispatch picks the code, so a handler need not know the revision.
    """

    def __init__(self, uri: str) -> None:
        super().__init__(INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})
        self.uri = uri


class MissingCapability(RpcError):
    """The client did not declare a capability that this request cannot do without."""

    def __init__(self, required: Mapping[str, Any], message: str | None = None) -> None:
        names = ", ".join(required)
        super().__init__(
            MISSING_CAPABILITY,
            message or f"This request needs a client that declares: {names}",
            {"requiredCapabilities": dict(required)},
        )


class InsufficientScope(RpcError):
    """The caller's access token does not allow this; *scopes* are all that it would have to.

    Over HTTP it goes out as 403 with a challenge, so that the caller can ask for more (2026-07-28 §
    Authorization, Scope Challenge Handling).
    """

    def __init__(self, scopes: Iterable[str], message: str | None = None) -> None:
        self.scopes = tuple(sorted(scopes))
        named = " ".join(self.scopes)
        super().__init__(
            INVALID_REQUEST,
            message or f"The access token does not allow this; it would need: {named}",
            {"error": "insufficient_scope", "scope": named},
        )


class HttpRpcError(RpcError):
    """A JSON-RPC error that came with an HTTP error; *status* says which."""

    def __init__(self, error: RpcError, status: int) -> None:
        super().__init__(error.code, error.message, error.data)
        self.status = status


class PeerError(InterlockError):
    """The other side failed. Nothing in this program has to change."""


class ConnectFailed(PeerError):
    """Nothing that speaks MCP could be reached at the target."""


class ConnectionLost(PeerError):
    """The connection ended while an answer was awaited. Whether the call ran is not known."""


class ServerExited(ConnectionLost):
    """The server's process ended.

    *returncode* is negative for a signal, None when it could not be learnt; *stderr* holds its
    last lines, oldest first.
    """

    def __init__(self, name: str, returncode: int | None, stderr: Sequence[str] = ()) -> None:
        self.name = name
        self.returncode = returncode
        self.stderr = tuple(stderr)
        super().__init__(name, returncode)

    def __str__(self) -> str:
        if self.returncode is None:
            how = "closed its output"
        elif self.returncode < 0:
            how = f"was ended by signal {-self.returncode}"
        else:
            how = f"exited with code {self.returncode}"
        if not self.stderr:
            return f"server {self.name!r} {how}; it wrote nothing to stderr"
        tail = "\n  ".join(self.stderr)
        return f"server {self.name!r} {how}; its last lines on stderr:\n  {tail}"


class HttpError(PeerError):
    """The server answered with an HTTP error and no JSON-RPC one; *status* says which."""

    def __init__(self, url: str, status: int, reason: str = "") -> None:
        self.status = status
        super().__init__(f"{url} answered with HTTP {status}{': ' + reason if reason else ''}")


class AuthorizationFailed(PeerError):
    """A server did not take who we are, or an authorization server could not vouch for us.

    *error* is OAuth's word for it ("invalid_grant") where there was one. The text quotes no token,
    code or secret.
    """

    def __init__(self, message: str, error: str | None = None) -> None:
        self.error = error
        super().__init__(message)


class LoginNeeded(AuthorizationFailed):
    """A server wants to know which person calls, and only that person can say so: by logging in.

    *url* is the server's. The text says how to log in. With *scopes* the login that there is will
    do for everything else: these are what the server wants besides.
    """

    def __init__(self, url: str, message: str | None = None, *, scopes: Iterable[str] = ()) -> None:
        self.url = url
        self.scopes = tuple(scopes)
        super().__init__(message or f"{url} needs a login")


class UnsafeUrl(PeerError):
    """A peer named an address that is not gone to: not https, or not a public one."""


class InvalidMessage(PeerError):
    """The peer sent something that is not a valid message; the text says what was expected."""


class TaskCancelled(PeerError):
    """A task was cancelled, by whoever may, before it came to anything."""


class Unverified(PeerError):
    """What came is not what its announcement says, or was not announced; it must not be used."""


class TimedOut(PeerError):
    """The peer did not answer in time. The request has been cancelled on its side if it listens."""
