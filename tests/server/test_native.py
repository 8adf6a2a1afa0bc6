"""Plain types, dataclasses, TypedDicts and Structs as parameters and results: ours to describe."""

# Without `from __future__ import annotations`: these signatures hold types, not their names.

import enum
import inspect
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import annotated_types
import jsonschema
import pytest
import typing_extensions
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from interlock.errors import RegistrationError
from interlock.server.function import Signature, structured
from interlock.server.native import NativeOutput
from interlock.server.shape import BadArguments, wrapped


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@dataclass
class Point:
    """A place."""

    x: int
    y: Annotated[int, "how far up"] = 0
    tags: list[str] = field(default_factory=list[str])


@dataclass
class Line:
    points: list[Point]


class Movie(TypedDict):
    name: Annotated[str, "as on the poster"]
    year: NotRequired[Annotated[int, "of its first showing"]]


class Wheel(Struct, rename="camel"):
    outer_radius: Annotated[float, "in metres"]


class Pair(NamedTuple):
    left: int
    right: str


class Circle(Struct, tag=True):
    radius: float


class Square(Struct, tag=True):
    side: float


class Tree(Struct):
    value: int
    children: list["Tree"] = []


NO_DEFAULT: Any = object()


def with_parameter(annotation: Any, default: Any = NO_DEFAULT) -> Signature:
    """The signature of a function with one parameter, `it`."""

    def function(it: Any) -> None: ...

    parameter = inspect.Parameter("it", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if default is not NO_DEFAULT:
        parameter = parameter.replace(default=default)
    function.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]  read by inspect
    function.__annotations__ = {"it": annotation}
    return Signature(function)


def parameter_schema(annotation: Any, default: Any = NO_DEFAULT) -> dict[str, Any]:
    schema = with_parameter(annotation, default).arguments.schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    return schema["properties"]["it"]


def read(annotation: Any, json: str, default: Any = NO_DEFAULT) -> Any:
    (value,) = with_parameter(annotation, default).arguments.from_json(Raw(json.encode()))
    return value


@pytest.mark.parametrize(
    ("annotation", "schema", "json", "value"),
    [
        (str, {"type": "string"}, '"a"', "a"),
        (int, {"type": "integer"}, "1", 1),
        (float, {"type": "number"}, "1", 1.0),
        (bool, {"type": "boolean"}, "true", True),
        (None, {"type": "null"}, "null", None),
        (Any, {}, '{"a":[1]}', {"a": [1]}),
        (list, {"type": "array"}, "[1]", [1]),
        (dict, {"type": "object"}, '{"a":1}', {"a": 1}),
        (list[int], {"type": "array", "items": {"type": "integer"}}, "[1]", [1]),
        (Sequence[int], {"type": "array", "items": {"type": "integer"}}, "[1]", [1]),
        (
            dict[str, int],
            {"type": "object", "additionalProperties": {"type": "integer"}},
            '{"a":1}',
            {"a": 1},
        ),
        (
            Mapping[str, int],
            {"type": "object", "additionalProperties": {"type": "integer"}},
            '{"a":1}',
            {"a": 1},
        ),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "null", None),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}, '"a"', "a"),
        (Literal["a", "b"], {"enum": ["a", "b"], "type": "string"}, '"a"', "a"),
        (Literal[1, "a"], {"enum": [1, "a"]}, "1", 1),
        (date, {"type": "string", "format": "date"}, '"2026-07-28"', date(2026, 7, 28)),
        (datetime, {"type": "string"}, '"2026-07-28T01:02:03"', datetime(2026, 7, 28, 1, 2, 3)),  # noqa: DTZ001
        (Decimal, {"type": "string", "format": "decimal"}, '"1.50"', Decimal("1.50")),
        (
            uuid.UUID,
            {"type": "string", "format": "uuid"},
            f'"{uuid.UUID(int=7)}"',
            uuid.UUID(int=7),
        ),
        (bytes, {"type": "string", "contentEncoding": "base64"}, '"aGk="', b"hi"),
    ],
)
def test_plain_types_are_described_and_read(
    annotation: Any, schema: dict[str, Any], json: str, value: Any
):
    assert parameter_schema(annotation) == schema
    found = read(annotation, f'{{"it":{json}}}')
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (Annotated[int, "how many"], {"type": "integer", "description": "how many"}),
        (
            Annotated[int, Meta(ge=1, description="d")],
            {"type": "integer", "minimum": 1, "description": "d"},
        ),
        (Annotated[int, typing_extensions.Doc("d")], {"type": "integer", "description": "d"}),
        (Annotated[int, annotated_types.Ge(1)], {"type": "integer", "minimum": 1}),
        (
            Annotated[int, annotated_types.Interval(gt=0, le=9)],
            {"type": "integer", "exclusiveMinimum": 0, "maximum": 9},
        ),
        (
            Annotated[str, annotated_types.Len(1, 3)],
            {"type": "string", "minLength": 1, "maxLength": 3},
        ),
        (Annotated[str, Meta(pattern="^a")], {"type": "string", "pattern": "^a"}),
        (
            Annotated[int | None, "count", Meta(ge=1)],
            {
                "anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}],
                "description": "count",
            },
        ),
        (
            Annotated[list[str] | str, Meta(min_length=1)],
            {
                "anyOf": [
                    {"type": "array", "items": {"type": "string"}, "minItems": 1},
                    {"type": "string", "minLength": 1},
                ]
            },
        ),
        (
            list[Annotated[int, "an age"]],
            {"type": "array", "items": {"type": "integer", "description": "an age"}},
        ),
        (
            Annotated[int, Meta(extra_json_schema={"x-mcp-header": "N"})],
            {"type": "integer", "x-mcp-header": "N"},
        ),
        (Annotated[int, object()], {"type": "integer"}),
    ],
)
def test_descriptions_and_constraints_of_annotated_are_in_the_schema(
    annotation: Any, schema: dict[str, Any]
):
    assert parameter_schema(annotation) == schema


