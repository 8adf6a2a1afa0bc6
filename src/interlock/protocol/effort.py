"""How much work a JSON Schema can make of a value, found by reading the schema before it is used.

Two things make a small schema costly: applicators that look at the same value again and again
(thirty `allOf` of two references each are a billion looks), and references that lead out of it.
What a schema asks for at one place is counted once; what it then costs is that times the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote, urljoin

SUBSCHEMAS: Final = 10_000
"""How many schemas one schema may be made of."""
DEPTH: Final = 128
"""How deep a schema may be nested."""
ENTANGLED: Final = 1_000_000_000
"""Looks at one place of a value beyond which nobody needs to count on: more than any check may take,
or what is counted no further would pass for what was counted."""

VALUE_DEPTH: Final = 64
"""How deep a value may be nested for its cost to be known."""

_STEPS: Final = 300_000
"""What counting itself may take."""

Slot: TypeAlias = tuple[str, str | int | None]
"""Which members or items of a value a schema is for; None for any of them."""

_SAME: Final = ("not", "if", "then", "else")
_SAME_EACH: Final = ("allOf", "anyOf", "oneOf")
_SAME_NAMED: Final = ("dependentSchemas", "dependencies")
_WITHIN: Final[dict[str, Slot]] = {
    "additionalProperties": ("member", None),
    "unevaluatedProperties": ("member", None),
    "propertyNames": ("name", None),
    "additionalItems": ("item", None),
    "unevaluatedItems": ("item", None),
    "contains": ("item", None),
    "items": ("item", None),
}
_SET_ASIDE: Final = ("$defs", "definitions")
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_METASCHEMA: Final = re.compile(r"https?://json-schema\.org/draft(-0[4-7]|/20(19-09|20-12))/.*")
_COSTLY_PATTERN: Final = re.compile(r"\(\?[=!<]|\\[1-9k]")
"""What needs a backtracking engine: looking around, and referring back."""
_COSTLY: Final = 5_000
_PLAIN: Final = 20


class Unbounded(ValueError):
    """A schema that cannot be used within bounds; the message says why."""


class Effort:
    """What validating against *schema* may cost; raises `Unbounded` if no bound can be given."""

    def __init__(self, schema: Mapping[str, Any], *, id_key: str = "$id") -> None:
        self._map = _Map(schema, id_key)
        self._steps = 0
        self._same: dict[int, dict[int, int]] = {}
        self._moves: dict[int, list[dict[int, int]]] = {}
        top = id(schema)
        reached = self._reached(top)
        looks = {node: self._looks(node) for node in reached}
        self._by_depth = [looks[top]]
        level: dict[int, int] = {}
        deeper = looks
        while deeper != level and len(self._by_depth) <= VALUE_DEPTH:
            level = deeper
            deeper = {node: looks[node] + self._deeper(node, level) for node in reached}
            self._by_depth.append(deeper[top])

    def of(self, size: int, depth: int) -> int:
        """Looks at a value of *size* places nested *depth* deep, at most `VALUE_DEPTH`."""
        return size * self._by_depth[min(depth, len(self._by_depth) - 1)]

    def _reached(self, top: int) -> list[int]:
        found = {top: None}
        queue = [top]
        for node in queue:
            for move in self._from(node):
                for child in move:
                    if child not in found:
                        found[child] = None
                        queue.append(child)
        return list(found)

    def _deeper(self, node: int, level: dict[int, int]) -> int:
        self._spend(1 + sum(map(len, self._moves[node])))
        most = max(
            (
                sum(times * level[child] for child, times in move.items())
                for move in self._from(node)
            ),
            default=0,
        )
        return min(most, ENTANGLED)

    def _looks(self, node: int) -> int:
        places = self._map.places
        same = self._applied(node)
        return min(sum(times * places[each].weight for each, times in same.items()), ENTANGLED)

    def _from(self, node: int) -> list[dict[int, int]]:
        """For each slot the schemas that a child in it is looked at with, and how often."""
        known = self._moves.get(node)
        if known is not None:
            return known
        slots: dict[Slot, dict[int, int]] = {}
        for each, times in self._applied(node).items():
            for slot, child in self._map.places[each].within:
                self._spend(1)
                there = slots.setdefault(slot, {})
                there[child] = min(there.get(child, 0) + times, ENTANGLED)
        # What is for any member is for the named ones as well.
        for (kind, name), there in slots.items():
            if name is not None:
                for child, times in slots.get((kind, None), {}).items():
                    self._spend(1)
                    there[child] = min(there.get(child, 0) + times, ENTANGLED)
        self._moves[node] = list(slots.values())
        return self._moves[node]

    def _applied(self, node: int) -> dict[int, int]:
        """The schemas that look at the same value as *node* does, itself included, and how often."""
        done = self._same
        stack = [node]
        under_way: set[int] = set()
        while stack:
            here = stack[-1]
            if here in done:
                stack.pop()
                continue
            under_way.add(here)
            same = self._map.places[here].same
            # One that leads back to itself is not followed again: validators notice that.
            missing = [each for each in same if each not in done and each not in under_way]
            if missing:
                stack.extend(missing)
                self._spend(len(missing))
                continue
            applied = {here: 1}
            for each in same:
                for inner, times in done.get(each, {}).items():
                    self._spend(1)
                    applied[inner] = min(applied.get(inner, 0) + times, ENTANGLED)
            done[here] = applied
            under_way.discard(here)
            stack.pop()
        return done[node]

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > _STEPS:
            raise Unbounded("its references and applicators are too entangled to be followed")


class _Place:
    """One schema within a schema, and where it leads."""

    __slots__ = ("same", "schema", "weight", "within")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self.weight = _weight(schema)
        self.same: list[int] = []
        self.within: list[tuple[Slot, int]] = []


class _Map:
    """Every schema within a schema that validating can come to, with its references resolved."""

    def __init__(self, top: Mapping[str, Any], id_key: str) -> None:
        self.places: dict[int, _Place] = {}
        self._id_key = id_key
        self._bases: dict[int, str] = {}
        self._resources: dict[str, Mapping[str, Any]] = {"": top}
        self._anchors: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._dynamic: dict[str, list[Mapping[str, Any]]] = {}
        self._label(top, "")
        queue = [top]
        for schema in queue:
            self._link(schema, queue)

    def _label(self, top: Mapping[str, Any], base: str) -> None:
        """Note the base URI, the ids and the anchors of a schema and of all within it."""
        queue: list[tuple[Mapping[str, Any], str, int]] = [(top, base, 0)]
        for schema, outer, depth in queue:
            if id(schema) in self._bases:
                continue
            if depth > DEPTH:
                raise Unbounded(f"it is nested more than {DEPTH} deep")
            if len(self._bases) >= SUBSCHEMAS:
                raise Unbounded(f"it has more than {SUBSCHEMAS} schemas within it")
            own = schema.get(self._id_key)
            base = outer
            if isinstance(own, str) and not own.startswith("#"):
                base = urljoin(outer, own).partition("#")[0]
                self._resources.setdefault(base, schema)
            self._bases[id(schema)] = base
            for key in ("$anchor", "$dynamicAnchor"):
                anchor = schema.get(key)
                if isinstance(anchor, str):
                    self._anchors.setdefault((base, anchor), schema)
                    if key == "$dynamicAnchor":
                        self._dynamic.setdefault(anchor, []).append(schema)
            if isinstance(own, str) and own.startswith("#"):
                self._anchors.setdefault((base, own[1:]), schema)  # As anchors were up to draft 7.
            if schema.get("$recursiveAnchor") is True:
                self._dynamic.setdefault("#", []).append(schema)
            queue.extend((inner, base, depth + 1) for inner in _inner(schema))

    def _link(self, schema: Mapping[str, Any], queue: list[Mapping[str, Any]]) -> None:
        if id(schema) in self.places:
            return
        place = self.places[id(schema)] = _Place(schema)
        for each in _same(schema):
            place.same.append(id(each))
            queue.append(each)
        for each in self._referred(schema):
            place.same.append(id(each))
            queue.append(each)
        for slot, each in _within(schema):
            place.within.append((slot, id(each)))
            queue.append(each)

    def _referred(self, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        for key in _REFERENCES:
            reference = schema.get(key)
            if not isinstance(reference, str):
                continue
            target = self._resolve(self._bases[id(schema)], reference)
            if target is not None:
                yield target
            if key != "$ref":
                # Which of them it will be depends on the way there; each is counted.
                name = reference.rpartition("#")[2] or "#"
                yield from (each for each in self._dynamic.get(name, ()) if each is not target)

    def _resolve(self, base: str, reference: str) -> Mapping[str, Any] | None:
        uri = base + reference if reference.startswith("#") else urljoin(base, reference)
        root, _, fragment = uri.partition("#")
        resource = self._resources.get(root)
        if resource is None:
            if _METASCHEMA.fullmatch(root):
                return None  # Every validator brings it along.
            raise Unbounded(
                f"it refers to {reference[:200]!r}, which is not within it, and nothing is "
                "fetched: put what is referred to under $defs"
            )
        if not fragment or fragment.startswith("/"):
            target = _at(resource, unquote(fragment))
        else:
            target = self._anchors.get((root, unquote(fragment)))
        if isinstance(target, bool):
            return None
        if not isinstance(target, Mapping):
            raise Unbounded(f"it refers to {reference[:200]!r}, and there is no schema there")
        found = cast("Mapping[str, Any]", target)
        if id(found) not in self._bases:
            self._label(found, self._bases[id(resource)])
        return found


def _weight(schema: Mapping[str, Any]) -> int:
    weight = 1
    options = schema.get("enum")
    if isinstance(options, list):
        weight += len(cast("list[Any]", options)) // 8
    patterns: list[Any] = [schema.get("pattern"), *_members(schema.get("patternProperties"))]
    for pattern in patterns:
        if isinstance(pattern, str):
            weight += _COSTLY if _COSTLY_PATTERN.search(pattern) else _PLAIN
    return weight


def _inner(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas directly within a schema, those that are only referred to included."""
    yield from _same(schema)
    yield from (each for _, each in _within(schema))
    for key in _SET_ASIDE:
        yield from _schemas(_members(schema.get(key)).values())


