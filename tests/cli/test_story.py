"""What is told of a server that has a story."""

from __future__ import annotations

from interlock.cli.story import clock, event, told
from interlock.gateway.supervisor import Event
from interlock.gateway.upstream import Status

RUNS = Status(name="git", state="running", where="mcp-server-git", revision="2026-07-28", tools=12)
EXITED = "exited with code 1; its last lines on stderr:\n  reading\n  no key set"


def test_a_server_that_always_ran_has_none():
    assert told(RUNS) == []


def test_a_failure_is_told_with_its_cause_and_its_last_words():
    failed = Status(
        name="git",
        state="failed",
        where="x",
        error=f"server 'git' {EXITED}",
        stderr=["reading", "no key set"],
    )
    assert told(failed) == ["exited with code 1", "stderr: no key set"]


def test_a_restart_is_told_with_when_and_why():
    events = [Event(1.0, "running"), Event(2.0, "ended", "was ended by signal 9")]
    once = Status(name="git", state="running", where="x", restarts=1, events=events)
    assert told(once) == [f"was restarted once; at {clock(2.0)} it was ended by signal 9"]
    twice = Status(name="git", state="running", where="x", restarts=2, events=events)
    assert told(twice)[0].startswith("was restarted 2 times; ")


def test_events_are_told_in_a_line():
    assert event("git", "ended", EXITED) == "git exited with code 1; stderr: no key set"
    assert event("git", "running", "") == "git runs"
    assert event("git", "changed", "tools") == "git changed its: tools"
    assert event("git", "not started", f"server 'git' {EXITED}") == (
        "git did not start: exited with code 1; stderr: no key set"
    )
    given_up = event("git", "failed", f"ended 5 times within 60 s, the last time: {EXITED}")
    assert given_up == "git is given up: ended 5 times within 60 s"
    needed = event("git", "needs login", "server 'git' needs a login: interlock login git")
    assert needed == "git needs a login: interlock login git"


def test_pauses_are_told_only_if_there_is_time_to_read_it():
    assert event("git", "backing off", "0.1 s") is None
    assert event("git", "backing off", "3.2 s") == "git is tried again in 3.2 s"
    assert event("git", "starting", "") is None
    assert event("git", "stopped", "") is None


def test_what_a_server_writes_acts_on_no_terminal():
    failed = Status(name="git", state="failed", where="x", error="\x1b[2J\x1b]0;owned\x07bad\x08")
    assert told(failed) == ["bad\\x08"]
    assert event("g\x1b[31mit", "ended", "\x1b[2Jgone") == "git gone"