@pytest.mark.parametrize(
    ("annotation", "json", "complaint"),
    [
        (int, '{"it":"x"}', "Expected `int`, got `str` - at `$.it`"),
        (int, '{"it":1.5}', "Expected `int`, got `float` - at `$.it`"),
        (int, "{}", "Object missing required field `it`"),
        (int, '{"it":1,"that":2}', "Object contains unknown field `that`"),
        (int, "[]", "Expected `object`, got `array`"),
        (Annotated[int, Meta(ge=1)], '{"it":0}', "Expected `int` >= 1 - at `$.it`"),
        (Annotated[int | None, Meta(ge=1)], '{"it":0}', "Expected `int` >= 1 - at `$.it`"),
        (Annotated[str, annotated_types.MaxLen(2)], '{"it":"abc"}', "length <= 2"),
        (Literal["a", "b"], '{"it":"c"}', "Invalid enum value 'c'"),
        (Color, '{"it":"green"}', "Invalid enum value 'green'"),
        (date, '{"it":"soon"}', "Invalid RFC3339 encoded date"),
        (list[Point], '{"it":[{"x":1},{"x":"b"}]}', "at `$.it[1].x`"),
        (Movie, '{"it":{}}', "missing required field `name` - at `$.it`"),
    ],
)
def test_a_complaint_says_where_and_what_was_expected(annotation: Any, json: str, complaint: str):
    with pytest.raises(BadArguments) as caught:
        read(annotation, json)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("annotation", "json", "value"),
    [
        (int, "5.0", 5),
        (int, "1e2", 100),
        (list[Point], '[{"x":1.0}]', [Point(1)]),
        (int | None, "-0.0", 0),
        (float, "5.0", 5.0),
    ],
)
def test_a_whole_number_is_an_integer_however_it_is_written(annotation: Any, json: str, value: Any):
    """So says JSON Schema, which is what a client was told (2020-12 § type)."""
    assert read(annotation, f'{{"it":{json}}}') == value


def test_a_complaint_does_not_repeat_a_long_value():
    with pytest.raises(BadArguments) as caught:
        read(Color, '{"it":"%s"}' % ("x" * 5000))
    assert len(str(caught.value)) < 400


def test_absent_and_null_arguments_are_no_arguments():
    """`arguments` is optional, and some clients send null for it."""
    arguments = with_parameter(int, 7).arguments
    assert arguments.from_json(Raw()) == (7,)
    assert arguments.from_json(Raw(b"null")) == (7,)
    with pytest.raises(BadArguments, match="missing required"):
        with_parameter(int).arguments.from_json(Raw(b"null"))


def test_a_function_without_parameters_takes_an_empty_object():
    """The form the specification recommends for tools without arguments (§ Tools)."""

    def function() -> None: ...

    assert Signature(function).arguments.schema == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


