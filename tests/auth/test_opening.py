"""What is opened in a person's browser, and that opening it runs nothing else (CVE-2025-6514)."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.spec.marking import requirement

from interlock.auth.opening import LIMIT, browsers, host_of, open_page, openable

GOOD = [
    "https://accounts.example.com/authorize?client_id=a&state=b%2Fc&scope=x+y",
    "https://accounts.example.com",
    "https://accounts.example.com/",
    "https://accounts.example.com?state=1",
    "https://accounts.example.com:8443/a/b;v=1/c?x=(1),2&y=*!~#top",
    "https://xn--bcher-kva.example/login",
    "https://203.0.113.7/authorize",
    "https://[2001:db8::1]:8443/authorize",
    "HTTPS://Accounts.Example.Com/Authorize",
    "http://127.0.0.1/authorize",
    "http://127.0.0.1:8080/authorize?x=1",
    "http://localhost:3000/authorize",
    "http://LOCALHOST/authorize",
    "http://[::1]:9000/authorize",
    # Lawful in a URL, and one argument of one command whatever it looks like.
    "https://accounts.example.com/$(calc)",
    "https://accounts.example.com/;calc&calc",
    "https://accounts.example.com/%24%28calc%29%0A",
    "https://accounts.example.com/" + "a" * (LIMIT - 29),
]

BAD = [
    # Schemes.
    "",
    "javascript:alert(1)",
    "JAVASCRIPT://accounts.example.com/%0Aalert(1)",
    "file:///etc/passwd",
    "file://server/share/program.exe",
    "data:text/html,<script>alert(1)</script>",
    "data:text/html;base64,PHNjcmlwdD4=",
    "vbscript:msgbox(1)",
    "ftp://accounts.example.com/",
    "smb://accounts.example.com/share",
    "ms-settings:privacy",
    "search-ms:query=calc",
    "about:blank",
    "view-source:https://accounts.example.com/",
    "blob:https://accounts.example.com/0",
    "mailto:someone@example.com",
    "httpx://accounts.example.com/",
    "//accounts.example.com/authorize",
    "/authorize",
    "accounts.example.com/authorize",
    "https:accounts.example.com",
    "https:/accounts.example.com",
    "C:/Windows/System32/calc.exe",
    # Options and commands.
    "-flag",
    "--profile=https://accounts.example.com/",
    "-https://accounts.example.com/",
    "$(calc)",
    "http://x/$(calc)",
    "https://$(calc)/",
    "https://accounts.example.com$(calc)/",
    "https://accounts.example.com/`calc`",
    "https://accounts.example.com/|calc",
    "https://accounts.example.com/;calc;|calc",
    "https://accounts.example.com;calc/",
    "https://accounts.example.com&calc",
    "https://accounts.example.com/?a=b&c=%COMSPEC%",
    "https://accounts.example.com/<in>out",
    "https://accounts.example.com/{a,b}",
    "https://accounts.example.com/^&calc",
    # Quotes, white space, control characters.
    'https://accounts.example.com/"&calc&"',
    "https://accounts.example.com/'calc'",
    "https://accounts.example.com/ calc",
    " https://accounts.example.com/",
    "https://accounts.example.com/ ",
    "https://accounts.example.com/\tcalc",
    "https://accounts.example.com/\ncalc",
    "https://accounts.example.com/\n",
    "https://accounts.example.com/\r\ncalc",
    "https://accounts.example.com/\x00calc",
    "https://accounts.example.com/\x1b[2J",
    "https://accounts.example.com/\x7f",
    "java\nscript:alert(1)",
    "https://accounts.example.com/\u2028",
    "https://accounts.example.com/\u202egnp.exe",
    "https://b\u00fccher.example/",
    "https://\uff41ccounts.example.com/",
    # Hosts.
    "https://",
    "https:///authorize",
    "https://?x",
    "https://#x",
    "https://:443/authorize",
    "https://-oProxyCommand=calc/",
    "https://-accounts.example.com/",
    "https://accounts.example.com-/",
    "https://%61ccounts.example.com/",
    "https://accounts.example.com:/",
    "https://accounts.example.com:0/",
    "https://accounts.example.com:65536/",
    "https://accounts.example.com:https/",
    "https://accounts.example.com:-1/",
    "https://accounts.example.com:443:443/",
    "https://user@accounts.example.com/",
    "https://accounts.example.com:secret@evil.example/",
    "https://accounts.example.com%40evil.example/",
    "https://accounts.example.com\\@evil.example/",
    "https:\\\\accounts.example.com\\authorize",
    "https://[::1/authorize",
    "https://[::1]x/authorize",
    "https://[1:2:3]/authorize",
    "https://[fe80::1%25eth0]/authorize",
    "https://[v1.fe80]/",
    "https://accounts.example.com[::1]/",
    "https://" + "a." * 127 + "example/",
    # TLS.
    "http://evil.com",
    "http://evil.com/authorize",
    "http://localhost.evil.com/",
    "http://127.0.0.1.evil.com/",
    "http://127.0.0.1@evil.com/",
    "http://evil.com#@127.0.0.1/",
    "http://0.0.0.0/",
    "http://127.1/",
    "http://2130706433/",
    "http://localhost./",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:127.0.0.1]/",
    # Paths and queries.
    "https://accounts.example.com/%",
    "https://accounts.example.com/%2",
    "https://accounts.example.com/%zz",
    "https://accounts.example.com/?a=%0",
    "https://accounts.example.com/[a]",
    "https://accounts.example.com/?a[b]=1",
    "https://accounts.example.com/#a#b",
    "https://accounts.example.com/" + "a" * LIMIT,
]


@pytest.mark.parametrize("url", GOOD)
def test_a_page_of_a_server_is_opened(url: str):
    assert openable(url) is None


@requirement("CF-11", "SEC-10")
@pytest.mark.parametrize("url", BAD)
def test_what_is_no_page_of_a_server_is_not_opened(url: str, tmp_path: Path):
    assert openable(url)
    command, seen = recorder(tmp_path)
    assert not open_page(url, [command])
    assert not seen.exists()


@given(st.text(max_size=40))
def test_no_text_upsets_the_judgement(text: str):
    for url in (text, f"https://{text}", f"https://a.example/{text}"):
        if openable(url) is None:
            assert url.isascii()
            assert url.isprintable()
            assert not set(url) & set(" \"'\\`<>|^{}")
        assert host_of(url).isascii()
        assert host_of(url).isprintable()


@pytest.mark.parametrize(
    "url",
    ["https://a.example/\x1b[2J", "https://hunter2@a.example/", "https://a.example/%zzhunter2"],
)
def test_a_reason_quotes_next_to_nothing(url: str):
    reason = openable(url)
    assert reason
    assert reason.isprintable()
    assert "hunter2" not in reason
    assert "a.example" not in reason


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Accounts.Example.com/authorize?x=1", "accounts.example.com"),
        ("https://accounts.example.com:8443/", "accounts.example.com:8443"),
        ("http://[::1]:9000/", "[::1]:9000"),
        ("https://google.example@evil.example/", "evil.example"),
        ("https://a\u0430.example/", "a?.example"),
        ("https://a.example:port/", "(no host)"),
        ("https://[/", "(no host)"),
        ("javascript:alert(1)", "(no host)"),
        ("", "(no host)"),
    ],
)
def test_people_are_shown_the_host_they_are_sent_to(url: str, host: str):
    assert host_of(url) == host


def script(path: Path, text: str) -> list[str]:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return [str(path)]


def recorder(folder: Path, end: int = 0) -> tuple[list[str], Path]:
    """A browser that writes its arguments into a file, one a line."""
    seen = folder / "seen"
    return script(folder / f"browser-{end}", f"printf '%s\\n' \"$@\" >> '{seen}'; exit {end}"), seen


@requirement("CF-11", "SEC-10")
@pytest.mark.parametrize("url", [url for url in GOOD if len(url) < 1000])
def test_the_url_is_one_argument_whatever_is_in_it(url: str, tmp_path: Path):
    command, seen = recorder(tmp_path)
    assert open_page(url, [command], grace=30)
    assert seen.read_text() == f"{url}\n"


def test_the_url_stands_where_the_command_wants_it(tmp_path: Path):
    command, seen = recorder(tmp_path)
    assert open_page("https://a.example/", [[*command, "--new", "%s", "--end"]], grace=30)
    assert seen.read_text().split("\n") == ["--new", "https://a.example/", "--end", ""]


def test_what_cannot_be_run_or_gives_up_is_followed_by_the_next(tmp_path: Path):
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x00\x01 no program")
    broken.chmod(0o755)
    gives_up, seen = recorder(tmp_path, end=3)
    command, _ = recorder(tmp_path)
    missing = [str(tmp_path / "missing")]
    assert open_page("https://a.example/", [missing, [str(broken)], gives_up, command], grace=30)
    assert seen.read_text() == "https://a.example/\n" * 2


def test_without_a_browser_nothing_is_opened_and_nothing_raised(tmp_path: Path):
    gives_up, _ = recorder(tmp_path, end=3)
    assert not open_page("https://a.example/", [])
    assert not open_page("https://a.example/", [["no-such-browser-anywhere"]])
    assert not open_page("https://a.example/", [gives_up], grace=30)


def test_a_browser_that_stays_open_is_not_waited_for(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    before = set(threading.enumerate())
    assert open_page(
        "https://a.example/", [script(tmp_path / "stays", f"cat '{pipe}'")], grace=0.01
    )
    (waiter,) = set(threading.enumerate()) - before
    assert waiter.daemon
    pipe.write_bytes(b"")
    waiter.join(30)
    assert not waiter.is_alive()


def test_a_browser_has_neither_our_terminal_nor_our_session(tmp_path: Path):
    seen = tmp_path / "seen"
    program = f"import os; open({str(seen)!r}, 'w').write(str(os.getsid(0)))"
    command = script(
        tmp_path / "browser", f'echo noise; echo noise >&2; cat; {sys.executable} -c "{program}"'
    )
    assert open_page("https://a.example/", [command], grace=30)
    assert int(seen.read_text()) != os.getsid(0)


def test_the_persons_own_browser_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    command, seen = recorder(tmp_path)
    monkeypatch.setenv("BROWSER", f"no-such-browser-anywhere:'{command[0]}' --new")
    assert open_page("https://a.example/", grace=30)
    assert seen.read_text() == "--new\nhttps://a.example/\n"


@requirement("CF-11", "SEC-10")
@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("firefox", [["firefox"]]),
        ("firefox --new-tab", [["firefox", "--new-tab"]]),
        ("firefox --new-tab %s", [["firefox", "--new-tab", "%s"]]),
        ("firefox:chromium --incognito", [["firefox"], ["chromium", "--incognito"]]),
        ("'/opt/my browser/run'", [["/opt/my browser/run"]]),
        ("", []),
        (" ", []),
        ("%s", []),
        ("sh -c 'firefox %s'", []),
        ("sh -c 'firefox \"%s\"'", []),
        ("firefox &", []),
        ("firefox 'open", []),
        ("firefox $HOME", []),
        ("firefox `id`", []),
        ("firefox | tee", []),
        ("firefox %u", []),
    ],
)
def test_a_command_that_needs_a_shell_is_passed_over(said: str, command: list[list[str]]):
    assert browsers({"BROWSER": said}, "linux") == command


def test_each_platform_has_its_own_command():
    assert browsers({"DISPLAY": ":0"}, "linux") == [["xdg-open"]]
    assert browsers({"WAYLAND_DISPLAY": "wayland-0"}, "linux") == [["xdg-open"]]
    assert browsers({"WSL_DISTRO_NAME": "Debian"}, "linux") == [["wslview"]]
    assert browsers({"BROWSER": "firefox"}, "darwin") == [["firefox"], ["open"]]
    assert browsers({"SYSTEMROOT": r"D:\Windows", "BROWSER": "evil.bat"}, "win32") == [
        [r"D:\Windows\System32\rundll32.exe", "url.dll,FileProtocolHandler"]
    ]


def test_where_nobody_could_see_it_no_browser_is_started():
    assert browsers({}, "linux") == []
