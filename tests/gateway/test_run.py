"""A gateway as a process: found by others, gone within a second, and never an orphan behind it."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.gateway.people import (
    Diary,
    as_person,
    at_the_door,
    gate,
    gateway_to,
    logged_in,
)
from tests.heard import OURS
from tests.peers import hello, modern
from tests.transport.http.host import Host

from interlock import Client
from interlock.auth.credentials import Credentials
from interlock.client.target import Url
from interlock.errors import ConfigError
from interlock.gateway.config import load
from interlock.gateway.control import control
from interlock.gateway.gateway import Gateway
from interlock.gateway.run import STATE, Doors, Running, find_running, serve_gateway
from interlock.transport.http.asgi import App
from interlock.transport.http.plain import Receive, Scope, Send

SERVERS = Path(__file__).parent / "servers"
# Ends with its stdin, but has a child that ignores every polite way to ask and holds no pipe.
STUBBORN = """
import os, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", (
    "import signal, time\\n"
    "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\\n"
    "    signal.signal(number, signal.SIG_IGN)\\n"
    "time.sleep(120)\\n"
)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
os.environ["CHILD"] = str(child.pid)
from interlock import Server, run
server = Server("stubborn")
@server.tool
async def pids() -> list[int]:
    return [os.getpid(), child.pid]
run(server)
"""


def write_config(folder: Path) -> None:
    busy = {"command": sys.executable, "args": [str(SERVERS / "busy.py")]}
    stubborn = {"command": sys.executable, "args": ["-c", STUBBORN]}
    config = {"mcpServers": {"busy": busy, "stubborn": stubborn}}
    (folder / ".mcp.json").write_text(json.dumps(config))


@contextmanager
def door(folder: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, str(SERVERS / "door.py"), str(folder)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline()
        assert url, "the gateway ended before it listened"
        OURS.add(url.strip())
        yield process, url.strip()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def pids_behind(url: str) -> list[int]:
    async with Client(url) as client:
        busy = (await client.call_tool("busy__pid")).structured["result"]
        stubborn = (await client.call_tool("stubborn__pids")).structured["result"]
    return [busy, *stubborn]


def end_of(pid: int) -> int | None:
    """A descriptor that becomes readable when *pid* has ended; None if it has already."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def all_end(descriptors: list[int | None], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    waiting = [descriptor for descriptor in descriptors if descriptor is not None]
    try:
        for descriptor in waiting:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([descriptor], [], [], left)[0]:
                return False
        return True
    finally:
        for descriptor in waiting:
            os.close(descriptor)


async def test_ctrl_c_ends_everything_within_a_second(tmp_path: Path) -> None:
    write_config(tmp_path)
    with door(tmp_path) as (process, url):
        ends = [end_of(pid) for pid in await pids_behind(url)]
        # Open streams must not hold it up: a legacy session's, and a modern subscription.
        async with (
            Client(url, revision="legacy", on_change=lambda _: None),
            Client(url, revision="modern", on_change=lambda _: None),
        ):
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(process.wait, 3) == 0
            assert all_end(ends, 1)
            assert time.monotonic() - began < 3  # Measured at 0.4; the rest is for busy machines.
    assert not (tmp_path / STATE).exists()


async def test_killing_the_gateway_twenty_times_leaves_no_process(tmp_path: Path) -> None:
    write_config(tmp_path)
    for _ in range(20):
        with door(tmp_path) as (process, url):
            ends = [end_of(pid) for pid in await pids_behind(url)]
            process.kill()
            process.wait()
            assert await asyncio.to_thread(all_end, ends, 3)


async def test_a_running_gateway_is_found_and_a_killed_one_is_not(tmp_path: Path) -> None:
    write_config(tmp_path)
    assert find_running(tmp_path) is None
    with door(tmp_path) as (process, url):
        running = find_running(tmp_path)
        assert running is not None
        assert (running.url, running.pid) == (url, process.pid)
        assert running.control not in repr(running)
        assert stat.S_IMODE((tmp_path / STATE).stat().st_mode) == 0o600
        process.kill()
        process.wait()
        assert (tmp_path / STATE).exists()
        assert find_running(tmp_path) is None


