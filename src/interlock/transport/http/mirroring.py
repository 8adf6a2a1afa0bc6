"""What the tools of one server want repeated in headers, as far as a client has seen them listed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from interlock.errors import PeerError, RpcError
from interlock.protocol.call import Call
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import PagedParams, RawResult, members
from interlock.wire.methods import BY_NAME
from interlock.wire.notices import TOOLS_CHANGED
from interlock.wire.parameters import ANNOTATION, BadAnnotation, Mirrored, mirrored, values
from interlock.wire.tools import CallToolParams

log: Final = logging.getLogger("interlock.http.client")

TOOLS_LIMIT: Final = 10_000
"""Tools with wishes that are remembered of one server; beyond it the oldest are forgotten."""
PAGES: Final = 100
"""Pages of tools that are read to find out what one of them wants."""
LIST: Final = BY_NAME["tools/list"]

_MARK: Final = ANNOTATION.encode()
_NOTHING: Final[tuple[Mirrored, ...]] = ()
_cursor: Final = msgspec.json.Decoder(str | None)
_tools: Final = msgspec.json.Decoder(list[Raw])


class _Entry(Struct):
    name: str
    input_schema: dict[str, Any] = msgspec.field(name="inputSchema")


_entry: Final = msgspec.json.Decoder(_Entry)


class Mirroring:
    """The wishes of one server's tools, from every page of its list that was read.

    A wish that has changed since, or was never seen, is found out by the server's refusal.
    *on_notice* hears that the list of tools changed, where that is how it came out.
    """

    def __init__(self, server: str, on_notice: Callable[[str, Raw], None] | None = None) -> None:
        self._server = server
        self._on_notice = on_notice
        self._listed = False
        self._relisting = asyncio.Lock()
        self._wanted: dict[str, tuple[Mirrored, ...]] = {}

    def wanted(self, call: Call) -> tuple[Mirrored, ...]:
        """What the tool that *call* calls wants mirrored; nothing for any other call."""
        params = call.params
        if type(params) is not CallToolParams:
            return _NOTHING
        return self._wanted.get(params.name, _NOTHING)

    def headers(self, wanted: tuple[Mirrored, ...], call: Call) -> Mapping[str, str]:
        """The headers that *call* needs for what is *wanted*."""
        params = call.params
        assert isinstance(params, CallToolParams)
        return {name.lower(): value for name, value in values(wanted, params.arguments).items()}

    def learn(self, page: RawResult) -> RawResult:
        """Take note of a page of `tools/list`; the page without the tools that cannot be called.

        A tool whose annotations are invalid is left out, as a client must, and the log says why
        (2026-07-28 § Streamable HTTP, Custom Headers from Tool Parameters).
        """
        self._listed = True
        body = bytes(page.body)
        if _MARK not in body and not self._wanted:
            return page
        try:
            fields = members(body)
            listed = _tools.decode(fields.get("tools", b""))
        except UNREADABLE:
            return page  # Whoever reads it will say what is wrong with it.
        kept = [entry for entry in listed if self._note(entry)]
        if len(kept) == len(listed):
            return page
        fields["tools"] = Raw(encode(kept))
        return RawResult(body=Raw(encode(fields)), relayed=page.relayed, kind=page.kind)

    async def wants_otherwise(
        self,
        call: Call,
        sent: tuple[Mirrored, ...],
        list_page: Callable[[Call], Awaitable[RawResult]],
    ) -> bool:
        """List the tools again; whether the one that *call* calls wants other headers than *sent*.

        Only then is a refused call worth sending again.
        """
        async with self._relisting:
            if self.wanted(call) == sent:  # Else another call has had them listed meanwhile.
                listed = self._listed
                try:
                    await self._list(call, list_page)
                except (PeerError, RpcError, *UNREADABLE) as error:
                    log.debug("the tools of %s could not be listed: %s", self._server, error)
                if listed and self.wanted(call) != sent and self._on_notice is not None:
                    self._on_notice(TOOLS_CHANGED, Raw(b"{}"))
        return self.wanted(call) != sent

    async def _list(self, call: Call, list_page: Callable[[Call], Awaitable[RawResult]]) -> None:
        cursor: str | None = None
        for _ in range(PAGES):
            page = Call(
                LIST,
                PagedParams(cursor=cursor),
                call.envelope,
                patience=call.patience,
                deadline=call.deadline,
            )
            fields = members((await list_page(page)).body)
            cursor = _cursor.decode(fields.get("nextCursor", b"null"))
            if cursor is None:
                return

    def _note(self, raw: Raw) -> bool:
        """Remember what one entry wants; whether it can be called at all."""
        try:
            entry = _entry.decode(raw)
        except UNREADABLE:
            return True
        self._wanted.pop(entry.name, None)
        try:
            wanted = mirrored(entry.input_schema)
        except BadAnnotation as error:
            log.warning("the tool %r of %s is left out: %s", entry.name, self._server, error)
            return False
        if wanted:
            self._wanted[entry.name] = wanted
            if len(self._wanted) > TOOLS_LIMIT:
                del self._wanted[next(iter(self._wanted))]
        return True
