"""`interlock up`, as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from tests.cli.conftest import BROKEN, SAMPLE, TIME, UNUSABLE, Run, Up, self_signed, write_config

from interlock import Client


async def test_everything_is_behind_its_one_endpoint(served: Up):
    async with Client(served.url) as client:
        tools = [tool.name async for tool in client.list_tools()]
        assert {"time__convert_time", "tasks__create_task", "sample__write"} <= set(tools)
        result = await client.call_tool("time__get_current_time", {"timezone": "Asia/Tokyo"})
        assert result.structured["timezone"] == "Asia/Tokyo"


def test_json_tells_of_every_server_once_all_have_started_or_failed(served: Up):
    assert {name: one["state"] for name, one in served.servers.items() if name != "broken"} == {
        "time": "running",
        "tasks": "running",
        "sample": "running",
    }
    assert served.servers["broken"]["error"]


def test_a_second_one_in_the_same_folder_is_refused_with_the_first(run: Run, in_served: Up):
    done = run("up")
    assert done.code == 3
    assert f"A gateway already runs for this folder: {in_served.url}" in done.err


def test_a_port_that_is_taken_is_told(run: Run, folder: Path):
    write_config(folder, broken=BROKEN)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = run("up", "--port", str(other.getsockname()[1]))
    assert done.code == 3
    assert "Something else listens on 127.0.0.1" in done.err


def test_without_a_configuration_it_is_exit_3(run: Run, folder: Path):
    done = run("up")
    assert (done.code, done.out) == (3, "")
    assert "there is no .mcp.json" in done.err


def test_a_person_gets_the_table_the_endpoint_and_the_line_for_a_host(folder: Path):
    write_config(folder, time=TIME, old=UNUSABLE)
    up = subprocess.Popen(
        [sys.executable, "-m", "interlock", "up", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert up.stdout is not None
    lines: list[str] = []
    for line in up.stdout:
        lines.append(line.rstrip())
        if line.startswith("Ctrl-C"):
            break
    began = time.monotonic()
    up.send_signal(signal.SIGINT)
    assert up.wait(10) == 0
    assert time.monotonic() - began < 3  # Measured at 0.3; the rest is for busy machines.
    up.stdout.close()
    text = "\n".join(lines)
    [url] = re.findall(r"^Endpoint: (http://127\.0\.0\.1:\d+/mcp)$", text, re.MULTILINE)
    assert f"\nTo use it: claude mcp add --transport http interlock {url}\n" in text
    assert re.search(r"^time +running +2 ", text, re.MULTILINE)
    assert re.search(r"^old +skipped ", text, re.MULTILINE)
    assert not (folder / ".interlock/gateway.json").exists()


def test_a_server_that_is_killed_comes_back_and_the_story_is_told(run: Run, folder: Path):
    (folder / "sample.py").write_text(SAMPLE)
    sample = [*("-m", "interlock", "run"), str(folder / "sample.py")]
    write_config(folder, sample={"command": sys.executable, "args": sample})
    up = Up(folder)
    try:
        done = run("call", "sample.last_words")
        assert done.code == 1
        assert "out of memory" in up.wait_for("ended", "sample")["detail"]
        up.wait_for("running", "sample")
        assert run("call", "sample.write", "path=a", "words=b").out == "a: b\n"
        out = run("list").out
        assert re.search(
            r"^sample was restarted once; at [\d:]+ it exited with code 3$", out, re.MULTILINE
        )
        assert "  stderr: out of memory" in out
    finally:
        assert up.end() == 0


def test_ended_while_servers_still_start_it_shows_no_table(folder: Path):
    write_config(folder, slow={"command": "sleep", "args": ["60"]})
    up = subprocess.Popen(
        [sys.executable, "-m", "interlock", "up", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert up.stdout is not None
    first = up.stdout.readline()
    up.send_signal(signal.SIGINT)
    rest, _ = up.communicate(timeout=10)
    assert first.startswith("Listening at ")
    # An empty line may follow the first, and be read with it.
    assert (up.returncode, rest.strip()) == (0, "")


def test_a_program_that_ends_at_once_is_told_as_just_that(folder: Path):
    write_config(folder, gone={"command": "false"})
    up = Up(folder)
    try:
        told = up.servers["gone"]
        details = [event["detail"] for event in told["events"] if event["what"] == "not started"]
        details.append(up.wait_for("failed", "gone")["detail"])
        assert all("exited with code 1; it wrote nothing to stderr" in one for one in details)
    finally:
        up.end()


def test_a_gateway_that_was_killed_is_not_taken_for_one_that_runs(run: Run, folder: Path):
    write_config(folder, time=TIME)
    up = Up(folder)
    os.kill(up.process.pid, signal.SIGKILL)
    up.process.communicate()
    state = folder / ".interlock/gateway.json"
    # The worst case: its number now belongs to another process.
    state.write_text(json.dumps({**json.loads(state.read_text()), "pid": os.getpid()}))
    assert "No gateway runs here" in run("list").out


def test_a_reader_that_has_enough_does_not_end_the_gateway(folder: Path):
    write_config(folder, time=TIME)
    up = subprocess.Popen(
        [sys.executable, "-m", "interlock", "up", "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert up.stdout is not None
    url = up.stdout.readline().split()[-1]
    up.stdout.close()
    call = [sys.executable, "-m", "interlock", "call", "time.get_current_time", "--json"]
    done = subprocess.run(call, cwd=folder, capture_output=True, check=True)
    assert b"timezone" in done.stdout
    assert url.endswith("/mcp")
    up.send_signal(signal.SIGINT)
    _, told = up.communicate(timeout=10)
    assert (up.returncode, told) == (0, "")


def test_over_tls_commands_have_a_door_of_their_own(run: Run, folder: Path):
    write_config(folder, time=TIME)
    certificate = self_signed(folder)
    up = Up(folder, "--port", "0", "--certificate", str(certificate), "--server", "h1")
    try:
        assert up.url.startswith("https://127.0.0.1:")
        port = int(up.url.split(":")[2].removesuffix("/mcp"))
        context = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as line,
        ):
            line.sendall(b"HEAD /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert line.recv(13) == b"HTTP/1.1 405 "
        done = run("call", "time.get_current_time", "timezone=Asia/Tokyo")
        assert (done.code, done.err) == (0, "")
        assert f"Served at {up.url}" in run("list").out
    finally:
        assert up.end() == 0


WHO = """\
import os
from interlock import Server
server = Server("who")

