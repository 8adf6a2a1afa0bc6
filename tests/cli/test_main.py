"""The command line as a whole: its commands, its help, its exit codes."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import click
import pytest
from tests.cli.conftest import Run

from interlock.cli.main import COMMANDS
from interlock.version import VERSION


def test_it_says_its_version(run: Run):
    assert run("--version") == (0, f"interlock {VERSION}\n", "")


def test_its_help_names_every_command_and_exit_code(run: Run):
    done = run("--help")
    assert done.code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.out
    assert "130 interrupted" in done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_an_example_json_and_exit_codes_in_80_columns(
    run: Run, name: str
):
    done = run(name, "--help")
    assert done.code == 0
    assert f"interlock {name} " in done.out.partition("Examples:")[2]
    assert "--json" in done.out
    assert "Exit codes:" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_misspelt_command_is_refused_with_the_likely_one(run: Run):
    done = run("lst")
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: There is no command 'lst'.\n  Did you mean 'list'?\n")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["list", "--jsn"], "No such option"),
        (["--nonsense"], "No such option"),
        (["run"], "Missing argument 'FILE[:OBJECT]'"),
        (["up", "--port", "http"], "'http' is not a valid integer"),
        (["run", "x.py", "--port", "1"], "--port is for HTTP"),
    ],
)
def test_wrong_usage_is_refused_with_where_to_look(run: Run, args: list[str], told: str):
    done = run(*args)
    assert done.code == 2
    assert told in done.err
    assert "--help" in done.err.splitlines()[-1]


def test_a_bug_of_ours_is_told_as_one_and_its_traceback_on_demand(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    @click.command()
    @click.option("--debug", is_flag=True)
    def broken(debug: bool) -> None:
        raise ZeroDivisionError

    room = ModuleType("interlock.cli.broken")
    room.__dict__["command"] = broken
    monkeypatch.setitem(sys.modules, room.__name__, room)
    monkeypatch.setitem(COMMANDS, "broken", "Fail.")
    done = run("broken")
    assert done.code == 1
    assert "This is a bug." in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in run("--debug", "broken").err


def test_it_runs_as_a_module_without_loading_what_it_does_not_need():
    script = (
        "import sys; from interlock.cli.main import outcome; code = outcome(['run', 'no.py']);"
        "loaded = {'rich', 'uvicorn', 'aiohttp', 'pydantic', 'interlock.gateway.gateway'};"
        "sys.exit(code * 10 + len(loaded & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 20
    module = [sys.executable, "-m", "interlock", "--version"]
    assert subprocess.run(module, capture_output=True, check=True).stdout.decode().strip() == (
        f"interlock {VERSION}"
    )
