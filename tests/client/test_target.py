"""Where a client connects: what each way to say it means, and what cannot be meant."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from interlock import Client, Server
from interlock.client.target import Command, Url, read_target
from interlock.errors import ConfigError
from interlock.transport.channel import Channel


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:4777/mcp",
        "https://example.com/mcp?a=b",
        "http://[::1]:8000/mcp",
    ],
)
def test_a_string_with_a_scheme_is_a_url(url: str):
    assert read_target(url) == Url(url)


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "http://", "http:///mcp", "ws:///x", "http://x:port/", "://"]
)
def test_a_url_that_no_server_can_have_is_refused(url: str):
    with pytest.raises(ConfigError, match="is no URL of a server"):
        read_target(url)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("server", ["server"]),
        ("npx -y 'a package' --root=/", ["npx", "-y", "a package", "--root=/"]),
        (["npx", "-y", "a package"], ["npx", "-y", "a package"]),
        (("npx",), ["npx"]),
        ("fetch http://example.com", ["fetch", "http://example.com"]),
        ("a;b $HOME", ["a;b", "$HOME"]),
    ],
)
def test_any_other_string_and_a_list_are_commands(target: str | list[str], words: Sequence[str]):
    found = read_target(target)
    assert isinstance(found, Command)
    assert [found.command, *found.args] == list(words)


def test_a_python_file_is_run_by_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "my server.py"
    file.touch()
    monkeypatch.chdir(tmp_path)
    mine = Command(sys.executable, [str(file)])
    assert read_target(file) == mine
    assert read_target(str(file)) == mine
    assert read_target([str(file)]) == mine
    assert read_target("my server.py") == Command(sys.executable, ["my server.py"])
    assert read_target(["my server.py", "-v"]) == Command(sys.executable, ["my server.py", "-v"])
    assert read_target("'my server.py' -v") == Command(sys.executable, ["my server.py", "-v"])


def test_a_python_file_that_is_not_there_says_where_it_was_looked_for():
    with pytest.raises(ConfigError, match=r"There is no file 'nope.py' \(looked in /"):
        read_target("nope.py")


def test_a_server_and_a_function_that_opens_a_channel_are_targets():
    server = Server("s")

    async def opener() -> Channel:
        raise NotImplementedError

    assert read_target(server) is server
    assert read_target(opener) is opener
    assert read_target(Command("x")) == Command("x")


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("", "Nothing is no target"),
        ("  ", "Nothing is no target"),
        ([], "Nothing is no target"),
        ([""], "Nothing is no target"),
        (["a", 1], "A command is a list of strings"),
        ("a 'b", "is no command line: No closing quotation"),
        (7, "int is no target"),
        (None, "NoneType is no target"),
        (Server, "type is no target"),
    ],
)
def test_what_is_no_target_is_refused_at_once(target: Any, complaint: str):
    with pytest.raises(ConfigError, match=complaint):
        Client(target)


def test_headers_do_not_show_in_what_is_printed():
    """They carry credentials."""
    assert "secret" not in repr(Url("https://example.com", {"authorization": "secret"}))
    assert repr(Command("npx", ["-y", "x"], {"TOKEN": "secret"})) == "Command(['npx', '-y', 'x'])"
