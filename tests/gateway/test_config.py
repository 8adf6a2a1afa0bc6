"""What a `.mcp.json` means, and what is said of one that means nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from interlock.errors import ConfigError
from interlock.gateway.config import (
    SIZE_LIMIT,
    Config,
    HttpServer,
    Note,
    OAuthEntry,
    StdioServer,
    load,
)

Loaded: TypeAlias = Callable[..., Config]

ENVIRON = {"HOME": "/home/ada", "TOKEN": "s3cret", "EMPTY": "", "PADDED": " s3cret\n"}


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    def write_and_load(servers: Any = None, *, text: str | bytes | None = None) -> Config:
        file = tmp_path / ".mcp.json"
        if text is None:
            text = json.dumps({"mcpServers": servers})
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(file, ENVIRON)

    return write_and_load


def stdio(config: Config, name: str = "a") -> StdioServer:
    server = config.servers[name]
    assert isinstance(server, StdioServer)
    return server


def http(config: Config, name: str = "a") -> HttpServer:
    server = config.servers[name]
    assert isinstance(server, HttpServer)
    return server


def notes(config: Config) -> list[str]:
    return [str(note) for note in config.notes]


def test_a_file_names_programs_and_urls_in_its_own_order(loaded: Loaded):
    config = loaded(
        {
            "z": {"command": "npx", "args": ["-y", "pkg"], "env": {"K": "v"}, "cwd": "/x"},
            "a": {"type": "http", "url": "https://x.test/mcp", "headers": {"X": "y"}},
            "m": {"type": "stdio", "command": "run", "alwaysLoad": False},
        }
    )
    assert list(config.servers) == ["z", "a", "m"]
    z = stdio(config, "z")
    assert (z.type, z.name, z.command, z.args) == ("stdio", "z", "npx", ("-y", "pkg"))
    assert (z.env, z.cwd, z.timeout) == ({"K": "v"}, "/x", None)
    a = http(config)
    assert (a.type, a.name, a.url, a.headers) == ("http", "a", "https://x.test/mcp", {"X": "y"})
    assert config.notes == ()


def test_streamable_http_is_another_name_of_http(loaded: Loaded):
    config = loaded({"a": {"type": "streamable-http", "url": "http://127.0.0.1:1/mcp"}})
    assert http(config).url == "http://127.0.0.1:1/mcp"


def test_no_servers_are_no_fault(loaded: Loaded):
    assert loaded({}) == Config(loaded({}).path, {}, ())


def test_a_byte_order_mark_is_no_fault(loaded: Loaded):
    assert loaded(text=b'\xef\xbb\xbf{"mcpServers": {}}').servers == {}


# Variables


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("${HOME}", "/home/ada"),
        ("a${HOME}b${HOME}c", "a/home/adab/home/adac"),
        ("${HOME:-/else}", "/home/ada"),
        ("${NONE:-/else}", "/else"),
        ("${NONE:-}", ""),
        ("${NONE:-a b:-c}", "a b:-c"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", ""),
        ("$HOME", "$HOME"),
        ("${}", "${}"),
        ("${1X}", "${1X}"),
        ("${env:HOME}", "${env:HOME}"),
    ],
)
def test_variables_are_expanded_where_they_are_set(loaded: Loaded, written: str, meant: str):
    """A variable that is set to nothing is set: its default is not taken, as in other hosts."""
    config = loaded({"a": {"command": "x", "args": [written], "env": {"K": written}}})
    assert stdio(config).args == (meant,)
    assert stdio(config).env == {"K": meant}
    assert config.notes == ()


def test_variables_are_expanded_in_every_place_that_may_hold_them(loaded: Loaded):
    config = loaded(
        {
            "a": {"command": "${HOME}/run", "cwd": "${HOME}"},
            "b": {
                "type": "http",
                "url": "${BASE:-https://x.test}/mcp",
                "headers": {"Authorization": "Bearer ${TOKEN}"},
            },
        }
    )
    assert (stdio(config).command, stdio(config).cwd) == ("/home/ada/run", "/home/ada")
    assert http(config, "b").url == "https://x.test/mcp"
    assert http(config, "b").headers == {"Authorization": "Bearer s3cret"}


def test_what_a_variable_holds_is_not_expanded_again(tmp_path: Path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"mcpServers": {"a": {"command": "${A}"}}}))
    assert stdio(load(file, {"A": "${B}", "B": "no"})).command == "${B}"


def test_a_missing_variable_stays_as_written_and_is_named_once(loaded: Loaded):
    config = loaded(
        {
            "a": {"command": "x", "args": ["${NO}", "${NO}"], "env": {"K": "${NEITHER}"}},
            "b": {"type": "http", "url": "${NO}/mcp"},
        }
    )
    assert stdio(config).args == ("${NO}", "${NO}")
    assert http(config, "b").url == "${NO}/mcp"
    assert notes(config) == [
        "mcpServers.a: Missing environment variables: NO, NEITHER",
        "mcpServers.b: Missing environment variables: NO",
    ]


def test_whitespace_at_the_ends_is_kept_and_named_without_its_value(loaded: Loaded):
    config = loaded(
        {
            "a": {
                "type": "http",
                "url": " https://x.test",
                "headers": {"Authorization": "${PADDED}"},
            },
            "b": {"command": "x ", "args": [" meant so "], "env": {"K": "${PADDED}"}},
        }
    )
    assert http(config).headers == {"Authorization": " s3cret\n"}
    assert notes(config) == [
        "mcpServers.a: Leading or trailing whitespace in: url, headers.Authorization",
        "mcpServers.b: Leading or trailing whitespace in: command, env.K",
    ]


# Secrets


def test_what_a_person_is_shown_holds_nothing_from_the_environment(loaded: Loaded):
    config = loaded(
        {
            "a": {
                "command": "run",
                "args": ["--key=${TOKEN}", "two words"],
                "env": {"K": "${TOKEN}", "L": "literal-s3cret"},
            },
            "b": {
                "type": "http",
                "url": "https://${HOME}/mcp?key=${TOKEN}",
                "headers": {"Authorization": "Bearer ${TOKEN}", "X": "literal-s3cret"},
            },
            "c": {"type": "http", "url": "ftp://${TOKEN}"},
            "d": {"type": "http", "url": "${PADDED}"},
        }
    )
    assert stdio(config).args[0] == "--key=s3cret"
    assert stdio(config).describe() == "run '--key=${TOKEN}' 'two words'"
    assert http(config, "b").describe() == "https://${HOME}/mcp?key=${TOKEN}"
    rich = [server.__rich_repr__() for server in config.servers.values()]
    for shown in (repr(config), str(config), repr(rich), *notes(config)):
        assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ada:s3cret@x.test/mcp", "https://…@x.test/mcp"),
        ("https://x.test/mcp?key=s3cret&b=${B}&c=d#f", "https://x.test/mcp?key=…&b=${B}&c=…#f"),
        ("https://x.test/a@b", "https://x.test/a@b"),
    ],
)
def test_secrets_written_into_a_url_are_not_shown_either(loaded: Loaded, url: str, shown: str):
    server = http(loaded({"a": {"type": "http", "url": url}}))
    assert server.url.startswith("https://")
    assert server.describe() == shown


@pytest.mark.parametrize(
    ("type", "url"),
    [
        ("http", "https://x.test/mcp"),
        ("streamable-http", "https://x.test/mcp"),
        ("sse", "https://x.test/sse"),
        ("ws", "wss://x.test/mcp"),
    ],
)
def test_a_server_at_a_url_says_how_it_is_spoken_to(loaded: Loaded, type: str, url: str):
    config = loaded({"a": {"type": type, "url": url, "headers": {"X": "y"}}})
    server = http(config)
    assert server.type == type.removeprefix("streamable-")
    assert (server.url, server.headers, config.notes) == (url, {"X": "y"}, ())


# Logging in


def test_an_entry_may_say_how_its_server_is_logged_in_to(loaded: Loaded):
    oauth = {
        "clientId": "us",
        "clientSecret": "${TOKEN}",
        "callbackPort": 8080,
        "scopes": " read  write ",
        "authServerMetadataUrl": "https://issuer.test/metadata",
    }
    config = loaded({"a": {"type": "http", "url": "https://x.test", "oauth": oauth}})
    assert http(config).oauth == OAuthEntry(
        client_id="us",
        client_secret="s3cret",
        callback_port=8080,
        scopes=("read", "write"),
        metadata_url="https://issuer.test/metadata",
    )
    assert notes(config) == ["mcpServers.a: Leading or trailing whitespace in: oauth.scopes"]
    oauth_shown = [repr(http(config).oauth), repr(OAuthEntry(client_id="s3cret").__rich_repr__())]
    for shown in (repr(config), *oauth_shown, http(config).describe()):
        assert "s3cret" not in shown


@pytest.mark.parametrize("oauth", [{}, None])
def test_a_server_is_logged_in_to_without_a_word_about_it(loaded: Loaded, oauth: Any):
    entry = {"type": "sse", "url": "https://x.test"}
    config = loaded({"a": entry, "b": {**entry, "oauth": oauth}})
    assert http(config).oauth == http(config, "b").oauth == OAuthEntry()
    assert config.notes == ()


def test_one_that_says_false_is_never_logged_in_to(loaded: Loaded):
    config = loaded({"a": {"type": "http", "url": "https://x.test", "oauth": False}})
    assert http(config).oauth is None
    assert config.notes == ()


def test_where_nobody_can_log_in_oauth_is_said_to_have_no_effect(loaded: Loaded):
    headers = {"authorization": "Bearer x"}
    config = loaded(
        {
            "a": {"command": "x", "oauth": {"clientId": "us"}},
            "b": {"type": "ws", "url": "wss://x.test", "oauth": {"clientId": "us"}},
            "c": {"type": "http", "url": "https://x.test", "headers": headers, "oauth": {}},
        }
    )
    assert http(config, "b").oauth is None
    assert notes(config) == [
        'mcpServers.a: "oauth" has no effect on a program; what it has to know goes into env',
        'mcpServers.b: "oauth" has no effect on a WebSocket; use headers',
        'mcpServers.c: "oauth" has no effect beside an Authorization header; leave one of them out',
    ]


def test_a_variable_of_oauth_that_is_missing_is_named(loaded: Loaded):
    oauth = {"clientId": "${WHO}", "authServerMetadataUrl": "${WHERE}/x"}
    config = loaded({"a": {"type": "http", "url": "https://x.test", "oauth": oauth}})
    assert http(config).oauth == OAuthEntry(client_id="${WHO}", metadata_url="${WHERE}/x")
    assert notes(config) == ["mcpServers.a: Missing environment variables: WHO, WHERE"]


@pytest.mark.parametrize(
    ("oauth", "said"),
    [
        (True, "oauth: expected object or false, received boolean"),
        ("yes", "oauth: expected object or false, received string"),
        ({"clientId": 1}, "oauth.clientId: expected string, received number"),
        ({"clientSecret": "s3cret"}, "oauth.clientSecret: expected a clientId with it"),
        ({"callbackPort": "8080"}, "oauth.callbackPort: expected number, received string"),
        ({"callbackPort": True}, "oauth.callbackPort: expected number, received boolean"),
        ({"callbackPort": 0}, "oauth.callbackPort: expected a port, 1 to 65535"),
        ({"scopes": ["a"]}, "oauth.scopes: expected string, received array"),
        (
            {"authServerMetadataUrl": "http://x.test/m?key=s3cret"},
            "oauth.authServerMetadataUrl: expected https://, as written: http://x.test/m?key=…",
        ),
    ],
)
def test_what_is_said_wrongly_about_a_login_costs_the_entry(loaded: Loaded, oauth: Any, said: str):
    config = loaded(
        {"a": {"type": "http", "url": "https://x.test", "oauth": oauth}, "b": {"command": "x"}}
    )
    assert list(config.servers) == ["b"]
    assert notes(config) == [f"mcpServers.a: Skipped — Invalid configuration: {said}"]


# Entries that cannot be used


@pytest.mark.parametrize(
    ("entry", "note"),
    [
        (
            {"url": "https://x.test"},
            (
                'Skipped — MCP server "a" has a "url" but no "type"; '
                'add "type": "http" (or "sse" / "ws") to this entry'
            ),
        ),
        (
            {"type": "nosuch", "command": "x"},
            'Skipped — unknown MCP server type "nosuch" for server "a"',
        ),
        (
            {"type": "sse", "url": "wss://x.test"},
            (
                "Skipped — Invalid configuration: url: expected http:// or https://, "
                "as written: wss://x.test"
            ),
        ),
        (
            {"type": "ws", "url": "https://x.test"},
            (
                "Skipped — Invalid configuration: url: expected ws:// or wss://, "
                "as written: https://x.test"
            ),
        ),
        ({"type": "http", "url": ""}, "its url is empty"),
        ({"type": "http", "url": "${EMPTY}"}, "its url is empty"),
        ("npx", "Skipped — Invalid configuration: expected object, received string"),
        (None, "Skipped — Invalid configuration: expected object, received null"),
        ([], "Skipped — Invalid configuration: expected object, received array"),
        (
            {},
            "Skipped — Invalid configuration: command: expected string, received undefined",
        ),
        (
            {"command": 1},
            "Skipped — Invalid configuration: command: expected string, received number",
        ),
        ({"command": " "}, "Skipped — Invalid configuration: command: must not be empty"),
        (
            {"command": "x", "args": "-y"},
            "Skipped — Invalid configuration: args: expected array, received string",
        ),
        (
            {"command": "x", "args": ["-y", None]},
            "Skipped — Invalid configuration: args.1: expected string, received null",
        ),
        (
            {"command": "x", "env": []},
            "Skipped — Invalid configuration: env: expected object, received array",
        ),
        (
            {"command": "x", "env": {"DEBUG": True}},
            "Skipped — Invalid configuration: env.DEBUG: expected string, received boolean",
        ),
        (
            {"command": "x", "cwd": 1.5},
            "Skipped — Invalid configuration: cwd: expected string, received number",
        ),
        (
            {"command": "x", "timeout": "60s"},
            "Skipped — Invalid configuration: timeout: expected number, received string",
        ),
        (
            {"type": ["http"], "url": "https://x.test"},
            "Skipped — Invalid configuration: type: expected string, received array",
        ),
        (
            {"type": "http"},
            "Skipped — Invalid configuration: url: expected string, received undefined",
        ),
        (
            {"type": "http", "url": "x.test/mcp"},
            (
                "Skipped — Invalid configuration: url: expected http:// or https://, "
                "as written: x.test/mcp"
            ),
        ),
        (
            {"type": "http", "url": "https://x.test", "headers": {"X": {}}},
            "Skipped — Invalid configuration: headers.X: expected string, received object",
        ),
    ],
)
def test_an_entry_that_cannot_be_used_costs_itself_alone(loaded: Loaded, entry: Any, note: str):
    config = loaded({"before": {"command": "x"}, "a": entry, "after": {"command": "x"}})
    assert list(config.servers) == ["before", "after"]
    assert notes(config) == [f"mcpServers.a: {note}"]
    assert config.notes[0].server == "a"


def test_an_empty_url_is_not_configured_rather_than_wrong(loaded: Loaded):
    (note,) = loaded({"a": {"type": "http", "url": ""}}).notes
    assert note == Note("a", "not configured", "its url is empty")


@pytest.mark.parametrize("name", ["workspace", "Claude Browser"])
def test_a_reserved_name_is_skipped(loaded: Loaded, name: str):
    config = loaded({name: {"command": "x"}})
    assert config.servers == {}
    assert notes(config) == [
        f'mcpServers.{name}: Skipped — the name "{name}" is reserved; give the server another one'
    ]


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x1b[31m", "\ud800"])
def test_a_name_that_cannot_be_shown_is_skipped(loaded: Loaded, name: str):
    config = loaded({name: {"command": "x"}})
    assert config.servers == {}
    assert config.notes[0].kind == "skipped"


def test_a_timeout_is_in_milliseconds_and_one_below_a_second_is_ignored(loaded: Loaded):
    config = loaded(
        {
            "a": {"command": "x", "timeout": 600_000},
            "b": {"type": "http", "url": "http://x.test", "timeout": 1500.5},
            "c": {"command": "x", "timeout": 999},
        }
    )
    assert [server.timeout for server in config.servers.values()] == [600, 1.5005, None]
    assert notes(config) == ["mcpServers.c: timeout is in milliseconds; below 1000 it is ignored"]


def test_what_has_no_effect_yet_is_said_to_have_none(loaded: Loaded):
    config = loaded({"a": {"type": "http", "url": "http://x.test", "headersHelper": "/x"}})
    assert http(config)
    assert notes(config) == ['mcpServers.a: "headersHelper" is not supported yet and has no effect']


def test_keys_that_come_twice_are_named_wherever_they_are(loaded: Loaded):
    config = loaded(
        text="""{
            "mcpServers": {"a": {"command": "first"}},
            "mcpServers": {
                "a": {"command": "second"},
                "a": {"command": "x", "command": "third", "env": {"K": "1", "K": "2"}}
            }
        }"""
    )
    assert (stdio(config).command, stdio(config).env) == ("third", {"K": "2"})
    assert notes(config) == [
        'Duplicate key "mcpServers" in the file; the last one counts',
        'Duplicate key "a" in mcpServers; the last one counts',
        'mcpServers.a: Duplicate key "command" in this entry; the last one counts',
        'mcpServers.a: Duplicate key "K" in env; the last one counts',
    ]


# Files that cannot be used


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "(line 1, column 1): the file is empty"),
        ("nonsense", "(line 1, column 1): Expecting value"),
        ('{\n  "mcpServers": {}\n', "(line 3, column 1): "),
        ('{\n  // mine\n  "mcpServers": {}\n}', "(line 2, column 3): JSON has no comments"),
        ('{"mcpServers": {},\n}', "a comma "),
        ('{"mcpServers": {"a": {"args": ["x",]}}}', "a comma "),
        ("[]", "must hold a JSON object with the key mcpServers, not array"),
        ("null", "must hold a JSON object with the key mcpServers, not null"),
        ('{"mcpServers": []}', "mcpServers must be an object, not array"),
        ('{"servers": {}}', 'the key of VS Code\'s mcp.json: here it is "mcpServers"'),
        ('{"context_servers": {}}', "the key of Zed's settings"),
        ('{"git": {"command": "x"}}', 'put them into an object under "mcpServers"'),
        ('{"mcp": {}, "x": 1}', 'has no key "mcpServers"; it has "mcp", "x"'),
        ("{}", 'has no key "mcpServers"; it has nothing'),
        ("[" * 100_000, "nested too deeply"),
        (b'{\n"a": "\xff"}', "is not UTF-8 (line 2)"),
        (" " * (SIZE_LIMIT + 1), "has more than"),
    ],
    ids=lambda value: None if len(value) < 1000 else "long",
)
def test_a_file_that_cannot_be_used_is_an_error_that_says_where(
    loaded: Loaded, text: str | bytes, said: str
):
    with pytest.raises(ConfigError) as caught:
        loaded(text=text)
    assert said in str(caught.value)
    assert ".mcp.json" in str(caught.value)


def test_a_file_that_is_not_there_is_an_error_that_says_what_to_put_there(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"create it with \{\"mcpServers\""):
        load(tmp_path / ".mcp.json", {})


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(tmp_path), {})
