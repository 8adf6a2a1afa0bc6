"""Functions of every kind become handlers, or are refused in words that help."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from msgspec import Raw

from interlock.errors import RegistrationError, RpcError, ToolError
from interlock.protocol.call import Call
from interlock.protocol.session import Envelope
from interlock.server.context import Context
from interlock.server.function import Signature, documentation, given_up, structured
from interlock.server.threads import Threads
from interlock.wire.content import Image, Text
from interlock.wire.inputs import InputRequired
from interlock.wire.methods import BY_NAME
from interlock.wire.tools import CallToolParams, CallToolResult
from interlock.wire.versions import LATEST_MODERN


@dataclass
class Place:
    city: str


def a_call() -> Call:
    return Call(BY_NAME["tools/call"], CallToolParams(name="x"), Envelope(LATEST_MODERN))


async def nothing_to_read(call: Call, uri: str) -> list[Any]:
    return []


async def run(function: Callable[..., Any], json: str = "{}") -> Any:
    signature = Signature(function)
    values = signature.arguments.from_json(Raw(json.encode()))
    threads = Threads()
    try:
        return await signature.run(
            a_call(), values, lambda call: Context(call, nothing_to_read, "state"), threads
        )
    finally:
        threads.stop()


def names(function: Callable[..., Any]) -> tuple[str, ...]:
    return Signature(function).arguments.names


async def test_async_and_sync_functions_run():
    async def one(a: int) -> int:
        return a + 1

    def two(a: int) -> int:
        return a + 2

    assert await run(one, '{"a":1}') == 2
    assert await run(two, '{"a":1}') == 3
    assert Signature(one).plain
    assert not Signature(two).plain


async def test_hints_that_are_strings_are_read():
    """This file has `from __future__ import annotations`, as many users' files do."""

    def function(place: Place, count: Annotated[int, "how many"] = 1) -> Place:
        return place

    assert Signature(function).arguments.schema["properties"]["count"]["description"] == "how many"
    assert await run(function, '{"place":{"city":"Rome"}}') == Place("Rome")


async def test_a_context_goes_where_it_was_declared():
    async def first(ctx: Context, a: int) -> Any:
        return ctx.state, a

    def middle(a: int, ctx: Context, b: int = 2) -> Any:
        return a, ctx.state, b

    async def optional(a: int, ctx: Context | None = None) -> Any:
        return a, ctx is not None

    async def keyword(a: int, *, b: int, ctx: Context) -> Any:
        return a, b, ctx.state

    assert names(first) == ("a",)
    assert await run(first, '{"a":1}') == ("state", 1)
    assert await run(middle, '{"a":1}') == (1, "state", 2)
    assert await run(optional, '{"a":1}') == (1, True)
    assert names(keyword) == ("a", "b")
    assert await run(keyword, '{"a":1,"b":2}') == (1, 2, "state")


async def test_parameters_may_be_by_position_or_by_name_only():
    def function(a: int, /, b: int, *, c: int = 3, d: int) -> Any:
        return a, b, c, d

    assert await run(function, '{"a":1,"b":2,"d":4}') == (1, 2, 3, 4)


class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, by: int) -> int:
        """Count further."""
        self.count += by
        return self.count

    async def __call__(self, by: int = 1) -> int:
        return self.add(by)

    @staticmethod
    def double(number: int) -> int:
        return number * 2

    @classmethod
    def make(cls, count: int) -> int:
        return count


async def test_bound_methods_and_callable_objects_are_functions():
    counter = Counter()
    assert await run(counter.add, '{"by":2}') == 2
    assert await run(counter, '{"by":2}') == 4
    assert Signature(counter).is_async
    assert (Signature(counter.add).name, Signature(counter).name) == ("add", "Counter")
    assert documentation(counter.add) == "Count further."
    assert documentation(counter) == "Counts."
    assert await run(Counter.double, '{"number":2}') == 4
    assert await run(Counter.make, '{"count":2}') == 2


