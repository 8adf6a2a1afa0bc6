"""Folders with servers in them, and the command line run in one."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.heard import OURS
from tests.leaks import leaks

from interlock.cli.main import outcome

PYTHON = {"command": sys.executable}
TIME = {**PYTHON, "args": ["-m", "interlock.reference.time"]}
TASKS = {**PYTHON, "args": ["-m", "interlock.reference.tasks"]}
BROKEN = {**PYTHON, "args": ["-c", "import sys; sys.exit('no key \\x1b[31mset')"]}
UNUSABLE = {"url": "http://127.0.0.1:9/mcp"}
SAMPLE = '''
from interlock import Server
from interlock.wire.content import Image

server = Server("sample")

@server.tool
def write(path: str, words: list[str], times: int = 1) -> str:
    """Write words."""
    return f"{path}: {' '.join(words * times)}"

@server.tool
def fail() -> str:
    raise ValueError("not for the model")

@server.tool
def picture() -> Image:
    return Image.of(b"12345", "image/png")

@server.tool
def escape() -> str:
    return "\\x1b[2Jgone"

@server.tool
def last_words() -> str:
    import os, sys
    print("out of memory", file=sys.stderr, flush=True)
    os._exit(3)

@server.tool
def wait(fifo: str) -> str:
    with open(fifo, "w") as telling:
        telling.write("waits")
    import time
    time.sleep(60)
    return "slept"

@server.resource("sample://bytes", mime_type="image/png")
def some_bytes() -> bytes:
    return b"\\x89PNG"

@server.resource("task://all")
def same_name_as_elsewhere() -> str:
    return "mine"

@server.prompt
def ask(topic: str, tone: str = "plain") -> str:
    return f"Ask about {topic} in a {tone} tone."
'''


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run: TypeAlias = Callable[..., Done]


def write_config(folder: Path, **servers: dict[str, Any]) -> Path:
    path = folder / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Generator[Run]:
    """The command line, in this process: what it exits with and what it prints."""
    handlers, level = list(logging.root.handlers), logging.root.level

    def run(*args: str) -> Done:
        code = outcome(list(args))
        out, err = capsys.readouterr()
        leaks.hear("what a command printed", out + err)
        return Done(code, out, err)

    yield run
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Up:
    """`interlock up --json` in a folder, as a process of its own; at any port, unless told."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "interlock", "up", "--json", *(words or ("--port", "0"))],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.listening = self.wait_for("listening")
        self.url: str = self.listening["url"]
        OURS.add(self.url)
        self.servers = {one["name"]: one for one in self.wait_for("ready")["servers"]}

    def wait_for(self, event: str, server: str | None = None) -> dict[str, Any]:
        """The next such event; what comes before it is passed over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            if told["event"] == event and server in (None, told.get("server")):
                return told
        assert self.process.stderr is not None
        raise AssertionError(f"it ended without {event}: {self.process.stderr.read()}")

    def end(self) -> int:
        """End it as Ctrl-C does; its exit code."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGINT)
        self.process.communicate(timeout=10)
        return self.process.returncode


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Up]:
    """A folder with a gateway that runs: three servers that work and one that does not."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "sample.py").write_text(SAMPLE)
    sample = {**PYTHON, "args": ["-m", "interlock", "run", str(folder / "sample.py")]}
    write_config(folder, time=TIME, tasks=TASKS, sample=sample, broken=BROKEN, old=UNUSABLE)
    up = Up(folder)
    try:
        yield up
    finally:
        up.end()


@pytest.fixture
def in_served(served: Up, monkeypatch: pytest.MonkeyPatch) -> Up:
    monkeypatch.chdir(served.folder)
    return served


def self_signed(folder: Path) -> Path:
    """A certificate for localhost with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "both.pem"
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(own + built.public_bytes(Encoding.PEM))
    return file
