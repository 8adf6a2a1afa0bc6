"""Messages made up from the official schemas: every definition has as many instances as wanted."""

from __future__ import annotations

import base64
import random
import string
from typing import Any, Final, cast

from tests.official import definitions, methods, schema

DEEPEST: Final = 7
"""How far a definition is followed into itself before only what is required is made."""
WORDS: Final = ("x", "echo", "", "name", "日本", "a b", "ok\n", "z" * 70, "é", "true", "null")
NUMBERS: Final = (0, 1, -1, 7, 2**31, 2**53 - 1, -(2**53) + 1)


class Grammar:
    """What one revision's definitions look like; *chance* decides all that they leave open."""

    def __init__(self, revision: str, chance: random.Random) -> None:
        self.revision = revision
        self._definitions = definitions(schema(revision))
        self._chance = chance

    def make(self, definition: str) -> Any:
        return self._value(self._definitions[definition], 0)

    def request(self, method: str, union: str = "ClientRequest") -> dict[str, Any]:
        """A valid request or notification of *method*."""
        return self.make(methods(self.revision, union)[method])

    def _value(self, part: Any, depth: int) -> Any:
        chance = self._chance
        if part is True or not part:
            return self._anything(depth)
        if "$ref" in part:
            return self._value(self._definitions[part["$ref"].rpartition("/")[2]], depth + 1)
        if "const" in part:
            return part["const"]
        if "enum" in part:
            return chance.choice(part["enum"])
        for word in ("anyOf", "oneOf"):
            if word in part:
                # Deep inside the first is the plainest.
                some = part[word] if depth < DEEPEST else part[word][:1]
                return self._value(chance.choice(some), depth)
        if "allOf" in part:
            whole: dict[str, Any] = {}
            for each in part["allOf"]:
                whole |= self._value(each, depth + 1)
            return whole
        match self._kind(part):
            case "object":
                return self._object(part, depth)
            case "array":
                least = part.get("minItems", 0)
                count = least if depth >= DEEPEST else chance.randint(least, least + 2)
                return [self._value(part.get("items", True), depth + 1) for _ in range(count)]
            case "string":
                return self._text(part.get("format"))
            case "integer":
                return self._number(part, chance.choice(NUMBERS))
            case "number":
                return self._number(part, chance.choice((*NUMBERS, 0.5, 1e-9)))
            case "boolean":
                return chance.random() < 0.5
            case "null":
                return None
            case _:
                return self._anything(depth)

    def _kind(self, part: dict[str, Any]) -> str | None:
        kinds = part.get("type")
        return self._chance.choice(cast("list[str]", kinds)) if isinstance(kinds, list) else kinds

    def _object(self, part: dict[str, Any], depth: int) -> dict[str, Any]:
        chance = self._chance
        required = set(part.get("required", ()))
        made = {
            name: self._value(of, depth + 1)
            for name, of in part.get("properties", {}).items()
            if name in required or (depth < DEEPEST and chance.random() < 0.5)
        }
        more = part.get("additionalProperties", False)
        if more is not False and depth < DEEPEST:
            for _ in range(chance.randint(0, 2)):
                made.setdefault(self._text(None), self._value(more, depth + 2))
        return made

    def _number(self, part: dict[str, Any], number: float) -> float:
        return max(part.get("minimum", number), min(part.get("maximum", number), number))

    def _text(self, form: str | None) -> str:
        chance = self._chance
        match form:
            case "byte":
                return base64.b64encode(chance.randbytes(chance.randint(0, 9))).decode()
            case "uri":
                return chance.choice(("note://1", "file:///a%20b", "https://example.com/?q=1"))
            case "uri-template":
                return chance.choice(("note://{name}", "file:///{+path}", "x://{a}{?b,c}"))
            case _ if chance.random() < 0.7:
                return chance.choice(WORDS)
            case _:
                return "".join(chance.choices(string.printable, k=chance.randint(1, 12)))

    def _anything(self, depth: int) -> Any:
        chance = self._chance
        leaves = (None, True, False, chance.choice(NUMBERS), 0.25, self._text(None))
        if depth >= DEEPEST or chance.random() < 0.6:
            return chance.choice(leaves)
        if chance.random() < 0.5:
            return [self._anything(depth + 1) for _ in range(chance.randint(0, 3))]
        return {self._text(None): self._anything(depth + 1) for _ in range(chance.randint(0, 3))}
