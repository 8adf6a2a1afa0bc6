"""Who hears what servers log outside of calls: the sessions that said from which level on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Raw

from interlock.protocol.call import Call, Principal
from interlock.protocol.session import Session
from interlock.wire.jsonrpc import UNREADABLE
from interlock.wire.lifecycle import SetLevelParams
from interlock.wire.meta import LOG_LEVELS, EmptyResult
from interlock.wire.notices import MESSAGE, LogNotice

_line: Final = msgspec.json.Decoder(LogNotice)


class Audience:
    """The legacy sessions that sent `logging/setLevel`. Modern clients hear lines of calls only.

    Whoever never asked is spared the talk of servers that others use. What is logged belongs to no
    call and so to no caller: where several principals would hear it nobody does.
    """

    def __init__(self) -> None:
        self._sessions: dict[int, tuple[Session, Principal]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    async def set_level(self, call: Call) -> EmptyResult:
        """Answer `logging/setLevel`."""
        assert isinstance(call.params, SetLevelParams)
        session = call.session
        if session is not None:
            session.set_level(call.params.level)
            key = id(session)
            if key not in self._sessions:
                self._sessions[key] = (session, call.principal)

                def leave() -> None:
                    del self._sessions[key]

                session.on_close(leave)
        return EmptyResult()

    def hear(self, line: Raw, whose: Callable[[Principal], bool] | None = None) -> None:
        """Tell *line* to everyone whose level it reaches; of a server that has an owner, to those
        *whose* it is.
        """
        sessions = list(self._sessions.values())
        if whose is not None:
            sessions = [each for each in sessions if whose(each[1])]
        if len({principal for _, principal in sessions}) != 1:
            return
        try:
            rank = LOG_LEVELS.index(_line.decode(line).level)
        except UNREADABLE:
            return
        for session, _ in sessions:
            level = session.envelope.log_level
            if level is not None and rank >= LOG_LEVELS.index(level):
                session.standing.notify(MESSAGE, line)
