"""What a server answered, as a user gets it: read tolerantly.

A result that is right is decoded once. One that is not quite (null where nothing should be, a
block or a list entry that cannot be read) is looked at again, and costs no more than what is wrong
with it: the rest of the answer is still the server's answer.
"""

from __future__ import annotations

import logging
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import Raw, Struct, field

from interlock.errors import InvalidMessage
from interlock.wire.content import Text, Unknown, read
from interlock.wire.jsonrpc import UNREADABLE, encode
from interlock.wire.meta import PER_HOP, RawResult, Wire
from interlock.wire.prompts import GetPromptResult, PromptMessage
from interlock.wire.resources import ReadResourceResult
from interlock.wire.tools import AnyBlock

R = TypeVar("R")

log: Final = logging.getLogger("interlock.client")

_OPAQUE: Final = frozenset(
    {"inputSchema", "outputSchema", "structuredContent", "frontmatter", "_meta"}
)
"""Members whose nulls mean something to whoever wrote them."""


class ToolResult(Struct, frozen=True):
    """What a tool answered.

    *structured* is None both for none and for JSON null; *has_structured* tells them apart. With
    *is_error* the content says what went wrong. Blocks of types this version does not know come as
    `Unknown`. *meta* is what the server put into `_meta` beyond the protocol's own keys.
    *complaint* says how *structured* differs from what the tool's output schema promises; None if
    it does not, or if the tool was not listed before it was called.
    """

    content: list[AnyBlock]
    structured: Any = None
    is_error: bool = False
    has_structured: bool = False
    meta: dict[str, Any] | None = None
    complaint: str | None = None

    @property
    def text(self) -> str:
        """The text blocks, joined by newlines."""
        return "\n".join(block.text for block in self.content if isinstance(block, Text))


class _ToolAnswer(Wire):
    """A `tools/call` result as far as every server sends it; blocks one by one."""

    result_type: str = "complete"
    content: list[Raw] = field(default_factory=list[Raw])
    structured_content: Raw = Raw()
    is_error: bool = False
    meta: dict[str, Any] | None = field(default=None, name="_meta")


_tool_answer: Final = msgspec.json.Decoder(_ToolAnswer)
_any: Final = msgspec.json.Decoder()


def read_tool_result(result: RawResult) -> ToolResult:
    """A `tools/call` result; what is unknown in it is kept, not refused."""
    try:
        answer = _tool_answer.decode(result.body)
    except UNREADABLE:
        answer = read_result(result, _ToolAnswer)
    if answer.result_type == "input_required":
        raise _asks()
    structured = answer.structured_content
    return ToolResult(
        content=[_block(block) for block in answer.content],
        structured=_any.decode(structured) if structured else None,
        is_error=answer.is_error,
        has_structured=bool(structured),
        meta=_of_the_server(answer.meta),
    )


def read_contents(result: RawResult, uri: str) -> ReadResourceResult:
    """A `resources/read` result. Contents that do not say whose they are are those of *uri*."""
    try:
        return msgspec.json.decode(result.body, type=ReadResourceResult)
    except UNREADABLE:
        fields = _fields(result, "resources/read")
    for each in _objects(fields.get("contents")):
        each.setdefault("uri", uri)
    return _converted(fields, ReadResourceResult)


def read_prompt(result: RawResult) -> GetPromptResult:
    """A `prompts/get` result; content of an unknown type is kept as `Unknown`."""
    try:
        return msgspec.json.decode(result.body, type=GetPromptResult)
    except UNREADABLE:
        fields = _fields(result, "prompts/get")
    messages = [
        PromptMessage(role=each.get("role", "user"), content=_block(Raw(encode(each["content"]))))
        for each in _objects(fields.pop("messages", None))
        if "content" in each
    ]
    read_rest = _converted({**fields, "messages": []}, GetPromptResult)
    return msgspec.structs.replace(read_rest, messages=messages)


