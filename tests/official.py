"""The official schemas of the five revisions, as a function that complains."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

HERE = Path(__file__).parent / "schema"

UNIONS = ("ClientRequest", "ServerRequest", "ClientNotification", "ServerNotification")
"""Where a message fits none of twenty members, all that can be said is that it does not: these are
looked up by the message's method instead."""


@cache
def schema(revision: str) -> dict[str, Any]:
    whole = json.loads((HERE / f"{revision}.json").read_text())
    _mend(definitions(whole))
    if revision == "2026-07-28":
        for extension in ("tasks", "skills"):
            file = HERE / f"{extension}.json"
            _extend(definitions(whole), definitions(json.loads(file.read_text())))
    return whole


def definitions(whole: dict[str, Any]) -> dict[str, Any]:
    return whole["$defs" if "$defs" in whole else "definitions"]


def _extend(defined: dict[str, Any], extension: dict[str, Any]) -> None:
    """Let an extension's messages be among those of the revision."""
    for name, part in extension.items():
        for ending, union in (("Request", "ClientRequest"), ("Notification", "ServerNotification")):
            if name.endswith(ending):
                part["properties"] = {"method": part["allOf"][1]["properties"]["method"]}
                defined[union]["anyOf"].append({"$ref": f"#/$defs/{name}"})
        defined[name] = part


def _mend(defined: dict[str, Any]) -> None:
    """Undo an error of the files: where the specification's source says number, they say integer."""
    number = defined.get("NumberSchema", {}).get("properties", {})
    for name in ("minimum", "maximum", "default"):
        if name in number:
            number[name]["type"] = "number"
    if "ElicitResult" in defined:
        content = defined["ElicitResult"]["properties"]["content"]["additionalProperties"]
        for kinds in (content, *content.get("anyOf", ())):
            if isinstance(kinds.get("type"), list):
                kinds["type"] = ["number" if kind == "integer" else kind for kind in kinds["type"]]


@cache
def methods(revision: str, union: str) -> dict[str, str]:
    """The members of *union* by the method that they are of."""
    defined = definitions(schema(revision))
    whole = defined.get(union, {})
    names = [each["$ref"].rpartition("/")[2] for each in whole.get("anyOf", ())] or [union]
    found = {name: defined[name] for name in names if name in defined}
    return {part["properties"]["method"]["const"]: name for name, part in found.items()}


@cache
def validator(revision: str, definition: str) -> jsonschema_rs.Validator:
    whole = schema(revision)
    member = "$defs" if "$defs" in whole else "definitions"
    assert definition in whole[member], f"{revision} defines no {definition}"
    part = {member: whole[member], "$ref": f"#/{member}/{definition}"}
    if "2020-12" in whole["$schema"]:
        return jsonschema_rs.Draft202012Validator(part, validate_formats=True)
    return jsonschema_rs.Draft7Validator(part, validate_formats=True)


def complaint(revision: str, definition: str, value: Any) -> str | None:
    """What is wrong with *value* as a *definition* of *revision*; None if nothing is."""
    if definition in UNIONS:
        method = value.get("method")
        known = methods(revision, definition)
        if not isinstance(method, str) or method not in known:
            return f"there is no {method!r} among {', '.join(known)}"
        definition = known[method]
    elif definition not in definitions(schema(revision)):
        return f"{revision} defines no {definition}"
    for error in validator(revision, definition).iter_errors(value):
        return f"{'.'.join(map(str, error.instance_path)) or 'it'}: {error.message[:300]}"
    return None
