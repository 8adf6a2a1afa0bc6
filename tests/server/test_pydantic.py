"""Functions annotated with pydantic's types, alone and among others."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import jsonschema
import pydantic
import pytest
from msgspec import Raw, Struct
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from interlock.errors import RegistrationError
from interlock.server.function import Signature, mentions_pydantic, structured
from interlock.server.pydantic import PydanticArguments, PydanticOutput
from interlock.server.shape import BadArguments, Header


class Person(BaseModel):
    """Someone."""

    name: str = Field(description="as others call them", min_length=2)
    age: int = 30
    boss: "Person | None" = None


class Box(Struct):
    size: int


@dataclass
class Team:
    lead: Person


@pydantic.dataclasses.dataclass
class Strict:
    count: Annotated[int, Field(ge=1)]


class Options(TypedDict):
    limit: Annotated[int, Field(ge=1)]


class PersonOfBox(BaseModel):
    class Box(BaseModel):
        color: str

    box: Box


def read(function: Any, json: str) -> tuple[Any, ...]:
    return Signature(function).arguments.from_json(Raw(json.encode()))


def schema_of(function: Any) -> dict[str, Any]:
    signature = Signature(function)
    assert isinstance(signature.arguments, PydanticArguments)
    jsonschema.Draft202012Validator.check_schema(signature.arguments.schema)
    return signature.arguments.schema


def test_a_model_is_described_with_its_definitions_and_constraints():
    def function(person: Person) -> None: ...

    schema = schema_of(function)
    assert schema["properties"] == {"person": {"$ref": "#/$defs/Person"}}
    assert schema["required"] == ["person"]
    assert schema["additionalProperties"] is False
    person = schema["$defs"]["Person"]
    assert person["description"] == "Someone."
    assert person["properties"]["name"] == {
        "description": "as others call them",
        "minLength": 2,
        "type": "string",
    }
    assert person["properties"]["boss"]["anyOf"][0] == {"$ref": "#/$defs/Person"}


def test_models_arrive_as_models():
    def function(person: Person, others: list[Person]) -> None: ...

    person, others = read(
        function, '{"person":{"name":"Ada"},"others":[{"name":"Bob","boss":{"name":"Ada"}}]}'
    )
    assert person == Person(name="Ada")
    assert others[0].boss == Person(name="Ada")


def test_what_does_not_mention_pydantic_is_read_as_ever_beside_it():
    """An `int` means the same in every function, and a Struct may stand beside a model."""

    def function(count: int, box: Box, person: Person, tag: str = "x") -> None: ...

    schema = schema_of(function)
    assert list(schema["properties"]) == ["count", "box", "person", "tag"]
    assert sorted(schema["$defs"]) == ["Box", "Person"]
    json = '{"count":1,"box":{"size":2},"person":{"name":"Ada"}}'
    assert read(function, json) == (1, Box(2), Person(name="Ada"), "x")
    with pytest.raises(BadArguments, match="Expected `int`, got `str`"):
        read(function, json.replace("1", '"1"', 1))


@pytest.mark.parametrize(
    "annotation", [Person, list[Person], Person | None, Team, Strict, Options, pydantic.AnyUrl]
)
def test_pydantic_is_found_wherever_it_is_mentioned(annotation: Any):
    assert mentions_pydantic(annotation)


@pytest.mark.parametrize("annotation", [int, list[int], Box, dict[str, Box], Any, None, "Person"])
def test_and_not_where_it_is_not(annotation: Any):
    assert not mentions_pydantic(annotation)


def test_dataclasses_that_hold_models_are_checked_all_through():
    def function(team: Team, options: Options, strict: Strict) -> None: ...

    json = '{"team":{"lead":{"name":"A"}},"options":{"limit":0},"strict":{"count":0}}'
    with pytest.raises(BadArguments) as caught:
        read(function, json)
    text = str(caught.value)
    assert "at `$.team.lead.name`" in text
    assert "at `$.options.limit`" in text
    assert "at `$.strict.count`" in text


SECOND: Any = Field(2, description="two", le=9)
THIRD: Any = Field(description="three")
FOURTH: Any = Field(default_factory=list[int])
FIFTH: Any = Field(default=None)
PEOPLE = [Person(name="Ada")]


def test_field_describes_a_parameter_in_annotated_and_as_its_default():
    def function(
        first: Annotated[int, Field(description="one", ge=1)],
        second: int = SECOND,
        third: int = THIRD,
        fourth: list[int] = FOURTH,
        fifth: str = FIFTH,
    ) -> None: ...

    schema = schema_of(function)
    assert schema["required"] == ["first", "third"]
    assert Signature(function).arguments.required == {"first", "third"}
    properties = schema["properties"]
    assert properties["first"] == {"description": "one", "minimum": 1, "type": "integer"}
    assert properties["second"] == {
        "default": 2,
        "description": "two",
        "maximum": 9,
        "type": "integer",
    }
    assert read(function, '{"first":1,"third":3}') == (1, 2, 3, [], None)
    assert read(function, '{"first":1,"third":3,"fifth":null}') == (1, 2, 3, [], None)
    with pytest.raises(BadArguments, match=r"less than or equal to 9 - at `\$.second`"):
        read(function, '{"first":1,"third":3,"second":10}')


def test_plain_defaults_of_models_are_shown_and_copied():
    def function(people: list[Person] = PEOPLE, one: Person | None = None) -> None: ...

    properties = schema_of(function)["properties"]
    assert properties["people"]["default"] == [{"name": "Ada", "age": 30, "boss": None}]
    assert properties["one"]["default"] is None
    people, one = read(function, "{}")
    people.append(1)
    assert one is None
    assert read(function, "{}")[0] == [Person(name="Ada")]


def test_complaints_are_short_and_do_not_repeat_what_came():
    """A model reads them: no links to a manual, none of its own words back."""

    def function(person: Person) -> None: ...

    with pytest.raises(BadArguments) as caught:
        read(function, '{"person":{"name":"Q","age":"secret-7"}}')
    text = str(caught.value)
    assert "String should have at least 2 characters - at `$.person.name`" in text
    assert "at `$.person.age`" in text
    assert "secret-7" not in text
    assert "http" not in text
    assert "\n" not in text


def test_only_the_first_complaints_are_told():
    def function(people: list[Person]) -> None: ...

    with pytest.raises(BadArguments, match=r"and 15 more$") as caught:
        read(function, f'{{"people":[{",".join(["{}"] * 20)}]}}')
    assert str(caught.value).count("Field required") == 5


@pytest.mark.parametrize(
    ("json", "complaint"),
    [
        ("{}", "missing required field `person`"),
        ('{"person":{"name":"Ada"},"x":1}', "unknown field `x`"),
        ('{"person":null}', r"object - at `\$.person`"),
        ("[]", "Expected `object`"),
    ],
)
def test_the_list_of_arguments_itself_is_checked(json: str, complaint: str):
    def function(person: Person) -> None: ...

    with pytest.raises(BadArguments, match=complaint):
        read(function, json)


def test_strings_of_prompts_are_read_as_json_where_a_model_is_wanted():
    def function(person: Person, count: Annotated[int, Field(ge=1)], note: str = "-") -> None: ...

    arguments = Signature(function).arguments
    found = arguments.from_strings({"person": '{"name":"Ada"}', "count": "3"})
    assert found == (Person(name="Ada"), 3, "-")
    with pytest.raises(BadArguments, match=r"at `\$.count`"):
        arguments.from_strings({"person": '{"name":"Ada"}', "count": "0"})
    with pytest.raises(BadArguments, match="missing required field `count`"):
        arguments.from_strings({"person": '{"name":"Ada"}'})


def test_two_types_of_one_name_are_refused():
    def function(box: Box, person: PersonOfBox) -> None: ...

    with pytest.raises(RegistrationError, match=r"Two different types are called 'Box'"):
        Signature(function)


def test_an_alias_of_a_parameter_is_refused():
    def function(count: int = Field(alias="n")) -> None: ...

    with pytest.raises(RegistrationError, match=r"function: the parameter 'count' has an alias"):
        Signature(function)


def test_a_type_that_pydantic_cannot_read_is_refused_by_parameter():
    class Opaque: ...

    def function(pair: tuple[Person, Opaque]) -> None: ...

    with pytest.raises(RegistrationError, match=r"function: the parameter 'pair' cannot be read"):
        Signature(function)


def output_of(function: Any) -> tuple[PydanticOutput, bool]:
    found = structured(Signature(function))
    assert found is not None
    output, wrap = found
    assert isinstance(output, PydanticOutput)
    jsonschema.Draft202012Validator.check_schema(output.schema)
    return output, wrap


def test_a_model_is_structured_output():
    def function() -> Person: ...  # type: ignore[empty-body]

    output, wrap = output_of(function)
    assert not wrap
    assert output.schema["type"] == "object"
    assert output.schema["properties"]["boss"]["anyOf"][0] == {"$ref": "#/$defs/Person"}
    assert output.encode(Person(name="Ada")) == b'{"name":"Ada","age":30,"boss":null}'
    assert output.encode({"name": "Ada"}) == b'{"name":"Ada","age":30,"boss":null}'
    with pytest.raises(TypeError, match="function returned what does not fit"):
        output.encode({"name": "A"})
    with pytest.raises(TypeError, match="function returned what does not fit"):
        output.encode(Person.model_construct(name=3))  # type: ignore[arg-type]


def test_a_list_of_models_is_wrapped():
    def function() -> list[Person]: ...  # type: ignore[empty-body]

    output, wrap = output_of(function)
    assert wrap
    assert output.schema["items"] == {"$ref": "#/$defs/Person"}
    assert output.encode([]) == b"[]"


def test_a_parameter_that_pydantic_reads_can_be_mirrored_in_a_header_too():
    def function(region: Annotated[str, Header("Region"), Field(min_length=2)]) -> str: ...  # type: ignore[empty-body]

    assert Signature(function).arguments.schema["properties"]["region"] == {
        "type": "string",
        "minLength": 2,
        "x-mcp-header": "Region",
    }


def test_a_server_without_pydantic_never_loads_it():
    program = (
        "import sys, interlock\n"
        "server = interlock.Server('s')\n"
        "@server.tool\n"
        "def add(a: int, b: int = 2) -> int: return a + b\n"
        "assert not any(name.split('.')[0] == 'pydantic' for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