@server.tool
def whoami() -> int:
    return os.getpid()
"""


def test_several_workers_have_servers_of_their_own_and_are_replaced(run: Run, folder: Path):
    (folder / "who.py").write_text(WHO)
    who = {"command": sys.executable, "args": ["-m", "interlock", "run", "who.py"]}
    write_config(folder, who=who)
    up = Up(folder, "--port", "0", "--workers", "2")
    try:
        children = Path(f"/proc/{up.process.pid}/task/{up.process.pid}/children")
        before = asyncio.run(those_that_answer(up.url, set()))
        first, second = map(int, children.read_text().split())
        mine = int(run("call", "who.whoami").out)
        assert mine in before
        assert "A gateway already runs for this folder" in run("up", "--workers", "2").err

        ends = [os.pidfd_open(pid) for pid in (first, mine)]
        os.kill(first, signal.SIGKILL)
        for end in ends:
            select.select([end], [], [], 10)  # What it had started ends with it.
            os.close(end)
        again = up.wait_for("listening")
        assert (again["url"], again["pid"]) == (up.url, up.process.pid)
        assert str(second) in children.read_text().split()
        after = asyncio.run(those_that_answer(up.url, before - {mine}))
        assert mine not in after
        assert int(run("call", "who.whoami").out) in after - before
    finally:
        assert up.end() == 0
    assert not (folder / ".interlock/gateway.json").exists()


async def those_that_answer(url: str, known: set[int]) -> set[int]:
    """The two processes behind the workers, once each has been heard; *known* are some of them."""
    heard = set(known)
    while len(heard) < 2:
        async with Client(url) as client:
            heard.add(int((await client.call_tool("who__whoami")).text))
    return heard


def test_options_that_go_without_each_other_are_told(run: Run, folder: Path):
    write_config(folder, time=TIME)
    (folder / "key").touch()
    done = run("up", "--key", "key")
    assert (done.code, "give --certificate too" in done.err) == (2, True)
    done = run("up", "--auth", "local", "--workers", "2")
    assert (done.code, "not --workers" in done.err) == (2, True)