async def test_the_operator_sees_and_restarts_servers(tmp_path: Path) -> None:
    write_config(tmp_path)
    with door(tmp_path) as (_, url):
        before = (await pids_behind(url))[0]
        running = find_running(tmp_path)
        assert running is not None
        async with Client(Url(running.control)) as operator:
            status = (await operator.call_tool("status")).structured["result"]
            assert [s["name"] for s in status] == ["busy", "stubborn"]
            assert {s["state"] for s in status} == {"running"}
            assert status[0]["tools"] == 7
            assert status[0]["tokens"] > 0
            result = await operator.call_tool("restart", {"server_name": "busy"})
            assert result.structured["state"] == "running"
            assert (
                "no server 'x'" in (await operator.call_tool("restart", {"server_name": "x"})).text
            )
        assert (await pids_behind(url))[0] != before


async def test_a_port_in_use_is_said_before_any_server_starts(tmp_path: Path) -> None:
    write_config(tmp_path)
    with door(tmp_path) as (_, url):
        port = int(url.split(":")[2].split("/")[0])
        gateway = Gateway(load(tmp_path / ".mcp.json", os.environ))
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}; choose another"):
            await serve_gateway(gateway, tmp_path, port=port)
        assert [status.state for status in gateway.status()] == ["idle", "idle"]
        assert find_running(tmp_path) is not None


# Who may come in, and what stands beside.


class Beside:
    """An app of somebody else's, which says where it was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        text = f"{self.name} {scope['path']}"
        await send({"type": "http.response.body", "body": text.encode()})

    async def start(self) -> None:
        self.told.append("start")

    def close(self) -> None:
        self.told.append("close")

    async def stop(self) -> None:
        self.told.append("stop")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/oauth", "issuer /oauth"),
        ("/oauth/token", "issuer /oauth/token"),
        ("/oauth/admin/x", "admin /oauth/admin/x"),
        (
            "/.well-known/oauth-authorization-server/oauth",
            "issuer /.well-known/oauth-authorization-server/oauth",
        ),
        ("/oauthentic", None),
        ("/mcp/x", None),
        ("/control/secret/x", None),
        ("/", None),
    ],
)
async def test_apps_stand_beside_the_endpoint_where_their_paths_begin(
    tmp_path: Path, path: str, said: str | None
) -> None:
    gateway = gateway_to(tmp_path, {})
    issuer, admin = Beside("issuer"), Beside("admin")
    beside = {
        "/oauth": issuer,
        "/oauth/admin/": admin,
        "/.well-known/oauth-authorization-server": issuer,
    }
    doors = Doors(App(gateway), App(control(gateway), path="/control/secret"), beside)
    await doors.start()
    asked = Host(doors).open("GET", path=path)
    body = await asked.whole()
    assert (asked.status, body.decode()) == (200, said) if said else asked.status == 404
    doors.close()
    await doors.stop()
    assert issuer.told == admin.told == ["start", "close", "stop"]


async def test_what_stands_at_the_root_takes_nothing_from_the_endpoint(tmp_path: Path) -> None:
    gateway = gateway_to(tmp_path, {})
    doors = Doors(
        App(gateway, gate=gate()),
        App(control(gateway), path="/control/secret"),
        {"/": Beside("issuer")},
    )
    await doors.start()
    host = Host(doors)
    assert await host.open("GET", path="/authorize").whole() == b"issuer /authorize"
    document = await host.open("GET", path="/.well-known/oauth-protected-resource/mcp").json()
    assert document["authorization_servers"] == ["https://door.example"]
    refused = host.modern(modern("tools/list"))
    await refused.whole()
    assert refused.status == 401
    # The operator's door has a secret of its own: its address.
    operator = host.open("POST", hello(), path="/control/secret")
    assert "result" in await operator.json()
    await doors.stop()


async def test_a_gateway_with_a_gate_serves_each_person_their_own(tmp_path: Path) -> None:
    diary = Diary()
    diary.admit("ada", "hers")
    async with diary.served() as behind, Credentials.in_memory() as credentials:
        await logged_in(credentials, behind, "ada", "hers")
        servers = {"diary": {"type": "http", "url": behind}}
        gateway = gateway_to(tmp_path, servers, credentials=credentials)
        listening: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        serving = asyncio.create_task(
            serve_gateway(gateway, tmp_path, port=0, gate=gate(), ready=listening.set_result)
        )
        running = await asyncio.wait_for(listening, 10)
        OURS.add(running.url)
        async with Client(as_person(running.url, "ada")) as ada:
            assert (await ada.call_tool("diary__whoami")).text == "ada"
        async with Client(Url(running.control)) as operator:
            (status,) = (await operator.call_tool("status")).structured["result"]
            assert status["state"] == "needs login"
        serving.cancel()
        await asyncio.wait([serving])
    shown = [value for _, value in diary.headers]
    assert not any(at_the_door("ada").encode() in value for value in shown)
