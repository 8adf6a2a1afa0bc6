"""Names looked up: with this machine's own resolver, and with ones that never answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from tests.peers import soon

from interlock.errors import TimedOut
from interlock.transport.http.lookup import AT_ONCE, Lookup


async def test_this_machine_knows_itself():
    found = await soon(Lookup()("localhost", 80))
    assert found
    assert all(ip_address(address).is_loopback for address in found)


async def test_a_name_that_nobody_has_is_an_os_error():
    async def ask(host: str, port: int) -> Sequence[str]:
        raise OSError("Name or service not known")

    with pytest.raises(OSError, match="not known"):
        await soon(Lookup(ask)("nowhere.example", 443))


class Silent:
    """A resolver that answers nothing until it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answering = asyncio.Event()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        await self.answering.wait()
        raise OSError("no such name")


async def test_a_name_without_an_answer_is_not_waited_for():
    silent = Silent()
    with pytest.raises(TimedOut, match=r"slow\.example could not be looked up"):
        await soon(Lookup(silent, seconds=0.01)("slow.example", 443))
    silent.answering.set()


async def test_lookups_that_nobody_waits_for_are_counted_until_they_end():
    silent = Silent()
    lookup = Lookup(silent, seconds=0.01)
    for number in range(AT_ONCE + 2):
        with pytest.raises(TimedOut):
            await soon(lookup(f"{number}.example", 443))
    assert len(silent.asked) == AT_ONCE
    silent.answering.set()
    with pytest.raises(OSError, match="no such name"):
        await soon(lookup("late.example", 443))
    assert silent.asked[-1] == "late.example"


def test_a_lookup_that_runs_when_its_loop_ends_holds_up_nobody():
    async def main() -> None:
        with pytest.raises(TimedOut):
            await Lookup(Silent(), seconds=0.01)("slow.example", 443)

    asyncio.run(main())