def read_page(
    result: RawResult, member: str, item: type[R], what: str
) -> tuple[list[R], str | None]:
    """One page of a list, and the cursor of the next. Entries that cannot be read are left out."""
    try:
        page = msgspec.json.decode(result.body, type=dict[str, Raw])
        items = msgspec.json.decode(page.get(member, b""), type=list[item])
        cursor = msgspec.json.decode(page.get("nextCursor", b"null"), type=str | None)
    except UNREADABLE:
        pass
    else:
        return items, cursor
    fields = _fields(result, what)
    if not isinstance(fields.get(member), list):
        raise InvalidMessage(f"The server's list of {what} has no {member!r}")
    items: list[R] = []
    for each in cast("list[Any]", fields[member]):
        try:
            items.append(msgspec.convert(each, item))
        except msgspec.ValidationError as error:
            log.warning("an entry in the server's list of %s is left out: %.300s", what, error)
    cursor = fields.get("nextCursor")
    return items, cursor if isinstance(cursor, str) else None


def read_result(result: RawResult, type_: type[R]) -> R:
    """Any other result."""
    try:
        return msgspec.json.decode(result.body, type=type_)
    except UNREADABLE:
        return _converted(_fields(result, type_.__name__), type_)


def _fields(result: RawResult, what: str) -> dict[str, Any]:
    """The members of a result, without nulls where the protocol has none."""
    try:
        fields: dict[str, Any] = msgspec.json.decode(result.body, type=dict[str, Any])
    except UNREADABLE as error:
        raise InvalidMessage(f"The server's answer to {what} is no object: {error}") from None
    if fields.get("resultType") == "input_required":
        raise _asks()
    try:
        return _without_nulls(without_bad_hints(fields))
    except RecursionError:
        # Whoever decoded it may have stood on fewer floors than we do.
        raise InvalidMessage(f"The server's answer to {what} is nested too deeply") from None


def without_bad_hints(fields: dict[str, Any]) -> dict[str, Any]:
    """*fields* without hints on caching that are none: a wrong hint costs itself, not the answer."""
    ttl, scope = fields.get("ttlMs"), fields.get("cacheScope")
    bad: set[str] = set()
    if not isinstance(ttl, int) or isinstance(ttl, bool):
        bad.add("ttlMs")
    if scope not in ("public", "private"):
        bad.add("cacheScope")
    return {name: value for name, value in fields.items() if name not in bad}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: member if key in _OPAQUE else _without_nulls(member)
            for key, member in cast("dict[str, Any]", value).items()
            if member is not None
        }
    if isinstance(value, list):
        return [_without_nulls(member) for member in cast("list[Any]", value)]
    return value


def _converted(fields: dict[str, Any], type_: type[R]) -> R:
    if type_ is _ToolAnswer:
        # Raw members cannot be converted to; they are encoded again.
        content: Any = fields.get("content", [])
        blocks = cast("list[Any]", content) if isinstance(content, list) else [content]
        fields["content"] = [Raw(encode(block)) for block in blocks]
        if "structuredContent" in fields:
            fields["structuredContent"] = Raw(encode(fields["structuredContent"]))
    try:
        return msgspec.convert(fields, type_)
    except msgspec.ValidationError as error:
        raise InvalidMessage(
            f"The server's answer is no {type_.__name__.removeprefix('_')}: {error}"
        ) from None


def _objects(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    return [each for each in cast("list[Any]", value) if isinstance(each, dict)]


def _block(raw: Raw) -> AnyBlock:
    try:
        return read(raw)
    except UNREADABLE:
        value: Any = msgspec.json.decode(raw)
        return Text(text=value) if isinstance(value, str) else Unknown(kind="", raw={"": value})


def _of_the_server(meta: dict[str, Any] | None) -> dict[str, Any] | None:
    if meta is None:
        return None
    return {key: value for key, value in meta.items() if key not in PER_HOP} or None


def _asks() -> InvalidMessage:
    return InvalidMessage(
        "The server asks for input before it answers; this client does not answer that yet"
    )
