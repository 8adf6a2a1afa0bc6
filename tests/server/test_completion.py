"""Suggestions for arguments of prompts and templates."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.joined import Joined

from interlock import RpcError, Server
from interlock.errors import INVALID_PARAMS, METHOD_NOT_FOUND, RegistrationError

CITIES = ["Paris", "Parma", "Rome"]


def a_server() -> Server:
    server = Server("s")

    @server.prompt
    def trip(city: str, district: str = "") -> str:
        return city + district

    @server.resource("map://{city}")
    def show(city: str) -> str:
        return city

    @server.completer("trip", "city")
    def cities(typed: str) -> list[str]:
        return [city for city in CITIES if city.startswith(typed)]

    @server.completer("trip", "district")
    async def districts(typed: str, known: Mapping[str, str]) -> list[str]:
        return [f"{known.get('city', '?')} {typed}"]

    @server.completer("map://{city}", "city")
    def many(typed: str) -> range:
        return range(250)

    return server


async def test_completers_are_asked_with_what_was_typed_and_what_is_known(joined: Joined, era: str):
    async with joined(a_server(), era) as client:
        assert client.capabilities.completions is not None
        found = await client.complete("trip", "city", "Par")
        assert (found.values, found.total, found.has_more) == (["Paris", "Parma"], 2, False)
        found = await client.complete("trip", "district", "x", context={"city": "Rome"})
        assert found.values == ["Rome x"]


async def test_no_more_than_a_hundred_values_are_sent(joined: Joined, era: str):
    """§ Completion."""
    async with joined(a_server(), era) as client:
        found = await client.complete("map://{city}", "city")
        assert found.values == [str(number) for number in range(100)]
        assert (found.total, found.has_more) == (250, True)


async def test_an_argument_without_a_completer_has_no_suggestions(joined: Joined, era: str):
    server = a_server()

    @server.prompt
    def other(word: str) -> str:
        return word

    async with joined(server, era) as client:
        assert (await client.complete("other", "word", "a")).values == []


@pytest.mark.parametrize(
    ("reference", "argument", "complaint"),
    [
        ("nope", "city", "There is no prompt or template 'nope'"),
        ("nope://{x}", "x", "There is no prompt or template"),
        ("trip", "country", "trip has no argument 'country'"),
    ],
)
async def test_what_cannot_be_completed_is_refused(
    joined: Joined, era: str, reference: str, argument: str, complaint: str
):
    async with joined(a_server(), era) as client:
        with pytest.raises(RpcError, match=complaint) as caught:
            await client.complete(reference, argument)
        assert caught.value.code == INVALID_PARAMS


async def test_a_server_without_completers_does_not_have_the_method(joined: Joined, era: str):
    """-32601 where the capability is not declared (§ Completion)."""
    async with joined(Server("s"), era) as client:
        assert client.capabilities.completions is None
        with pytest.raises(RpcError) as caught:
            await client.complete("a", "b")
        assert caught.value.code == METHOD_NOT_FOUND


def test_a_completer_must_take_something_and_stand_alone():
    server = a_server()

    def takes_nothing() -> list[str]:
        return []

    with pytest.raises(RegistrationError, match="takes_nothing must take what was typed"):
        server.completer("trip", "other")(takes_nothing)
    with pytest.raises(RegistrationError, match="has a completer already"):
        server.completer("trip", "city")(str.split)