def _same(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schemas that a schema holds the same value against."""
    yield from _schemas(schema.get(key) for key in _SAME)
    for key in _SAME_EACH:
        yield from _schemas(_items(schema.get(key)))
    for key in _SAME_NAMED:
        yield from _schemas(_members(schema.get(key)).values())


def _within(schema: Mapping[str, Any]) -> Iterator[tuple[Slot, Mapping[str, Any]]]:
    """The schemas that a schema holds members and items against, and which ones."""
    for key, slot in _WITHIN.items():
        for each in _schemas([schema.get(key)]):
            yield slot, each
    for name, value in _members(schema.get("properties")).items():
        for each in _schemas([value]):
            yield ("member", name), each
    for each in _schemas(_members(schema.get("patternProperties")).values()):
        yield ("member", None), each
    for key in ("prefixItems", "items"):
        for number, value in enumerate(_items(schema.get(key))):
            for each in _schemas([value]):
                yield ("item", number), each


def _schemas(values: Any) -> Iterator[Mapping[str, Any]]:
    for value in values:
        if isinstance(value, Mapping):
            yield cast("Mapping[str, Any]", value)


def _members(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _items(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _at(resource: Mapping[str, Any], pointer: str) -> Any:
    """What a JSON pointer leads to; None if nothing."""
    found: Any = resource
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = cast("Mapping[str, Any]", found).get(key)
        elif isinstance(found, list) and key.isdecimal() and len(key) < 6:
            items = cast("list[Any]", found)
            found = items[int(key)] if int(key) < len(items) else None
        else:
            return None
    return found