def test_classes_are_described_under_defs():
    schema = with_parameter(list[Point]).arguments.schema
    assert schema["properties"]["it"] == {"type": "array", "items": {"$ref": "#/$defs/Point"}}
    assert schema["$defs"]["Point"]["properties"]["y"] == {
        "type": "integer",
        "default": 0,
        "description": "how far up",
    }
    assert schema["$defs"]["Point"]["description"] == "A place."
    assert read(list[Point], '{"it":[{"x":1,"y":2}]}') == [Point(1, 2)]


def test_classes_inside_classes_are_described_too():
    definitions = with_parameter(Line | None).arguments.schema["$defs"]
    assert definitions["Line"]["properties"]["points"]["items"] == {"$ref": "#/$defs/Point"}
    assert definitions["Point"]["properties"]["y"]["description"] == "how far up"


def test_typed_dicts_may_leave_out_what_is_not_required():
    movie = with_parameter(Movie).arguments.schema["$defs"]["Movie"]
    assert movie["required"] == ["name"]
    assert movie["properties"] == {
        "name": {"type": "string", "description": "as on the poster"},
        "year": {"type": "integer", "description": "of its first showing"},
    }
    assert read(Movie, '{"it":{"name":"M"}}') == {"name": "M"}


def test_structs_keep_their_names_on_the_wire():
    wheel = with_parameter(Wheel).arguments.schema["$defs"]["Wheel"]
    assert wheel["properties"] == {"outerRadius": {"type": "number", "description": "in metres"}}
    assert read(Wheel, '{"it":{"outerRadius":2}}') == Wheel(2.0)


def test_enums_say_their_type():
    """Some hosts refuse an enumeration without one."""
    assert with_parameter(Color).arguments.schema["$defs"]["Color"]["type"] == "string"
    assert with_parameter(Size).arguments.schema["$defs"]["Size"]["type"] == "integer"
    assert read(Color, '{"it":"red"}') is Color.RED


def test_tagged_structs_make_a_union():
    assert read(Circle | Square, '{"it":{"type":"Square","side":2}}') == Square(2.0)


def test_recursive_types_refer_to_themselves():
    schema = with_parameter(Tree).arguments.schema
    assert schema["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    tree = read(Tree, '{"it":{"value":1,"children":[{"value":2}]}}')
    assert tree == Tree(1, [Tree(2)])


@pytest.mark.parametrize(
    ("annotation", "default", "shown"),
    [
        (int, 3, 3),
        (str, "", ""),
        (int | None, None, None),
        (list[int], [1], [1]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Color, Color.RED, "red"),
        (date, date(2026, 7, 28), "2026-07-28"),
        (Point, Point(1), {"x": 1, "y": 0, "tags": []}),
        (Annotated[int, "count"], 3, 3),
    ],
)
def test_a_default_is_shown_and_used(annotation: Any, default: Any, shown: Any):
    signature = with_parameter(annotation, default)
    assert signature.arguments.schema["properties"]["it"]["default"] == shown
    assert "required" not in signature.arguments.schema
    assert signature.arguments.required == frozenset()
    assert signature.arguments.from_json(Raw(b"{}")) == (default,)


def test_a_mutable_default_is_new_in_each_call():
    arguments = with_parameter(list[dict[str, int]], [{"a": 1}]).arguments
    (first,) = arguments.from_json(Raw(b"{}"))
    first[0]["a"] = 2
    first.append({})
    assert arguments.from_json(Raw(b"{}")) == ([{"a": 1}],)


def test_a_default_that_is_no_json_is_used_but_not_shown():
    sentinel = object()
    arguments = with_parameter(Any, sentinel).arguments
    assert "default" not in arguments.schema["properties"]["it"]
    assert arguments.from_json(Raw()) == (sentinel,)


@pytest.mark.parametrize("annotation", [int, Annotated[int, "count"], Literal["a"]])
def test_a_default_of_none_makes_null_acceptable(annotation: Any):
    """`x: int = None`: a model that reads the default in the schema may send it."""
    assert parameter_schema(annotation, None)["anyOf"][1] == {"type": "null"}
    assert read(annotation, '{"it":null}', None) is None


def test_what_was_left_out_can_be_told_from_null():
    assert read(int | None | UnsetType, "{}", UNSET) is UNSET
    assert read(int | None | UnsetType, '{"it":null}', UNSET) is None


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "5", "5"),
        (int, "5", 5),
        (float, "5", 5.0),
        (bool, "true", True),
        (Color, "red", Color.RED),
        (date, "2026-07-28", date(2026, 7, 28)),
        (int | None, "5", 5),
        (list[int], "[1, 2]", [1, 2]),
        (Point, '{"x": 1}', Point(1)),
        (str, "[1]", "[1]"),
    ],
)
def test_strings_of_prompts_and_uris_are_converted(annotation: Any, text: str, value: Any):
    assert with_parameter(annotation).arguments.from_strings({"it": text}) == (value,)


