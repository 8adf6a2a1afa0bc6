"""`interlock list`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import BROKEN, TASKS, UNUSABLE, Run, Up, write_config


def row(out: str, name: str) -> list[str]:
    """The cells of a server in the table."""
    return next(line.split() for line in out.splitlines() if line.startswith(f"{name} "))


def test_servers_are_shown_with_state_counts_and_cost(run: Run, in_served: Up):
    done = run("list")
    assert done.code == 0
    name, state, tools, resources, templates, prompts, tokens = row(done.out, "tasks")
    assert (name, state, tools, resources, templates, prompts) == (
        "tasks", "running", "4", "1", "1", "2",
    )  # fmt: skip
    assert int(tokens) > 100
    assert f"Served at {in_served.url} since " in done.out


def test_a_server_that_failed_is_shown_with_why_and_its_last_words(run: Run, in_served: Up):
    out = run("list").out
    assert row(out, "broken")[1] in ("failed", "backing", "starting")
    assert "broken exited with code 1\n  stderr: no key set" in out
    assert "\x1b" not in out


def test_an_entry_that_is_left_out_is_shown_with_why(run: Run, in_served: Up):
    out = run("list").out
    assert row(out, "old")[1] == "skipped"
    assert 'has a "url" but no "type"' in out


def test_the_table_fits_80_columns(run: Run, in_served: Up):
    table = run("list").out.partition("\n\n")[0]
    assert max(map(len, table.splitlines())) <= 80


def test_json_holds_all_of_it(run: Run, in_served: Up):
    told = run("list", "--json").json
    assert told["gateway"]["url"] == in_served.url
    servers = {one["name"]: one for one in told["servers"]}
    assert servers["time"]["state"] == "running"
    assert servers["broken"]["stderr"][-1] == "no key set"
    assert len(told["notes"]) == 1


def test_a_server_by_name_shows_what_it_offers(run: Run, in_served: Up):
    out = run("list", "tasks").out
    assert "running, speaks 2026-07-28" in out
    assert "  create_task         Add a task to the list." in out
    assert "  task://all  Every task there is" in out
    assert "  task://{id}  One task" in out
    assert "  weekly_review  Look back" in out
    assert "Call one: interlock call tasks.create_task" in out
    told = run("list", "tasks", "--json").json
    assert [tool["name"] for tool in told["tools"]][:2] == ["create_task", "list_tasks"]
    assert told["templates"][0]["uriTemplate"] == "task://{id}"


def test_a_server_that_is_not_there_is_refused_with_the_likely_one(run: Run, in_served: Up):
    done = run("list", "taks")
    assert done.code == 2
    assert "Did you mean 'tasks'?" in done.err


def test_without_a_gateway_they_are_started_looked_at_and_ended(run: Run, folder: Path):
    write_config(folder, tasks=TASKS, broken=BROKEN)
    done = run("list")
    assert done.code == 0
    assert row(done.out, "tasks")[1] == "running"
    assert row(done.out, "broken")[1] == "failed"
    assert "Start one: interlock up" in done.out


def test_a_file_that_names_no_usable_server_is_exit_3(run: Run, folder: Path):
    write_config(folder, old=UNUSABLE)
    done = run("list")
    assert done.code == 3
    assert ".mcp.json names no server that can be used." in done.err
    assert "Skipped" in done.err


def test_a_gateway_of_another_file_is_not_asked(run: Run, in_served: Up):
    other = in_served.folder / "other.json"
    other.write_text('{"mcpServers": {"broken": {"command": "nonesuch-program"}}}')
    done = run("list", "--config", "other.json")
    assert "No gateway runs here" in done.out
    assert "broken cannot be started: no program 'nonesuch-program'" in done.out
