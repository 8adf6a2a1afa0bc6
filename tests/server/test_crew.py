"""Several processes that serve one port: what they share, what is lost with one, how all end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import BaseConnector, ClientError, ClientSession, TCPConnector, UnixConnector
from tests.doors import ROOT
from tests.peers import Json, ask, hello, modern, reply, say, soon

from interlock import Server, run
from interlock.errors import ConfigError
from interlock.wire import sse
from interlock.wire.tasks import EXTENSION

PROGRAM = """
import os, sys
from interlock import Context, Server, run

server = Server("crewed")
book = "book"

def note():
    with open(book, "a") as file:
        file.write("ordered\\n")

@server.tool
async def whoami() -> int:
    return os.getpid()

@server.tool
async def order(ctx: Context) -> str:
    await ctx.once("note", note)
    dish = await ctx.elicit("Which dish?", {"type": "object", "properties": {"dish": {"type": "string"}}})
    return f"{dish.content['dish']}"

@server.tool
async def touch() -> str:
    server.updated("demo://thing")
    return "touched"

@server.tool(task="required")
async def cook(ctx: Context) -> str:
    return f"cooked by {os.getpid()}"

@server.resource("demo://thing")
def thing() -> str:
    return "thing"

if __name__ == "__main__":
    run(server, "http", unix="here", workers=2)