async def test_what_partial_fills_in_is_not_the_callers_to_choose():
    def send(connection: str, text: str, times: int = 1, *, loud: bool = False) -> Any:
        """Send it."""
        return connection, text, times, loud

    by_position = functools.partial(send, "db")
    by_name = functools.partial(send, connection="db", loud=True)
    twice = functools.partial(by_position, times=2)
    assert names(by_position) == ("text", "times", "loud")
    assert names(by_name) == ("text", "times")
    assert names(twice) == ("text", "loud")
    assert await run(by_name, '{"text":"hi"}') == ("db", "hi", 1, True)
    assert await run(twice, '{"text":"hi"}') == ("db", "hi", 2, False)
    assert Signature(twice).name == "send"
    assert documentation(twice) == "Send it."
    schema = Signature(by_name).arguments.schema
    assert schema["properties"]["times"] == {"type": "integer", "default": 1}


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **named: Any) -> Any:
        return function(*args, **named)

    return wrapper


async def test_wrapped_functions_keep_their_signature():
    @logged
    def plain(a: int) -> int:
        return a

    @logged
    async def hidden(a: int) -> int:
        await asyncio.sleep(0)
        return a

    assert await run(plain, '{"a":1}') == 1
    # The wrapper is sync, what it returns is not.
    assert await run(hidden, '{"a":1}') == 1


async def test_a_coroutine_that_a_sync_function_returns_is_awaited():
    async def later() -> int:
        return 7

    def function() -> Awaitable[int]:
        return later()

    assert await run(function) == 7


async def test_parameters_without_hints_take_anything():
    space: dict[str, Any] = {}
    exec("def untyped(a, b=2): return a, b", space)
    assert await run(space["untyped"], '{"a":{"x":1}}') == ({"x": 1}, 2)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: _star, r"star takes \*numbers: .* by its own name"),
        (lambda: _stars, r"stars takes \*\*options: .* by its own name"),
        (lambda: Counter.add, "add is a method without its object"),
        (lambda: _two_contexts, "two_contexts declares two Context parameters"),
        (lambda: _unknown, "unknown: the type of the parameter 'that' cannot be read: .*'Missing'"),
        (lambda: _unknown_return, "unknown_return: the type of what it returns cannot be read"),
        (lambda: _yields, "yields yields; return a list instead"),
        (lambda: _async_yields, "async_yields yields"),
        (lambda: "add", "A function is expected, not 'add'"),
        (lambda: Place, "A function is expected"),
    ],
)
def test_what_cannot_be_a_handler_is_refused_with_the_reason(
    make: Callable[[], Any], complaint: str
):
    with pytest.raises(RegistrationError, match=complaint):
        Signature(make())


def _star(*numbers: int) -> None: ...
def _stars(**options: int) -> None: ...
def _two_contexts(a: Context, b: Context) -> None: ...
def _unknown(this: int, that: int) -> None: ...
def _unknown_return() -> None: ...


_unknown.__annotations__["that"] = "Missing"
_unknown_return.__annotations__["return"] = "Missing"


def _yields() -> Iterator[int]:
    yield 1


async def _async_yields() -> AsyncIterator[int]:
    yield 1


def _returning(annotation: Any) -> Signature:
    def function() -> Any: ...

    function.__annotations__["return"] = annotation
    return Signature(function)


@pytest.mark.parametrize(
    "annotation",
    [
        None,
        Any,
        str,
        Text,
        Image,
        CallToolResult,
        CallToolResult | InputRequired,
        list[Text],
        list[Text | Image],
        list[str | Image],
        tuple[Text, Image],
        Image | None,
        Place | InputRequired,
    ],
)
def test_return_types_that_are_content_or_say_nothing_are_not_structured(annotation: Any):
    assert structured(_returning(annotation)) is None


def test_a_function_that_says_nothing_of_its_result_is_not_structured():
    def function() -> Any: ...

    del function.__annotations__["return"]
    assert structured(Signature(function)) is None


async def test_failures_of_resources_and_prompts_become_errors_with_their_text():
    async def told() -> None:
        raise ToolError("the disk is full")

    async def left() -> None:
        raise SystemExit(3)

    def answer(function: Callable[..., Any]) -> Awaitable[Any]:
        return Signature(function).answer(
            a_call(), (), lambda call: Context(call, nothing_to_read), Threads()
        )

    with pytest.raises(RpcError, match="the disk is full"):
        await answer(told)
    with pytest.raises(RuntimeError, match="gave up: SystemExit"):
        await answer(left)


async def test_a_cancellation_from_outside_is_told_from_one_that_escaped():
    assert not given_up(asyncio.CancelledError())
    assert not given_up(ValueError())
    assert not given_up(SystemExit())
    assert given_up(KeyboardInterrupt())
    seen: list[bool] = []
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            seen.append(given_up(error))
            raise

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    await asyncio.wait([task])
    assert seen == [True]
