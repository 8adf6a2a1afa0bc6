"""URI templates: RFC 6570 to expand them, and the way back that resource templates need.

The RFC defines expansion only; matching is ours. A template becomes one regular expression, whose
cost is bounded by how it is built, so that no URI, however crafted, holds a server up:

- A variable takes only characters of its kind. Where the text after it starts with another
  character, it takes all it can and never gives back (`++`): that is nearly every variable there is.
- Where the text after it could be part of it (`{name}.{ext}`), it commits to one place (`(?>...)`).
  Among variables of one kind the leftmost place for all but the last separator, and the rightmost
  for the last, leaves the most room to the rest: if any reading fits, this one does.
  Thus `{date}-{name}.{ext}` reads `2026-my.file-1.txt` as a person would.
- One variable may span what separates others (`{+path}/{file}`); it alone tries place after place,
  and a second one is refused with the template. Each try ends with its segment, so the cost stays
  linear unless the separator may stand inside a segment (`{+path}.{ext}`): then it is quadratic, and
  such a template matches URIs of up to 2 kB only, the worst of which takes milliseconds.

Percent-encoding is always looked at in whole triplets, and URIs with characters beyond ASCII are
encoded first, so both spellings match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from string import hexdigits
from typing import TypeAlias
from urllib.parse import quote, unquote_to_bytes

from msgspec import Struct

from interlock.wire.decoding import pattern

LIMIT = 8192
"""Characters in a URI, or a template: longer ones do not match, or are refused."""
_QUADRATIC_LIMIT = 2048

Scalar: TypeAlias = str | int | float
Value: TypeAlias = Scalar | Sequence[Scalar] | Mapping[str, Scalar] | None
"""What a variable may hold; None, and an empty list or mapping, count as undefined (§2.3)."""


class BadTemplate(ValueError):
    """A template that is not RFC 6570, or one whose matches could be read in several ways."""

    def __init__(self, text: str, position: int, expected: str) -> None:
        super().__init__(f"URI template {text[:200]!r}, position {position}: expected {expected}")
        self.text = text
        self.position = position


class BadValue(ValueError):
    """A variable was given something that has no place in a URI."""


class Template:
    """A URI template, ready to expand and to match; unchangeable, so safe to share.

    Matched values are refused where they smell of traversal: a `..` between slashes or backslashes,
    control characters, and (except in `{+x}`, `{#x}` and query parameters) a slash or backslash
    hidden by encoding. `traversal=True` takes such values too, for handlers that check themselves.
    `{+path}` may still start with a slash: who opens files must resolve the path under its root.
    """

    def __init__(self, text: str, *, traversal: bool = False) -> None:
        """Raises BadTemplate, naming the position and what was expected there."""
        self.text = text
        self._traversal = traversal
        self._parts = tuple(_parse(text))
        pieces = _flatten(self._parts)
        self._captures = tuple(piece for piece in pieces if not isinstance(piece, str))
        pattern, self._limit = _pattern(text, pieces)
        self._pattern = re.compile(pattern)
        expressions = [part for part in self._parts if isinstance(part, _Expression)]
        self.names = tuple(
            dict.fromkeys(variable.name for each in expressions for variable in each.variables)
        )
        """The variables, each once, in the order of the text."""
        self.literal = not self.names
        """Whether there are no variables: a plain URI, which matches itself."""

    def __repr__(self) -> str:
        return f"Template({self.text!r})"

    def expand(self, values: Mapping[str, Value]) -> str:
        """The URI these values make. Undefined variables leave nothing; unknown names are ignored.

        Raises BadValue for what is neither text nor number, nor a list or mapping of those.
        """
        return "".join(
            part if isinstance(part, str) else _expand(part, values) for part in self._parts
        )

    def match(self, uri: str) -> dict[str, str] | None:
        """The decoded values that make this URI, or None if it is not one of this template's.

        `{x}`, `{.x}`, `{/x}` and `{;x}` take one segment, `{/x*}` segments with their slashes, `{+x}`
        and `{#x}` anything that is left for them; each at least one character. Parameters of
        `{?x}`, `{&x}` and `{;x}` may come in any order or not at all (they are missing from the
        answer, as is a `{#x}` that ends the template); unknown or repeated ones do not match.

            >>> Template("repo://{owner}/{+path}{?ref}").match("repo://ada/src/a%20b.py?ref=main")
            {'owner': 'ada', 'path': 'src/a b.py', 'ref': 'main'}
        """
        found = self._find(uri)
        if found is None:
            return None
        values: dict[str, str] = {}
        prefixes: list[tuple[int, str, str]] = []
        for piece, text in zip(self._captures, found.groups(), strict=True):
            pairs = [] if text is None else piece.read(text)
            if pairs is None:
                return None
            for variable, raw in pairs:
                value = self._decode(raw, piece.segments)
                if value is None:
                    return None
                if variable.limit is not None:
                    prefixes.append((variable.limit, variable.name, value))
                elif values.setdefault(variable.name, value) != value:
                    return None
        for limit, name, value in sorted(prefixes, reverse=True):
            if len(value) > limit or values.setdefault(name, value)[:limit] != value:
                return None
        return values

    def _find(self, uri: str) -> re.Match[str] | None:
        if not uri.isascii() and len(uri) <= self._limit:
            try:
                uri = quote(uri, safe=_ASCII)
            except UnicodeEncodeError:
                return None
        if len(uri) > self._limit:
            return None
        if "%" in uri and _LONE_PERCENT.search(uri):
            return None
        return self._pattern.fullmatch(uri)

    def _decode(self, raw: str, segments: bool) -> str | None:
        value = raw
        if "%" in raw:
            try:
                value = unquote_to_bytes(raw).decode()
            except UnicodeDecodeError:
                return None
        if self._traversal:
            return value
        if _TRAVERSAL.search(value):
            return None
        if segments and ("\\" in value or value.count("/") != raw.count("/")):
            return None
        return value


# The template's parts, as they are written.


class _Operator(Struct, frozen=True):
    """A row of the table in RFC 6570, appendix A."""

    first: str
    separator: str
    named: bool = False
    if_empty: str = ""
    reserved: bool = False


_OPERATORS = {
    "": _Operator("", ","),
    "+": _Operator("", ",", reserved=True),
    "#": _Operator("#", ",", reserved=True),
    ".": _Operator(".", "."),
    "/": _Operator("/", "/"),
    ";": _Operator(";", ";", named=True),
    "?": _Operator("?", "&", named=True, if_empty="="),
    "&": _Operator("&", "&", named=True, if_empty="="),
}
_FUTURE_OPERATORS = "=,!@|"


class _Variable(Struct, frozen=True):
    name: str
    explode: bool
    limit: int | None
    """The most characters a `{x:3}` may show."""


class _Expression(Struct, frozen=True):
    operator: str
    variables: tuple[_Variable, ...]
    position: int


_Part: TypeAlias = str | _Expression

_LITERAL = pattern(
    r"""(?:[^\x00-\x20"%<>\\^`{|}\x7f-\x9f\ud800-\udfff]|%[0-9A-Fa-f]{2})+""",
)
_VARIABLE = pattern(
    r"((?:\w|%[0-9A-F]{2})(?:\.?(?:\w|%[0-9A-F]{2}))*)(?:(\*)|:([1-9][0-9]{0,3}))?",
    re.ASCII | re.IGNORECASE,
)
_LONE_PERCENT = pattern(r"%(?![0-9A-Fa-f]{2})")
_CHARACTER = pattern(r"%[0-9A-Fa-f]{2}|.", re.DOTALL)
_RESERVED = ":/?#[]@!$&'()*+,;="
_ASCII = "".join(map(chr, range(128)))


def _parse(text: str) -> Iterator[_Part]:
    if len(text) > LIMIT:
        raise BadTemplate(text, LIMIT, f"the end: templates have at most {LIMIT} characters")
    at = 0
    while at < len(text):
        if text[at] == "{":
            end = text.find("}", at)
            if end < 0:
                raise BadTemplate(text, at, "a closing brace for this opening one")
            yield _expression(text, at, end)
            at = end + 1
        elif (literal := _LITERAL.match(text, at)) is not None:
            yield quote(literal[0], safe=_ASCII)
            at = literal.end()
        elif text[at] == "}":
            raise BadTemplate(text, at, "an opening brace before this closing one")
        else:
            raise BadTemplate(
                text, at, f"a character that URIs may hold, got {text[at]!r}: percent-encode it"
            )


def _expression(text: str, start: int, end: int) -> _Expression:
    at = start + 1
    operator = text[at] if text[at] in _OPERATORS else ""
    if text[at] in _FUTURE_OPERATORS:
        raise BadTemplate(
            text, at, f"a name or one of + # . / ; ? &, got {text[at]!r}, which is reserved"
        )
    at += len(operator)
    variables: list[_Variable] = []
    while True:
        found = _VARIABLE.match(text, at, end)
        if found is None:
            raise BadTemplate(text, at, "a variable's name (letters, digits, _ and dots inside)")
        name, explode, limit = found.groups()
        variables.append(_Variable(name, bool(explode), int(limit) if limit else None))
        at = found.end()
        if at == end:
            return _Expression(operator, tuple(variables), start)
        if text[at] != ",":
            raise BadTemplate(text, at, f"a comma or the closing brace, got {text[at]!r}")
        at += 1


# Expanding.


def _expand(expression: _Expression, values: Mapping[str, Value]) -> str:
    operator = _OPERATORS[expression.operator]
    found = [
        text
        for variable in expression.variables
        if (text := _expand_variable(operator, variable, values.get(variable.name))) is not None
    ]
    return operator.first + operator.separator.join(found) if found else ""


def _expand_variable(operator: _Operator, variable: _Variable, value: Value) -> str | None:
    if value is None:
        return None
    if not isinstance(value, Mapping | list | tuple):
        text = _scalar(variable, value)
        if variable.limit is not None:
            # §2.4.1: characters are counted, and a triplet that is kept as it is counts as one.
            units = _CHARACTER.findall(text) if operator.reserved else text
            text = "".join(units[: variable.limit])
        return _named(operator, variable.name, _encode(operator, text))
    if variable.limit is not None:
        raise BadValue(
            f"expected text for {{{variable.name}:{variable.limit}}}, "
            f"got {type(value).__name__}: a prefix of it has no meaning (§2.4.1)"
        )
    if isinstance(value, Mapping):
        pairs = [
            (_encode(operator, key), _encode(operator, _scalar(variable, member)))
            for key, member in value.items()
        ]
        if variable.explode:
            members = [
                _named(operator, key, member) if operator.named else f"{key}={member}"
                for key, member in pairs
            ]
        else:
            members = [text for pair in pairs for text in pair]
    else:
        members = [_encode(operator, _scalar(variable, member)) for member in value]
        if variable.explode:
            members = [_named(operator, variable.name, member) for member in members]
    if not members:
        return None
    if variable.explode:
        return operator.separator.join(members)
    return _named(operator, variable.name, ",".join(members))


def _named(operator: _Operator, name: str, text: str) -> str:
    if not operator.named:
        return text
    return f"{name}={text}" if text else f"{name}{operator.if_empty}"


def _encode(operator: _Operator, text: str) -> str:
    try:
        if operator.reserved:
            return quote(_LONE_PERCENT.sub("%25", text), safe=_RESERVED + "%")
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise BadValue(
            f"expected text that UTF-8 can carry, got a lone surrogate at position {error.start}"
        ) from None


def _scalar(variable: _Variable, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise BadValue(
        f"expected text, a number, or a list or mapping of those for {variable.name!r}, "
        f"got {type(value).__name__}"
    )


# Matching. A template is flattened to literals and to what is captured between them.

# JavaScript's encodeURIComponent leaves ! ' ( ) * alone, so they count as unreserved here.
_ONE = r"[^\x00-\x1f\x7f:/?#\[\]@$&+,;=]"
_WITH_SLASHES = _ONE.replace("/", "")
_WITH_COMMAS = _ONE.replace(",", "")
_PARAMETERS = {
    ";": r"(;[^\x00-\x1f\x7f/?#]*+)?+",
    "?": r"(\?[^\x00-\x1f\x7f#]*+)?+",
    "?&": r"([?&][^\x00-\x1f\x7f#]*+)?+",
    "&": r"(&[^\x00-\x1f\x7f#]*+)?+",
    "#": r"(\#[^\x00-\x1f\x7f]*+)?+",
}
"""What comes by name, and the fragment at the end: optional, and all of it in one group."""

_TRAVERSAL = pattern(r"[\x00-\x1f\x7f-\x9f]|(?:\A|[/\\?#])\.\.(?:\Z|[/\\?#])")
_OUTSIDE_TRIPLET = r"(?<!%)(?<!%[0-9A-Fa-f])"


class _Slot(Struct, frozen=True):
    """A variable between literals."""

    variable: _Variable
    expression: _Expression
    chars: str
    """One character it may take, as a regular expression."""
    segments: bool
    """Whether a slash or backslash hidden by encoding is refused."""

    @property
    def wide(self) -> bool:
        return self.chars != _ONE

    def takes(self, text: str) -> int:
        """How many characters at the start of this text it could take."""
        taken = re.match(f"{self.chars}+", text)
        return taken.end() if taken else 0

    def read(self, text: str) -> list[tuple[_Variable, str]] | None:
        return [(self.variable, text)]


class _Parameters(Struct, frozen=True):
    """Variables that come by name in any order, or not at all; or the fragment at the end."""

    operator: str
    variables: dict[str, _Variable]
    expression: _Expression
    segments: bool

    def takes(self, text: str) -> bool:
        return re.fullmatch(_PARAMETERS[self.operator], self.operator + text) is not None

    def read(self, text: str) -> list[tuple[_Variable, str]] | None:
        if self.operator == "#":
            return [(variable, text[1:]) for variable in self.variables.values()]
        found: dict[str, str] = {}
        for item in text[1:].split(";" if self.operator == ";" else "&"):
            name, _, raw = item.partition("=")
            variable = self.variables.get(name)
            # A parameter that comes twice means one thing here and another thing elsewhere.
            if variable is None or (name in found and not variable.explode):
                return None
            found[name] = f"{found[name]},{raw}" if name in found else raw
        return [(self.variables[name], raw) for name, raw in found.items()]


_Piece: TypeAlias = str | _Slot | _Parameters


def _flatten(parts: Sequence[_Part]) -> list[_Piece]:
    """Literals, never two in a row, and captures."""
    pieces: list[_Piece] = []
    for index, part in enumerate(parts):
        if isinstance(part, str):
            _add_literal(pieces, part)
        elif part.operator in _PARAMETERS and (part.operator != "#" or _ends(parts, index)):
            _add_parameters(pieces, part)
        else:
            later = "".join(
                each.operator
                for each in parts[index + 1 :]
                if isinstance(each, _Expression) and each.operator in _PARAMETERS
            )
            _add_slots(pieces, part, later)
    return pieces


def _ends(parts: Sequence[_Part], index: int) -> bool:
    part = parts[index]
    return index == len(parts) - 1 and isinstance(part, _Expression) and len(part.variables) == 1


def _add_literal(pieces: list[_Piece], text: str) -> None:
    if pieces and isinstance(pieces[-1], str):
        pieces[-1] += text
    elif text:
        pieces.append(text)


def _add_parameters(pieces: list[_Piece], part: _Expression) -> None:
    operator = part.operator
    variables = {variable.name: variable for variable in part.variables}
    last = pieces[-1] if pieces else None
    if operator == "&" and isinstance(last, _Parameters) and last.operator in "?&":
        # `{?a}{&b}` without an `a` expands to `&b=…` (§3.2.9), and any order is welcome.
        operator = "&" if last.operator == "&" else "?&"
        variables = {**last.variables, **variables}
        pieces.pop()
    pieces.append(_Parameters(operator, variables, part, segments=operator == ";"))


def _add_slots(pieces: list[_Piece], part: _Expression, later: str) -> None:
    operator = _OPERATORS[part.operator]
    for number, variable in enumerate(part.variables):
        _add_literal(pieces, operator.separator if number else operator.first)
        if operator.reserved:
            # What the template itself starts parameters with later is no part of the value.
            chars = rf"[^\x00-\x1f\x7f{re.escape(later)}]"
        elif variable.explode and part.operator != ".":
            chars = _WITH_SLASHES if part.operator == "/" else _WITH_COMMAS
        else:
            chars = _ONE
        pieces.append(_Slot(variable, part, chars, segments=not operator.reserved))


def _pattern(text: str, pieces: Sequence[_Piece]) -> tuple[str, int]:
    """The template as one regular expression with a group a capture, and the longest URI for it."""
    pattern: list[str] = []
    limit = LIMIT
    spanning: _Slot | None = None
    for at, piece in enumerate(pieces):
        after = _at(pieces, at + 1)
        if isinstance(piece, str):
            before = _at(pieces, at - 1)
            # A literal that could be part of the variable before it stands in that one's pattern.
            if not isinstance(before, _Slot) or not before.takes(piece):
                pattern.append(_literal(piece))
        elif isinstance(piece, _Parameters):
            if _goes_on(piece, after):
                end = text.index("}", piece.expression.position) + 1
                raise BadTemplate(text, end, "the end, or what cannot be part of the parameters")
            pattern.append(_PARAMETERS[piece.operator])
        elif isinstance(after, _Slot):
            raise BadTemplate(
                text,
                after.expression.position,
                f"something between {{{piece.variable.name}}} and {{{after.variable.name}}}, "
                "or nobody can tell where the first ends",
            )
        else:
            if piece.chars == _WITH_SLASHES:
                pattern.append("(?!/)")  # an empty first segment would make the path absolute
            if not isinstance(after, str) or not piece.takes(after[0]):
                pattern.append(f"({piece.chars}++)")
                continue
            pattern.append(_shared(pieces, at, piece, after))
            if piece.wide and not _is_sibling(piece, _at(pieces, at + 2)):
                if spanning is not None:
                    raise BadTemplate(
                        text,
                        piece.expression.position,
                        f"no second variable that spans separators beside {{{spanning.variable.name}}}",
                    )
                spanning = piece
                if re.fullmatch(f"{_ONE}+", after):
                    limit = _QUADRATIC_LIMIT
    return "".join(pattern), limit


def _at(pieces: Sequence[_Piece], at: int) -> _Piece | None:
    return pieces[at] if 0 <= at < len(pieces) else None


def _goes_on(parameters: _Parameters, after: _Piece | None) -> bool:
    """Whether what follows could be taken for a part of the parameters."""
    if after is None:
        return False
    if isinstance(after, _Slot):
        return True
    return parameters.takes(after[0] if isinstance(after, str) else after.operator)


def _is_sibling(slot: _Slot, other: _Piece | None) -> bool:
    """Whether they stand in one expression and take the same: as in `{+x,y}`."""
    return (
        isinstance(other, _Slot)
        and other.expression is slot.expression
        and other.chars == slot.chars
    )


def _shared(pieces: Sequence[_Piece], at: int, slot: _Slot, separator: str) -> str:
    """A variable with the literal after it, which begins with what the variable could take."""
    chars = slot.chars
    then = _literal(separator)
    if separator[0] in hexdigits:
        then = _OUTSIDE_TRIPLET + then
    follow = _at(pieces, at + 2)
    if _is_sibling(slot, follow) and slot.wide:
        return f"(?>({chars}+?){then})"
    if slot.wide:
        return f"({chars}+){then}"
    if slot.takes(separator) < len(separator):
        return f"(?>({chars}+){then})"  # only one place: where the run of such characters ends
    if not isinstance(follow, _Slot):
        return f"(?>({chars}+){then}(?!{chars}))"
    room = None if follow.wide else _room(pieces, at + 2, follow)
    if room is None:
        return f"(?>({chars}+?){then})"
    return f"(?>({chars}+){then}(?={chars}{{{room}}}))"


def _room(pieces: Sequence[_Piece], at: int, last: _Slot) -> int | None:
    """The fewest characters up to the end of the run, if this variable is the last of its run."""
    after = _at(pieces, at + 1)
    if not isinstance(after, str):
        return 1
    taken = last.takes(after)
    if taken == len(after) and isinstance(_at(pieces, at + 2), _Slot):
        return None
    return 1 + taken


def _literal(text: str) -> str:
    return "".join(
        f"%(?i:{each[1:]})" if each[0] == "%" else re.escape(each)
        for each in re.findall(r"%..|[^%]+", text)
    )
