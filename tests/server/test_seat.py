"""What a worker is given: taken once, by the process that it was made for."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from interlock.server.seat import SEAT, Seat, seat
from interlock.store.sqlite import SqliteStore

taken = seat.__wrapped__
"""As a process finds it that has not looked yet."""


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[socket.socket]:
    """The other end of the link of a process that has been given a seat."""
    folder = tmp_path / "with a space"
    folder.mkdir()
    ours, theirs = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    link, door = theirs.detach(), listener.detach()
    for descriptor in (link, door):
        os.set_inheritable(descriptor, True)
    monkeypatch.setenv(SEAT, f"1 {link} {os.fstat(link).st_ino} {door} {folder}")
    with ours:
        yield ours
    os.close(link)


def given() -> Seat:
    found = taken()
    assert found is not None
    return found


def test_it_listens_says_that_it_serves_and_shares_a_store(crew: socket.socket):
    found = given()
    assert (found.number, found.crew) == (1, os.getppid())
    with found.listener() as listener:
        assert not listener.get_inheritable()
        with socket.create_connection(listener.getsockname()):
            pass
    found.serves("the server")
    assert crew.recv(100) == b"the server"
    assert isinstance(found.store, SqliteStore)
    assert str(found.store.path.parent) == found.folder
    assert found.store is found.store


def test_what_a_worker_starts_has_none(crew: socket.socket):
    given()
    assert SEAT not in os.environ
    assert taken() is None


@pytest.mark.parametrize("descriptor", [0, 9999], ids=["something else", "nothing"])
def test_a_variable_without_the_sockets_it_speaks_of_is_no_seat(
    monkeypatch: pytest.MonkeyPatch, descriptor: int
):
    monkeypatch.setenv(SEAT, f"0 {descriptor} 1 9998 /nowhere")
    assert taken() is None


def test_the_folder_goes_with_the_last_and_not_before(crew: socket.socket):
    found = given()
    folder = Path(found.folder)
    (folder / "shared.sqlite").touch()
    found.leave()
    assert folder.exists()
    found.abandoned = True
    found.leave()
    assert not folder.exists()
    found.leave()
    with found.listener():
        pass