"""
ABLE: Json = {"elicitation": {"form": {}}}
TASKS: Json = {"extensions": {EXTENSION: {}}}


class Line:
    """One connection, so one worker; requests on it come one after another."""

    def __init__(self, url: str, pid: int, http: ClientSession) -> None:
        self.pid = pid
        self._url = url
        self._http = http

    @classmethod
    async def open(cls, url: str, connector: BaseConnector | None = None) -> Line:
        http = ClientSession(connector=connector or TCPConnector(limit=1))
        line = cls(url, 0, http)
        try:
            line.pid = int(await line.text("whoami"))
        except BaseException:
            await http.close()
            raise
        return line

    @asynccontextmanager
    async def request(
        self, body: bytes = b"", method: str = "POST", **headers: str
    ) -> AsyncGenerator[Any]:
        sent = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if body and (params := json.loads(body).get("params", {})).get("_meta"):
            sent |= {
                "mcp-protocol-version": "2026-07-28",
                "mcp-method": json.loads(body)["method"],
            }
            name = params.get("name", params.get("taskId"))
            sent |= {"mcp-name": name} if name is not None else {}
        async with self._http.request(method, self._url, data=body, headers=sent) as response:
            yield response

    async def post(self, body: bytes, **headers: str) -> Any:
        async with self.request(body, **headers) as response:
            whole = await response.read()
            assert response.status in (200, 202), (response.status, whole)
            return json.loads(whole) if whole else None

    async def call(self, tool: str, capabilities: Json | None = None, **params: Any) -> Json:
        """The result of a modern call."""
        body = modern(
            "tools/call", 1, {"name": tool, "arguments": {}, **params}, **_declared(capabilities)
        )
        return (await self.post(body))["result"]

    async def text(self, tool: str, session: str | None = None) -> str:
        if session is None:
            result = await self.call(tool)
        else:
            told = await self.post(ask("tools/call", 5, {"name": tool}), mcp_session_id=session)
            result = told["result"]
        return result["content"][0]["text"]

    async def close(self) -> None:
        await self._http.close()


def _declared(capabilities: Json | None) -> Json:
    return {"io.modelcontextprotocol/clientCapabilities": capabilities or {}}


async def events(response: Any) -> AsyncGenerator[sse.Event]:
    """What comes on a stream."""
    reader = sse.Reader()
    async for piece in response.content.iter_any():
        for event in reader.feed(piece):
            yield event


async def messages(response: Any) -> AsyncGenerator[Json]:
    async for event in events(response):
        if event.data:
            yield json.loads(event.data)


async def line_where(url: str, fits: Callable[[int], bool]) -> Line:
    """A connection to a worker that is wanted: Linux divides them by their ports."""
    while True:
        line = await Line.open(url)
        if fits(line.pid):
            return line
        await line.close()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "crewed.py"
    path.write_text(PROGRAM)
    return path


def begun(program: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "interlock", "run", program.name, "--http", "--json", *words]
    return started(command, program.parent)


def started(command: list[str], folder: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": ROOT, "TMPDIR": str(folder)}
    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@asynccontextmanager
async def a_crew(program: Path) -> AsyncGenerator[tuple[str, subprocess.Popen[str]]]:
    """Two workers; their URL, and who watches them."""
    process = begun(program, "--port", "0", "--workers", "2")
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"], process
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert not list(program.parent.glob("interlock-*"))


async def test_a_killed_worker_takes_nothing_with_it_but_the_calls_in_flight(program: Path):
    """Issue 5, 6."""
    async with a_crew(program) as (url, _):
        lost = await Line.open(url)
        kept = await line_where(url, lambda pid: pid != lost.pid)
        load = Load(url)
        await load.begin({lost.pid, kept.pid})

        # A legacy session with a subscription, begun where it will not be served any more.
        async with lost.request(hello(capabilities=ABLE)) as greeted:
            session = greeted.headers["mcp-session-id"]
        await lost.post(say("notifications/initialized"), mcp_session_id=session)
        watch = ask("resources/subscribe", 2, {"uri": "demo://thing"})
        await lost.post(watch, mcp_session_id=session)

        # A task that is over, and a call that is parked, there too.
        created = await lost.call("cook", TASKS)
        task = created["taskId"]
        done = await ended(lost, task)
        parked = await lost.call("order", ABLE)
        assert parked["resultType"] == "input_required"

        # A listener where it goes on, told of what changes where it does not.
        ear = await line_where(url, lambda pid: pid == kept.pid)
        wanted = {"notifications": {"resourceSubscriptions": ["demo://thing"]}}
        async with ear.request(modern("subscriptions/listen", 9, wanted)) as heard:
            told = messages(heard)
            assert (await soon(anext(told)))["method"].endswith("acknowledged")
            await lost.text("touch")
            assert (await soon(anext(told)))["params"]["uri"] == "demo://thing"

            os.kill(lost.pid, signal.SIGKILL)

            assert int(await kept.text("whoami", session)) == kept.pid
            assert (await ended(kept, task))["result"] == done["result"]
            [key] = parked["inputRequests"]
            answer = {key: {"action": "accept", "content": {"dish": "soup"}}}
            state = parked["requestState"]
            eaten = await kept.call("order", ABLE, inputResponses=answer, requestState=state)
            assert eaten["content"][0]["text"] == "soup"
            assert (program.parent / "book").read_text() == "ordered\n"

            # Its place is taken; the new worker knows the session, and is heard by all.
            new = await line_where(url, lambda pid: pid not in (lost.pid, kept.pid))
            standing = await line_where(url, lambda pid: pid == kept.pid)
            async with standing.request(method="GET", mcp_session_id=session) as stream:
                assert stream.status == 200
                assert int(await new.text("whoami", session)) == new.pid
                await new.text("touch")
                assert (await soon(anext(told)))["params"]["uri"] == "demo://thing"
                assert (await soon(anext(messages(stream))))["params"]["uri"] == "demo://thing"

        await load.end()
        assert load.answers[kept.pid] > 0
        assert load.lost_by == {lost.pid}
        for line in (lost, kept, ear, new, standing):
            await line.close()


async def ended(line: Line, task: str) -> Json:
    """What a task came to."""
    while True:
        body = modern("tasks/get", 3, {"taskId": task}, **_declared(TASKS))
        result = (await line.post(body))["result"]
        if result["status"] != "working":
            assert result["status"] == "completed", result
            return result


class Load:
    """Calls without end, on many connections; who answered, and who left one unanswered."""

    def __init__(self, url: str) -> None:
        self.answers: dict[int, int] = {}
        self.lost_by: set[int] = set()
        self._url = url
        self._over = False
        self._all = asyncio.Event()
        self._wanted: set[int] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, workers: set[int]) -> None:
        """Call until all of *workers* have answered."""
        self._wanted = workers
        for pid in workers:
            line = await line_where(self._url, lambda found, pid=pid: found == pid)
            self._tasks.append(asyncio.create_task(self._call(line)))
        await soon(self._all.wait())

    async def end(self) -> None:
        self._over = True
        await soon(asyncio.gather(*self._tasks))

    async def _call(self, line: Line) -> None:
        while not self._over:
            try:
                assert int(await line.text("whoami")) == line.pid
            except ClientError:
                self.lost_by.add(line.pid)
                await line.close()
                line = await Line.open(self._url)
            self.answers[line.pid] = self.answers.get(line.pid, 0) + 1
            if self.answers.keys() >= self._wanted:
                self._all.set()
        await line.close()


async def test_a_legacy_call_goes_on_by_way_of_either_worker(program: Path):
    async with a_crew(program) as (url, _):
        one = await Line.open(url)
        two = await line_where(url, lambda pid: pid != one.pid)
        async with one.request(hello(capabilities=ABLE)) as greeted:
            session = greeted.headers["mcp-session-id"]
        await two.post(say("notifications/initialized"), mcp_session_id=session)
        called = ask("tools/call", 3, {"name": "order"})
        async with two.request(called, mcp_session_id=session) as response:
            said = messages(response)
            question = await soon(anext(said))
            answer = {"action": "accept", "content": {"dish": "soup"}}
            await one.post(reply(question["id"], answer), mcp_session_id=session)
            assert (await soon(anext(said)))["result"]["content"][0]["text"] == "soup"
        async with two.request(called, mcp_session_id=session) as response:
            said = messages(response)
            await soon(anext(said))
            cancel = say("notifications/cancelled", {"requestId": 3})
            await one.post(cancel, mcp_session_id=session)
            # What it asked is withdrawn, and it ends without an answer.
            assert not [message async for message in said if "result" in message]
        # A stream that was lost is gone on with by way of the other, under the same ids.
        async with two.request(called, mcp_session_id=session) as response:
            opening = await soon(anext(events(response)))
        back = str(opening.id)
        three = await line_where(url, lambda pid: pid == one.pid)
        async with three.request(
            method="GET", mcp_session_id=session, last_event_id=back
        ) as response:
            said = messages(response)
            question = await soon(anext(said))
            await one.post(reply(question["id"], answer), mcp_session_id=session)
            assert (await soon(anext(said)))["result"]["content"][0]["text"] == "soup"
        await three.close()
        async with one.request(method="DELETE", mcp_session_id=session) as deleted:
            assert deleted.status == 204
        async with two.request(ask("ping"), mcp_session_id=session) as gone:
            assert gone.status == 404
        for line in (one, two):
            await line.close()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_all_end_when_the_one_that_watches_does(program: Path, by: signal.Signals):
    process = begun(program, "--port", "0", "--workers", "2")
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    one = await Line.open(url)
    two = await line_where(url, lambda pid: pid != one.pid)
    watched = [os.pidfd_open(line.pid) for line in (one, two)]
    process.send_signal(by)
    _, _ = await asyncio.to_thread(process.communicate, timeout=10)
    assert process.returncode == (0 if by != signal.SIGKILL else -by)
    for descriptor in watched:
        await soon(readable(descriptor))  # Which a process becomes when it has ended.
        os.close(descriptor)
    assert not list(program.parent.glob("interlock-*"))
    for line in (one, two):
        await line.close()


async def readable(descriptor: int) -> None:
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(descriptor)


async def test_a_program_that_runs_its_server_itself_is_run_again(program: Path):
    process = started([sys.executable, program.name], program.parent)
    while not listens(program.parent / "here"):
        assert process.poll() is None
    one = await Line.open("http://localhost/mcp", UnixConnector(str(program.parent / "here")))
    assert one.pid != process.pid
    process.send_signal(signal.SIGINT)
    await asyncio.to_thread(process.communicate, timeout=10)
    assert process.returncode == 0
    assert not (program.parent / "here").exists()
    await one.close()


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        return line.connect_ex(str(path)) == 0


def test_what_cannot_start_is_given_up_and_said_once(program: Path):
    program.write_text("1 / 0\n")
    process = begun(program, "--port", "0", "--workers", "2")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (3, "")
    assert err.count("crewed.py raised ZeroDivisionError") == 1
    assert "is replaced" not in err
    assert "No worker could start: the last one ended with exit code 1" in " ".join(err.split())


async def test_a_worker_that_cannot_be_replaced_is_tried_more_and_more_rarely_then_given_up(
    program: Path,
):
    process = begun(program, "--port", "0", "--workers", "2")
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    one = await Line.open(url)
    two = await line_where(url, lambda pid: pid != one.pid)
    program.write_text("1 / 0\n")
    for line in (one, two):
        os.kill(line.pid, signal.SIGKILL)
        await line.close()
    _, err = await asyncio.to_thread(process.communicate, timeout=20)
    assert process.returncode == 3
    assert "No worker could start" in err


async def test_another_crew_on_the_same_port_is_refused(program: Path):
    async with a_crew(program) as (url, _):
        port = url.split(":")[2].split("/")[0]
        _, err = begun(program, "--port", port, "--workers", "2").communicate(timeout=20)
        assert f"Something else listens on 127.0.0.1:{port}" in " ".join(err.split())


def test_what_workers_cannot_do_is_said():
    server = Server("s")
    with pytest.raises(ConfigError, match="Over stdio one process serves one client"):
        run(server, workers=2)
    with pytest.raises(ConfigError, match="0 workers cannot serve"):
        run(server, "http", workers=0)
    with pytest.raises(ConfigError, match="serve them with one worker"):
        run(server, "http", workers=2, sse=True)


def test_a_program_from_nowhere_cannot_be_run_again():
    program = "from interlock import Server, run\nrun(Server('s'), 'http', port=0, workers=2)\n"
    done = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, check=False
    )
    assert "ConfigError: workers= runs the program once more for each worker" in done.stderr
