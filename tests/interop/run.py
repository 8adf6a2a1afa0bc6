"""Real clients, hosts and servers of others against ours: each check a process with a time limit.

Usage: python tests/interop/run.py [--only SUBSTRING] [--jobs N] [--interlock COMMAND]

One line a check; on failure the end of what it and our server printed. A check fails too when what
it started does not end: each has a HOME of its own, by which its descendants are known.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = ROOT / ".peers"
PACKAGES = PEERS / "node"
NODE = PACKAGES / "bin/node"
FIXTURE = HERE / "server.py"
EVERYTHING = PACKAGES / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"


class Check(NamedTuple):
    name: str
    command: tuple[str | Path, ...]
    """Before it is run, "TARGET" stands for the words that reach the server, "URL" for its address."""
    serve: str = ""
    """What must be listening: "http" (our server), "uvicorn" or "hypercorn" (others' HTTP servers
    with our endpoint behind them), "gateway" (before it), "everything" (a server of others) or
    "bridge" (the gateway before servers of others); the gateway also as "gateway uvicorn" and
    "bridge uvicorn"."""
    limit: float = 30


def checks() -> list[Check]:
    found: list[Check] = []
    ways = {
        "stdio": ("", ""),
        "http": ("http", ""),
        "uvicorn": ("uvicorn", ""),
        "hypercorn": ("hypercorn", ""),
        "gateway": ("gateway", "fixture"),
        "gateway on uvicorn": ("gateway uvicorn", "fixture"),
    }
    for way, (serve, prefix) in ways.items():
        python = HERE / "peers/python2.py"
        for mode in ("auto", "legacy", "2026-07-28"):
            command = (PEERS / "mcp2/bin/python", python, mode, prefix, "TARGET")
            found.append(Check(f"client python 2.3 {mode} {way}", command, serve))
        command = (PEERS / "mcp1/bin/python", HERE / "peers/python1.py", prefix, "TARGET")
        found.append(Check(f"client python 1.30 {way}", command, serve))
        script = HERE / "peers/typescript.mjs"
        for mode in ("auto", "legacy", "2026-07-28"):
            command = (NODE, script, mode, prefix, "TARGET")
            found.append(Check(f"client typescript 2.4 {mode} {way}", command, serve))
        command = (NODE, script, "1", prefix, "TARGET")
        found.append(Check(f"client typescript 1.32 {way}", command, serve))
    for on in ("", " uvicorn"):
        where = f" on{on}" if on else ""
        for mode in ("auto", "legacy", "2026-07-28"):
            command = (PEERS / "mcp2/bin/python", HERE / "peers/bridge.py", mode, "URL")
            found.append(Check(f"bridge python 2.3 {mode}{where}", command, f"bridge{on}"))
            command = (PEERS / "mcp2/bin/python", HERE / "peers/relayed.py", mode, "URL")
            found.append(Check(f"relayed to python 2.3 {mode}{where}", command, f"bridge{on}"))
        for era in ("modern", "legacy"):
            command = (sys.executable, HERE / "relayed.py", era, "URL")
            found.append(Check(f"relayed to ours {era}{where}", command, f"bridge{on}"))
        for host in ("claude", "codex", "gemini"):
            command = (sys.executable, HERE / "hosts.py", host, "URL", "STDIO")
            found.append(Check(f"host {host}{where}", command, f"gateway{on}", 90))
    found += [
        Check(f"server {server} stdio", (sys.executable, HERE / "ours.py", server))
        for server in ("time", "git", "everything")
    ]
    command = (sys.executable, HERE / "login.py")
    found.append(Check("login in chromium", command, limit=90))
    command = (sys.executable, HERE / "ours.py", "everything", "URL")
    found.append(Check("server everything http", command, "everything"))
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def listening(
    what: str, interlock: str, scratch: Path, environment: dict[str, str]
) -> Generator[str]:
    """Start what a check needs; the address of its endpoint."""
    with contextlib.ExitStack() as stack:

        def start(log: str, *command: str | Path) -> str:
            return stack.enter_context(started(log, command, scratch, environment))

        if what == "":
            yield ""
        elif what == "http":
            yield start("server.log", interlock, "run", FIXTURE, "--http", "--port", "PORT")
        elif what in ("uvicorn", "hypercorn"):
            environment = {**environment, "PYTHONPATH": str(ROOT)}
            served = f"{FIXTURE}:server"
            behind = (sys.executable, "-m", "tests.behind", what, served, "--port", "PORT")
            yield start("server.log", *behind)
        elif what == "everything":
            yield start("everything.log", NODE, EVERYTHING, "streamableHttp")
        else:
            servers: dict[str, dict[str, object]] = {
                "fixture": {"command": interlock, "args": ["run", str(FIXTURE)]}
            }
            before, _, on = what.partition(" ")
            if before == "bridge":
                remote = start("everything.log", NODE, EVERYTHING, "streamableHttp")
                servers = {
                    "everything": {"command": str(NODE), "args": [str(EVERYTHING), "stdio"]},
                    "remote": {"type": "http", "url": remote},
                    "time": {"command": str(PEERS / "py-git/bin/mcp-server-time")},
                }
            config = scratch / "gateway.json"
            config.write_text(json.dumps({"mcpServers": servers}))
            by = ("--server", on) if on else ()
            yield start("server.log", interlock, "up", "--config", config, "--port", "PORT", *by)


@contextlib.contextmanager
def started(
    log: str, command: Sequence[str | Path], scratch: Path, environment: dict[str, str]
) -> Generator[str]:
    """A program that listens on a port of its own: its endpoint. Ends it as Ctrl-C would."""
    port = free_port()
    with (scratch / log).open("wb") as output:
        server = subprocess.Popen(
            [str(port) if word == "PORT" else word for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=scratch,
            env={**environment, "PORT": str(port)},
            start_new_session=True,
        )
        try:
            wait_for(server, port)
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(5)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
                output.write(b"did not end within 5 seconds of Ctrl-C\n")


def wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise Failed(f"the server did not listen on port {port} (exit code {server.poll()})")


class Failed(Exception):
    """Why a check failed, for whoever reads the line."""


def descendants(home: Path) -> dict[int, str]:
    """Processes whose HOME is `home`: pid and command line. Empty where there is no /proc."""
    mark = f"HOME={home}".encode()
    found: dict[int, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                found[int(process.name)] = line
    return {pid: line for pid, line in found.items() if line}  # without a command line: ended


def left_behind(home: Path) -> list[str]:
    """What is still there shortly after the check; ended here, by pid."""
    deadline = time.monotonic() + 3
    while (still := descendants(home)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in still:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [f"left behind: {pid} {line}" for pid, line in still.items()]


def perform(check: Check, interlock: str) -> tuple[float, list[str]]:
    """Seconds it took and what went wrong, line by line; nothing when it passed."""
    start = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="interlock-interop-")).resolve()
    environment = {
        "HOME": str(scratch),
        "LANG": "C.UTF-8",
        "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}",
        "PACKAGES": str(PACKAGES),
        "INTERLOCK": interlock,
    }
    wrong: list[str] = []
    try:
        with listening(check.serve, interlock, scratch, environment) as url:
            stdio = [interlock, "run", str(FIXTURE)]
            places = {"TARGET": [url] if url else stdio, "URL": [url], "STDIO": stdio}
            command = [x for word in check.command for x in places.get(str(word), [str(word)])]
            wrong += follow(command, scratch, environment, check.limit)
    except Failed as failure:
        wrong.append(str(failure))
    wrong += left_behind(scratch)
    log = scratch / "server.log"
    said = log.read_text(errors="replace").splitlines() if log.exists() else []
    if wrong and said:
        wrong += ["our server printed:", *said[-15:]]
    elif said and said[-1].startswith("did not end"):
        wrong += said[-15:]
    shutil.rmtree(scratch, ignore_errors=True)
    return time.monotonic() - start, wrong


def follow(
    command: list[str], scratch: Path, environment: dict[str, str], limit: float
) -> list[str]:
    """Run the check itself; the end of its output when it fails."""
    with (scratch / "check.log").open("w+b") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=scratch,
            env=environment,
            start_new_session=True,
        )
        why = ""
        try:
            code = process.wait(limit)
            why = f"exited {code}" if code else ""
        except subprocess.TimeoutExpired:
            why = f"did not finish within {limit:.0f} seconds"
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL) if why else None
        process.wait()
        log.seek(0)
        said = log.read().decode(errors="replace").splitlines()
    return [*said[-30:], why] if why else []


def main() -> int:
    parser = argparse.ArgumentParser(description="Try ours against the software of others.")
    parser.add_argument("--only", default="", help="only checks whose name contains this")
    parser.add_argument("--jobs", type=int, default=2, help="checks at a time (default 2)")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    default = str(Path(sys.executable).parent / "interlock")
    parser.add_argument("--interlock", default=default, help="the interlock command to try")
    options = parser.parse_args()

    chosen = [check for check in checks() if options.only in check.name]
    if options.list or not chosen:
        print("\n".join(check.name for check in chosen) or f"no check has {options.only!r} in it")
        return 0 if chosen else 2
    failed: list[str] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(perform, check, options.interlock): check for check in chosen}
        for done in as_completed(running):
            name = running[done].name
            seconds, wrong = done.result()
            print(f"{name:44} {'FAILED' if wrong else 'ok':6} {seconds:5.1f} s", flush=True)
            for line in wrong:
                print(f"    {line}", flush=True)
            if wrong:
                failed.append(name)
    print(f"{len(chosen) - len(failed)} of {len(chosen)} checks passed", flush=True)
    for name in sorted(failed):
        print(f"  failed: {name}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
