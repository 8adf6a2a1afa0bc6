"""Colours and what acts on a terminal."""

from __future__ import annotations

import io

import pytest

from interlock.cli.terminal import colourful, safe, styled


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_colours_are_for_terminals_only():
    assert styled("text", "red", Terminal()) == "\x1b[31mtext\x1b[0m"
    assert styled("text", "red", io.StringIO()) == "text"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_whoever_wants_none_gets_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    assert not colourful(Terminal())


def test_text_of_servers_keeps_its_lines_and_loses_what_acts():
    assert safe("one\n\x1b[2Jtwo\x07\n\ttab") == "one\ntwo\\x07\n\ttab"
