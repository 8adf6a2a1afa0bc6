"""What is different where a person looks: colours, progress, and nothing that acts on the screen."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import TIME, Up, write_config

ENVIRONMENT = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "40"}


class Session:
    """A command with a terminal for its stdin, stdout and stderr."""

    def __init__(self, folder: Path, *args: str, **environment: str) -> None:
        ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "interlock", *args],
            cwd=folder,
            env={**{k: v for k, v in ENVIRONMENT.items() if k != "NO_COLOR"}, **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self._screen = ours
        self.seen = b""

    def until(self, part: bytes) -> bytes:
        """All it wrote up to *part*, or to its end."""
        while part not in self.seen:
            try:
                read = os.read(self._screen, 65536)
            except OSError:  # How a terminal ends under Linux.
                break
            if not read:
                break
            self.seen += read
        return self.seen

    def end(self) -> tuple[int, bytes]:
        self.until(b"\0 never")
        os.close(self._screen)
        return self.process.wait(10), self.seen


def test_what_a_server_sends_does_not_act_on_the_screen(in_served: Up):
    code, seen = Session(in_served.folder, "call", "sample.escape").end()
    assert (code, seen) == (0, b"gone\r\n")


def test_bytes_are_not_written_to_a_screen(in_served: Up):
    code, seen = Session(in_served.folder, "read", "sample://bytes").end()
    assert code == 0
    assert seen.startswith(b"[4 bytes of image/png; write them to a file")


def test_json_is_indented_for_a_person(in_served: Up):
    _, seen = Session(in_served.folder, "call", "sample.picture", "--json").end()
    assert seen.startswith(b'{\r\n  "content": [')


def test_it_says_what_is_waited_for_while_servers_start(folder: Path):
    write_config(folder, time=TIME)
    _, seen = Session(folder, "call", "time.get_current_time").end()
    assert b"starting time" in seen
    assert b"time runs" in seen
    assert seen.count(b"starting") == 1


def test_states_have_colours_unless_nobody_wants_them(in_served: Up):
    assert b"\x1b[32mrunning" in Session(in_served.folder, "list").end()[1]
    assert b"\x1b" not in Session(in_served.folder, "list", NO_COLOR="1").end()[1].replace(
        b"\x1b[1m",
        b"",  # Bold is no colour.
    ).replace(b"\x1b[0m", b"")


def test_the_table_of_up_fills_while_servers_start(folder: Path):
    write_config(folder, time=TIME)
    up = Session(folder, "up", "--port", "0")
    seen = up.until(b"Ctrl-C ends it.")
    up.process.send_signal(signal.SIGINT)
    code, _ = up.end()
    assert code == 0
    assert seen.index(b"starting") < seen.index(b"running") < seen.index(b"Endpoint: ")
    assert b"\x1b[?25h" in seen  # The cursor, hidden while the table changes, is back.