def test_a_string_that_cannot_be_converted_is_complained_about():
    with pytest.raises(BadArguments, match=r"Expected `int`, got `str` - at `\$.it`"):
        with_parameter(int).arguments.from_strings({"it": "five"})


class Opaque:
    pass


@pytest.mark.parametrize("annotation", [Opaque, list[Opaque], complex, Point | Line])
def test_a_type_that_cannot_be_described_is_refused_by_parameter(annotation: Any):
    def handle(fine: int, it: Any) -> None: ...

    handle.__annotations__["it"] = annotation
    with pytest.raises(RegistrationError, match="handle: the parameter 'it' has the type"):
        Signature(handle)


def output_of(annotation: Any) -> tuple[NativeOutput, bool]:
    def function() -> Any: ...

    function.__annotations__["return"] = annotation
    found = structured(Signature(function))
    assert found is not None
    output, wrap = found
    assert isinstance(output, NativeOutput)
    jsonschema.Draft202012Validator.check_schema(wrapped(output.schema) if wrap else output.schema)
    return output, wrap


@pytest.mark.parametrize(
    ("annotation", "value", "json"),
    [
        (Point, Point(1), b'{"x":1,"y":0,"tags":[]}'),
        (Point, {"x": 1}, b'{"x":1}'),
        (Movie, {"name": "M"}, b'{"name":"M"}'),
        (Wheel, Wheel(2.0), b'{"outerRadius":2.0}'),
        (dict[str, int], {"a": 1}, b'{"a":1}'),
        (dict, {"a": [1]}, b'{"a":[1]}'),
    ],
)
def test_objects_are_structured_as_they_are(annotation: Any, value: Any, json: bytes):
    output, wrap = output_of(annotation)
    assert not wrap
    assert output.schema["type"] == "object"
    assert output.encode(value) == json


@pytest.mark.parametrize(
    ("annotation", "value", "json"),
    [
        (int, 3, b"3"),
        (bool, True, b"true"),
        (list[Point], [Point(1)], b'[{"x":1,"y":0,"tags":[]}]'),
        (Point | None, None, b"null"),
        (tuple[int, str], (1, "a"), b'[1,"a"]'),
        (Pair, Pair(1, "a"), b'[1,"a"]'),
        (set[int], {1}, b"[1]"),
        (Color, Color.RED, b'"red"'),
        (date, date(2026, 7, 28), b'"2026-07-28"'),
        (float, math.pi, b"3.141592653589793"),
    ],
)
def test_anything_else_is_to_be_wrapped(annotation: Any, value: Any, json: bytes):
    output, wrap = output_of(annotation)
    assert wrap
    assert output.encode(value) == json


def test_an_object_with_the_right_attributes_fits_a_declared_class():
    class Row:
        x = 1
        y = 2
        tags = ("a",)

    output, _ = output_of(Point)
    assert output.encode(Row()) == b'{"x":1,"y":2,"tags":["a"]}'


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Point, None),
        (Point, 3),
        (Point, Point("one")),  # type: ignore[arg-type]  the fault that is tested
        (dict[str, int], {"a": "b"}),
        (float, math.nan),
        (int, "3"),
        (Point, Opaque()),
    ],
)
def test_what_does_not_fit_its_return_type_does_not_get_out(annotation: Any, value: Any):
    output, _ = output_of(annotation)
    with pytest.raises(TypeError, match="function returned what does not fit its return type"):
        output.encode(value)


def test_a_return_type_that_cannot_be_described_says_what_to_do():
    def function() -> Opaque: ...  # type: ignore[empty-body]

    with pytest.raises(RegistrationError, match=r"function: the return type .*structured=False"):
        structured(Signature(function))


def test_the_schema_of_a_recursive_result_keeps_its_definition():
    output, wrap = output_of(Tree)
    assert not wrap
    assert output.schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    jsonschema.validate({"value": 1, "children": [{"value": 2}]}, output.schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"value": 1, "children": [None]}, output.schema)


def test_wrapping_keeps_references_working():
    output, _ = output_of(list[Tree])
    schema = wrapped(output.schema)
    jsonschema.validate({"result": [{"value": 1}]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"result": [None]}, schema)
