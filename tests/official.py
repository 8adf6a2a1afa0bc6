"""The official schemas of the five revisions, as a function that complains."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, Draft202012Validator, ValidationError

HERE = Path(__file__).parent / "schema"


@cache
def schema(revision: str) -> dict[str, Any]:
    return json.loads((HERE / f"{revision}.json").read_text())


@cache
def validator(revision: str, definition: str) -> Any:
    whole = schema(revision)
    member = "$defs" if "$defs" in whole else "definitions"
    assert definition in whole[member], f"{revision} defines no {definition}"
    part = {**whole, "$ref": f"#/{member}/{definition}"}
    if "2020-12" in whole["$schema"]:
        return Draft202012Validator(part)
    return Draft7Validator({member: whole[member], "$ref": part["$ref"]})


def complaint(revision: str, definition: str, value: Any) -> str | None:
    """What is wrong with *value* as a *definition* of *revision*; None if nothing is."""
    try:
        validator(revision, definition).validate(value)
    except ValidationError as error:
        return f"{error.json_path}: {error.message[:300]}"
    return None
