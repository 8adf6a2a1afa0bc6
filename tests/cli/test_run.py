"""`interlock run`: a file served over stdio and over HTTP."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.cli.conftest import Run, self_signed

from interlock import Client

FILE = """\
import os
from interlock import Server

print("printed at import")
os.system("echo printed by a child")
server = Server("noisy")
other = Server("other")

@server.tool
def echo(text: str) -> str:
    print("printed in a tool")
    return text
"""
INTERLOCK = [sys.executable, "-m", "interlock"]


@pytest.fixture
def file(folder: Path) -> Path:
    path = folder / "noisy.py"
    path.write_text(FILE)
    return path


async def test_what_a_file_prints_does_not_disturb_stdio(file: Path):
    heard: list[str] = []
    command = [*INTERLOCK, "run", f"{file}:server"]
    async with Client(command, on_stderr=heard.append) as client:
        assert (await client.call_tool("echo", {"text": "hi"})).text == "hi"
    assert heard[:2] == ["printed at import", "printed by a child"]


async def test_a_file_that_runs_its_server_itself_is_served_once(folder: Path):
    (folder / "own.py").write_text(FILE + "from interlock import run\nrun(server)\n")
    async with Client([*INTERLOCK, "run", "own.py:server"]) as client:
        assert (await client.call_tool("echo", {"text": "hi"})).text == "hi"


def test_it_ends_well_when_its_client_leaves(folder: Path):
    for name, more in {"own": "from interlock import run\nrun(server)\n", "file": ""}.items():
        (folder / f"{name}.py").write_text(FILE + more)
        command = [*INTERLOCK, "run", f"{name}.py:server"]
        assert subprocess.run(command, input=b"", check=False).returncode == 0


@pytest.fixture
def over_http(file: Path) -> Generator[subprocess.Popen[str]]:
    command = [*INTERLOCK, "run", f"{file}:server", "--http", "--sse", "--port", "0", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0


async def test_over_http_it_says_where_and_ends_on_ctrl_c(over_http: subprocess.Popen[str]):
    assert over_http.stdout is not None
    told = next(json.loads(line) for line in over_http.stdout if line.startswith("{"))
    assert told["name"] == "noisy"
    for url in (told["url"], told["sse"]):
        async with Client(url) as client:
            assert (await client.call_tool("echo", {"text": "hi"})).text == "hi"


def test_a_fault_of_the_file_is_told_on_stderr_and_nothing_on_stdout(folder: Path):
    (folder / "bad.py").write_text("print('out')\n1 / 0\n")
    done = subprocess.run(
        [*INTERLOCK, "run", "bad.py"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "out\nerror: bad.py raised ZeroDivisionError while it was imported:" in done.stderr


def test_a_port_that_cannot_be_listened_on_is_exit_3(run: Run, folder: Path):
    (folder / "one.py").write_text("from interlock import Server\nserver = Server('one')\n")
    done = run("run", "one.py", "--http", "--host", "192.0.2.1")
    assert done.code == 3
    assert "Cannot listen on 192.0.2.1:8000" in done.err


HTTP_ONLY = [
    ["--sse"],
    ["--port", "8000"],
    ["--host", "127.0.0.1"],
    ["--server", "h1"],
    ["--certificate", "noisy.py"],
    ["--unix", "here"],
    ["--workers", "2"],
]


@pytest.mark.parametrize("option", HTTP_ONLY)
def test_what_is_for_http_is_refused_without_it(run: Run, file: Path, option: list[str]):
    done = run("run", str(file), *option)
    assert done.code == 2
    assert "add --http" in done.err


@pytest.mark.parametrize(
    "options",
    [
        (["--unix", "here", "--port", "1"], "--unix is instead of --host and --port"),
        (["--key", "noisy.py"], "give --certificate too"),
        (["--sse", "--workers", "2"], "serve them with one worker"),
    ],
    ids=["unix and port", "key alone", "sse and workers"],
)
def test_options_that_contradict_each_other_are_told(
    run: Run, file: Path, options: tuple[list[str], str]
):
    words, why = options
    done = run("run", str(file), "--http", *words)
    assert done.code == 2
    assert why in " ".join(done.err.split())


def test_what_is_no_certificate_is_told(run: Run, file: Path):
    done = run("run", f"{file}:server", "--http", "--certificate", str(file))
    assert done.code == 3
    assert f"{file} is no certificate to serve with" in " ".join(done.err.split())


@pytest.mark.parametrize("server", ["h1", "uvicorn"])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_at_a_unix_socket_over_tls_by_either_server(folder: Path, server: str, workers: str):
    (folder / "quiet.py").write_text("from interlock import Server\nserver = Server('quiet')\n")
    certificate = self_signed(folder)
    words = ["--server", server, "--unix", "here", "--certificate", str(certificate)]
    command = [*INTERLOCK, "run", "quiet.py", "--http", "--json", "--workers", workers, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told == {"name": "quiet", "url": "https://localhost/mcp", "unix": "here"}
        context = ssl.create_default_context(cafile=str(certificate))
        with (
            socket.socket(socket.AF_UNIX) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as line,
        ):
            line.connect("here")
            line.sendall(b"HEAD /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert line.recv(15) == b"HTTP/1.1 405 Me"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert not (folder / "here").exists()
