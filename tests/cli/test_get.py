"""`interlock get`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import TASKS, Run, Up, write_config


def test_a_prompt_is_filled_in_and_printed_with_who_says_it(run: Run, in_served: Up):
    done = run("get", "sample.ask", "topic=cats", "tone=kind")
    assert done == (0, "user: Ask about cats in a kind tone.\n", "")


def test_json_holds_the_messages(run: Run, in_served: Up):
    done = run("get", "sample.ask", "topic=cats", "--json")
    [message] = done.json["messages"]
    assert message["role"] == "user"
    assert message["content"]["text"] == "Ask about cats in a plain tone."


def test_a_slip_is_told_with_what_was_meant(run: Run, in_served: Up):
    done = run("get", "sample.asc", "topic=cats")
    assert (done.code, done.out) == (2, "")
    assert "sample has no prompt 'asc'.\n  Did you mean 'ask'?" in done.err
    done = run("get", "sample.ask", "topik=cats")
    assert done.code == 2
    assert "sample.ask has no argument 'topik'.\n  Did you mean 'topic'?" in done.err
    done = run("get", "tasks.weekly_review", "when=now")
    assert "It takes none." in done.err


def test_what_is_required_and_not_given_is_named(run: Run, in_served: Up):
    done = run("get", "sample.ask")
    assert done.code == 2
    assert done.err.startswith("error: sample.ask needs topic.\n  topic: \n  tone (optional): \n")


def test_without_a_gateway_just_that_server_is_started(run: Run, folder: Path):
    write_config(folder, tasks=TASKS)
    assert run("get", "tasks.prioritize", "hours=3").out.startswith("user: I have 3 hours today")
