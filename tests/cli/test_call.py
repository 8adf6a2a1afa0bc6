"""`interlock call`, through a gateway that runs and without one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import BROKEN, SAMPLE, TIME, UNUSABLE, Run, Up, write_config


def test_values_are_read_by_the_schema_and_the_answer_is_text(run: Run, in_served: Up):
    done = run("call", "sample.write", "path=a", "words=b", "words=c", "times=2")
    assert done == (0, "a: b c b c\n", "")


def test_the_name_that_hosts_show_is_taken_too(run: Run, in_served: Up):
    assert run("call", "sample__write", "path=a", "words=b").out == "a: b\n"


def test_json_alone_is_about_the_answer(run: Run, in_served: Up):
    done = run("call", "sample.write", "path=a", "words=b", "--json")
    assert done.json == {
        "content": [{"type": "text", "text": "a: b"}],
        "isError": False,
    }
    assert run("call", "--json", "sample.write", "path=a", "words=b").out == done.out


def test_json_with_an_object_is_about_the_arguments_too(run: Run, in_served: Up):
    arguments = '{"path": "a", "words": ["b"]}'
    done = run("call", "sample.write", "--json", arguments)
    assert done.json["content"][0]["text"] == "a: b"
    assert run("call", "sample.write", "--json", arguments, "--text").out == "a: b\n"
    (in_served.folder / "arguments.json").write_text(arguments)
    assert run("call", "sample.write", "--json", "@arguments.json", "--text").out == "a: b\n"


def test_arguments_come_one_way_or_the_other(run: Run, in_served: Up):
    done = run("call", "sample.write", "path=a", "--json", "{}")
    assert done.code == 2
    assert "not as both" in done.err


def test_structured_content_is_in_the_json(run: Run, in_served: Up):
    done = run("call", "time.get_current_time", "timezone=Asia/Tokyo", "--json")
    assert done.json["structuredContent"]["timezone"] == "Asia/Tokyo"


def test_what_is_no_text_is_named_by_kind_and_size(run: Run, in_served: Up):
    assert run("call", "sample.picture").out == (
        "[image: 5 bytes of image/png; --json shows them]\n"
    )


def test_a_program_gets_the_text_untouched(run: Run, in_served: Up):
    assert run("call", "sample.escape").out == "\x1b[2Jgone\n"


def test_a_tool_that_fails_is_told_on_stderr_and_exits_1(run: Run, in_served: Up):
    done = run("call", "sample.fail")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: sample.fail failed:\n  ")
    assert "not for the model" not in done.err
    as_json = run("call", "sample.fail", "--json")
    assert (as_json.code, as_json.json["isError"]) == (1, True)


def test_a_server_that_ends_in_the_call_is_told_with_its_last_words(run: Run, in_served: Up):
    done = run("call", "sample.last_words")
    assert done.code == 1
    assert "'sample' exited with code 3" in done.err
    assert "\n    out of memory\n  This came as JSON-RPC error -32603.\n" in done.err


@pytest.mark.parametrize(
    ("args", "what", "more"),
    [
        (["tme.x"], "There is no server 'tme' in .mcp.json.", "Did you mean 'time'?"),
        (["time.convrt_time"], "time has no tool 'convrt_time'.", "Did you mean 'convert_time'?"),
        (["time"], "'time' is a server; what of it is meant?", "interlock list time"),
        (["nothing"], "'nothing' is not of the form SERVER.NAME.", "Servers in .mcp.json: time"),
        (["time.convert_time"], "time.convert_time needs time.", "time (string): Time of day"),
        (["time.convert_time", "tiem=1"], "There is no argument 'tiem'.", "Did you mean 'time'?"),
        (["sample.write", "times=x"], "times must be a whole number; got 'x'.", ""),
        (["sample.write", "path"], "'path' is no argument: key=value is expected.", "quotes"),
    ],
)
def test_a_slip_is_told_with_what_was_meant(
    run: Run, in_served: Up, args: list[str], what: str, more: str
):
    done = run("call", *args)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {what}")
    assert more in done.err


def test_a_server_that_does_not_run_is_told_with_why(run: Run, in_served: Up):
    done = run("call", "broken.anything")
    assert done.code == 1
    assert done.err.startswith("error: The server 'broken' did not start.\n")
    assert "no key set" in done.err
    assert "\x1b" not in done.err


def test_an_entry_that_cannot_be_used_is_told_with_its_fault(run: Run, in_served: Up):
    done = run("call", "old.anything")
    assert done.code == 3
    assert 'has a "url" but no "type"' in done.err


def test_without_a_gateway_just_that_server_is_started(run: Run, folder: Path):
    write_config(folder, time=TIME, other=BROKEN, old=UNUSABLE)
    done = run("call", "time.get_current_time", "timezone=Asia/Tokyo")
    assert done.code == 0
    assert '"timezone":"Asia/Tokyo"' in done.out
    broken = run("call", "other.anything")
    assert broken.code == 1
    assert "error: The server 'other' did not start.\n  exited with code 1" in broken.err


def test_a_folder_without_a_configuration_is_exit_3(run: Run, folder: Path):
    done = run("call", "time.get_current_time")
    assert done.code == 3
    assert "there is no .mcp.json" in done.err


def test_ctrl_c_ends_a_call_within_a_second_and_leaves_nothing(folder: Path):
    (folder / "sample.py").write_text(SAMPLE)
    run = ["-m", "interlock", "run", str(folder / "sample.py")]
    write_config(folder, sample={"command": sys.executable, "args": run})
    os.mkfifo(folder / "fifo")
    command = [sys.executable, "-m", "interlock", "call", "sample.wait", f"fifo={folder}/fifo"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert (folder / "fifo").read_text() == "waits"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=10)
    # Measured at half a second: the server has to be told twice, a thread of it sleeps. The rest is
    # for machines that do much else.
    assert time.monotonic() - began < 3
    assert process.returncode == 130
    assert told.strip() == "Interrupted."
