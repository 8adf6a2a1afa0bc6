"""A type as a form, and what was filled in as a value of it."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
from tests.official import complaint as official

from interlock.errors import UsageError
from interlock.server.forms import check, complaint, filled_in, form_of, has_several


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Order:
    name: Annotated[str, msgspec.Meta(max_length=40, description="for the label")]
    size: Size
    sauce: Literal["red", "green"] = "red"
    count: int = 1
    tip: float | None = None
    hot: bool = True
    extras: list[Literal["nuts", "seeds"]] = field(default_factory=list[Literal["nuts", "seeds"]])


class Typed(TypedDict):
    name: str


class Model(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1)
    count: int = 1


def test_a_dataclass_is_a_flat_form():
    form = form_of(Order)
    assert form["properties"]["name"] == {
        "type": "string",
        "maxLength": 40,
        "description": "for the label",
    }
    assert form["properties"]["size"] == {"type": "string", "enum": ["l", "s"], "title": "Size"}
    assert form["properties"]["sauce"] == {
        "type": "string",
        "enum": ["green", "red"],
        "default": "red",
    }
    assert form["properties"]["tip"] == {"type": "number"}
    assert form["required"] == ["name", "size"]


@pytest.mark.parametrize("type_", [Typed, Model])
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_every_form_is_one_of_the_specification(type_: Any, revision: str):
    params = {"message": "?", "requestedSchema": form_of(type_)}
    assert official(revision, "ElicitRequestFormParams", params) is None


def test_what_was_filled_in_is_a_value_of_the_type():
    assert filled_in(Typed, {"name": "Ada"}) == {"name": "Ada"}
    assert filled_in(Model, {"name": "Ada"}) == Model(name="Ada")
    with pytest.raises(ValueError, match="name"):
        filled_in(Model, {"name": ""})


@pytest.mark.parametrize(
    "form",
    [
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {"a": {"anyOf": []}}},
        {"type": "object", "properties": {"a": 1}},
        {"type": "string"},
        {"type": "object"},
    ],
)
def test_what_no_client_can_show_is_no_form(form: Any):
    """2025-11-25 § Elicitation: flat, of primitive types."""
    with pytest.raises(UsageError, match="is no form"):
        check(form)


def test_a_type_with_depth_is_no_form():
    @dataclass
    class Deep:
        inner: Typed

    with pytest.raises(UsageError, match="'inner' must be"):
        form_of(Deep)


def test_a_complaint_says_what_is_wrong():
    form = form_of(Typed)
    assert complaint(form, {"name": "Ada"}) is None
    assert "name" in (complaint(form, {}) or "")


def test_a_secret_has_no_place_in_a_form():
    """2025-11-25 § Elicitation: a server MUST NOT ask for secrets this way."""

    class Login(pydantic.BaseModel):
        password: pydantic.SecretStr

    for form in (
        lambda: form_of(Login),
        lambda: check(
            {"type": "object", "properties": {"p": {"type": "string", "format": "password"}}}
        ),
    ):
        with pytest.raises(UsageError, match="elicit_url"):
            form()


def test_a_format_that_forms_do_not_know_is_left_out_of_a_types():
    class Ticket(pydantic.BaseModel):
        number: uuid.UUID

    assert "format" not in form_of(Ticket)["properties"]["number"]


def test_a_choice_of_several_is_told_apart():
    """It came with 2025-11-25."""
    assert has_several(form_of(Order))
    assert not has_several(form_of(Typed))
