from __future__ import annotations

import contextlib

import pytest
from tests.auth.issuer.box import ANNA, SIGN_IN, URL, Box

from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.people import Person, Wait, someone
from interlock.auth.issuer.requests import Request
from interlock.errors import ConfigError

HERE = Request("POST", "/decide", peer="192.0.2.1")


def test_without_people_there_is_one_with_a_code_of_its_own():
    one, other = Issuer(URL).people[0], Issuer(URL).people[0]
    assert one.subject == other.subject == "owner"
    assert one.code != other.code
    assert len(one.code.replace("-", "")) == 12


def test_a_person_does_not_show_their_code():
    assert SIGN_IN not in repr(ANNA)


@pytest.mark.parametrize("code", ["short", "1-2-3-4-5-6-7", "x" * 300])
def test_a_code_that_is_easily_tried_is_not_taken(code: str):
    with pytest.raises(ConfigError):
        Person("bert", "Bert", code)


def test_two_people_have_two_codes():
    with pytest.raises(ConfigError, match="same code"):
        Box(people=(ANNA, Person("bert", "Bert", SIGN_IN.upper())))


async def test_each_person_signs_in_with_their_own_code():
    bert = Person("bert", "Bert", "other-code-77")
    people = Box(people=(ANNA, bert)).issuer.office.people
    found = await people.sign_in("othercode77", HERE, "b")
    assert found is not None
    assert found[0] == bert
    assert await people.sign_in("other-code-78", HERE, "b") is None


async def test_each_wrong_code_makes_the_next_wait_longer_from_where_it_came():
    box = Box()
    people = box.issuer.office.people
    for _ in range(5):
        assert await people.sign_in("wrong-wrong", HERE, "b") is None
    waits: list[float] = []
    for _ in range(12):
        with pytest.raises(Wait) as caught:
            await people.sign_in("wrong-wrong", HERE, "b")
        waits.append(caught.value.seconds)
        box.clock.turn(caught.value.seconds)
        await people.sign_in("wrong-wrong", HERE, "b")
    assert waits[:4] == [5, 10, 20, 40]
    assert waits[-1] == 900
    elsewhere = Request("POST", "/decide", peer="192.0.2.2")
    assert await people.sign_in(SIGN_IN, elsewhere, "b") is not None


async def test_many_addresses_together_wait_too():
    people = Box().issuer.office.people
    for number in range(50):
        guest = Request("POST", "/decide", peer=f"192.0.2.{number}")
        assert await people.sign_in("wrong-wrong", guest, "b") is None
    with pytest.raises(Wait):
        await people.sign_in(SIGN_IN, Request("POST", "/decide", peer="198.51.100.1"), "b")


async def test_a_network_of_ipv6_is_one_place_to_come_from():
    people = Box().issuer.office.people
    for number in range(5):
        guest = Request("POST", "/decide", peer=f"2001:db8:0:1::{number}")
        assert await people.sign_in("wrong-wrong", guest, "b") is None
    with pytest.raises(Wait):
        await people.sign_in(SIGN_IN, Request("POST", "/decide", peer="2001:db8:0:1:f::1"), "b")
    elsewhere = Request("POST", "/decide", peer="2001:db8:0:2::1")
    assert await people.sign_in(SIGN_IN, elsewhere, "b") is not None


async def test_who_waits_anyway_makes_nobody_else_wait():
    people = Box().issuer.office.people
    for _ in range(5):
        await people.sign_in("wrong-wrong", HERE, "b")
    for _ in range(100):
        with pytest.raises(Wait):
            await people.sign_in("wrong-wrong", HERE, "b")
    elsewhere = Request("POST", "/decide", peer="192.0.2.2")
    assert await people.sign_in(SIGN_IN, elsewhere, "b") is not None


async def test_codes_that_are_right_are_not_counted():
    people = Box().issuer.office.people
    for _ in range(4):
        await people.sign_in("wrong-wrong", HERE, "b")
    for number in range(100):
        guest = Request("POST", "/decide", peer=f"192.0.2.{number % 3}")
        assert await people.sign_in(SIGN_IN, guest, "b") is not None


async def test_who_has_a_code_cannot_try_for_others_with_their_own_in_between():
    bert = Person("bert", "Bert", "other-code-77")
    people = Box(people=(ANNA, bert)).issuer.office.people
    for _ in range(5):
        assert await people.sign_in("wrong-wrong", HERE, "b") is None
        with contextlib.suppress(Wait):
            assert await people.sign_in(bert.code, HERE, "b") is not None
    with pytest.raises(Wait):
        await people.sign_in("wrong-wrong", HERE, "b")


async def test_a_right_code_takes_back_no_wait_but_its_own():
    box = Box()
    people = box.issuer.office.people
    for _ in range(5):
        await people.sign_in("wrong-wrong", HERE, "b")
    with pytest.raises(Wait) as caught:
        await people.sign_in(SIGN_IN, HERE, "b")
    box.clock.turn(caught.value.seconds)
    for _ in range(3):
        assert await people.sign_in(SIGN_IN, HERE, "b") is not None
    assert await people.sign_in("wrong-wrong", HERE, "b") is None
    with pytest.raises(Wait) as caught:
        await people.sign_in(SIGN_IN, HERE, "b")
    assert caught.value.seconds == 10


def test_cookies_on_one_machine_do_not_meet():
    one = Box("http://localhost:8001").issuer.office.people
    other = Box("http://localhost:8002").issuer.office.people
    assert one.session_cookie != other.session_cookie
    name, value = one.meet("b")
    assert name == b"set-cookie"
    assert b"Secure" not in value
    assert b"HttpOnly" in value


def test_a_code_is_made_of_letters_that_are_not_mistaken():
    assert not set("01OILU") & set(someone().code)
