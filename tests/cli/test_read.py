"""`interlock read`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import TASKS, TIME, Run, Up, write_config


def test_a_resource_is_read_by_the_name_that_hosts_see(run: Run, in_served: Up):
    assert run("read", "tasks+task://all") == (0, "[]\n", "")


def test_a_resource_is_read_by_its_own_name_if_one_server_has_it(run: Run, in_served: Up):
    task = run("call", "tasks.create_task", "title=found", "--json").json["structuredContent"]
    assert json.loads(run("read", f"task://{task['id']}").out) == task
    run("call", "tasks.delete_task", f"id={task['id']}")


def test_of_several_that_have_it_one_must_be_named(run: Run, in_served: Up):
    done = run("read", "task://all")
    assert done.code == 2
    assert "Try: interlock read tasks+task://all" in done.err
    assert "Try: interlock read sample+task://all" in done.err


def test_json_holds_the_contents(run: Run, in_served: Up):
    [contents] = run("read", "sample+task://all", "--json").json["contents"]
    assert contents == {"uri": "sample+task://all", "mimeType": "text/plain", "text": "mine"}


def test_bytes_are_written_as_they_are(in_served: Up):
    command = [sys.executable, "-m", "interlock", "read", "sample://bytes"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b"\x89PNG"


def test_what_is_not_there_is_told_with_what_was_meant(run: Run, in_served: Up):
    done = run("read", "tasks+task://al")
    assert done.code == 2
    assert "There is no resource tasks+task://al." in done.err
    assert "Did you mean 'tasks+task://all'?" in done.err
    done = run("read", "sample://byte")
    assert (done.code, done.out) == (2, "")
    assert "No server has a resource sample://byte." in done.err
    assert "Did you mean 'sample://bytes'?" in done.err
    assert "broken does not run" in done.err


def test_without_a_gateway_it_is_found_all_the_same(run: Run, folder: Path):
    write_config(folder, time=TIME, tasks=TASKS)
    assert run("read", "task://all") == (0, "[]\n", "")
    assert run("read", "tasks+task://all") == (0, "[]\n", "")
