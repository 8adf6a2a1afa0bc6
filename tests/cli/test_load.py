"""`FILE[:OBJECT]`, and what is said where there is no server in it."""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from interlock.cli.load import load
from interlock.cli.problem import FAILED, USAGE, Problem

ONE = """\
from interlock import Server
server = Server("one")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """The current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def problem(target: str) -> Problem:
    with pytest.raises(Problem) as caught:
        load(target)
    return caught.value


def test_the_one_server_of_a_file_needs_no_name(folder: Path):
    (folder / "one.py").write_text(ONE)
    assert load("one.py").info.name == "one"


def test_a_server_under_two_names_is_one(folder: Path):
    (folder / "one.py").write_text(ONE + "app = server\n")
    assert load("one.py").info.name == "one"


def test_one_of_several_is_named(folder: Path):
    (folder / "two.py").write_text(ONE + "other = Server('two')\n")
    assert load("two.py:other").info.name == "two"
    told = problem("two.py")
    assert told.what == "two.py has 2 servers: server, other."
    assert told.more == ("Say which one: interlock run two.py:server",)
    assert told.code == USAGE


def test_a_name_that_is_not_there_is_refused_with_those_that_are(folder: Path):
    (folder / "one.py").write_text(ONE)
    assert problem("one.py:serve").more == ("Did you mean 'server'?",)


def test_a_name_of_something_else_is_refused(folder: Path):
    (folder / "one.py").write_text(ONE + "count = 5\n")
    assert problem("one.py:count").what == "count in one.py is a int, and a Server is expected."
    assert problem("one.py:Server").what.startswith("Server in one.py is a type")


def test_anything_that_can_be_served_is_taken_by_name(folder: Path):
    members = "info, handle, start, stop = server.info, server.handle, server.start, server.stop"
    (folder / "own.py").write_text(f"{ONE}class Own:\n    {members}\nown = Own()\n")
    assert load("own.py:own").info.name == "one"


def test_a_file_without_a_server_is_told_what_is_expected(folder: Path):
    (folder / "none.py").write_text("x = 1\n")
    told = problem("none.py")
    assert told.what == "none.py has no server."
    assert "from interlock import Server" in told.more[1]


def test_a_file_that_is_not_there_is_told_with_a_likely_one(folder: Path):
    (folder / "server.py").write_text(ONE)
    told = problem("sever.py")
    assert (told.what, told.code) == ("There is no file sever.py.", USAGE)
    assert told.more == ("Did you mean 'server'?",)
    assert problem("nowhere/server.py").what == "There is no folder nowhere."
    assert problem(".").what.startswith(". is a folder")


def test_a_folder_without_python_says_so():
    assert "has no Python files" in problem("server.py").more[0]


def test_a_module_is_taken_by_its_dotted_name(folder: Path):
    (folder / "package").mkdir()
    (folder / "package/__init__.py").write_text("NAME = 'inner'\n")
    (folder / "package/inner.py").write_text(
        "from . import NAME\nfrom interlock import Server\nserver = Server(NAME)\n"
    )
    assert load("package.inner").info.name == "inner"
    assert problem("package.outer").what == "There is no file and no module package.outer."
    told = problem("package/inner.py")
    assert told.more[-1].endswith("interlock run package.module")


def test_a_missing_module_that_the_file_wants_is_its_own_trouble(folder: Path):
    (folder / "wants.py").write_text("import nothing_of_this_name\n")
    told = problem("wants.py")
    assert told.code == FAILED
    assert told.more[-1] == "ModuleNotFoundError: No module named 'nothing_of_this_name'"


def test_an_exception_is_shown_from_the_first_line_of_the_file_on(folder: Path):
    (folder / "bad.py").write_text("def divide():\n    return 1 / 0\n\ndivide()\n")
    told = problem("bad.py")
    assert told.what == "bad.py raised ZeroDivisionError while it was imported:"
    files = [line for line in told.more if line.lstrip().startswith("File ")]
    assert [line.rpartition(", in ")[2] for line in files] == ["<module>", "divide"]
    assert told.more[-1] == "ZeroDivisionError: division by zero"


def test_what_the_library_refuses_is_shown_where_the_file_asked_for_it(folder: Path):
    (folder / "bad.py").write_text(ONE + "@server.tool\ndef tool(*words: str): ...\n")
    told = problem("bad.py")
    files = [line for line in told.more if line.lstrip().startswith("File ")]
    assert len(files) == 1
    assert "bad.py" in files[0]


def test_a_syntax_error_is_shown_with_its_line(folder: Path):
    (folder / "bad.py").write_text("x = (\n")
    assert any('bad.py", line 1' in line for line in problem("bad.py").more)


def test_a_file_that_exits_is_told_where_that_belongs(folder: Path):
    (folder / "exits.py").write_text("import sys\nsys.exit(3)\n")
    told = problem("exits.py")
    assert told.what == "exits.py ended the program while it was imported (exit 3)."
    assert "__main__" in told.more[0]


def test_a_file_called_like_a_module_takes_no_ones_place(folder: Path):
    (folder / "json.py").write_text(ONE)
    before = sys.modules["json"]
    assert load("json.py").info.name == "one"
    assert sys.modules["json"] is before


def test_a_neighbour_that_imports_the_file_gets_the_same_server(folder: Path):
    (folder / "app.py").write_text(ONE + "import neighbour\n")
    (folder / "neighbour.py").write_text("from app import server\n@server.tool\ndef t(): ...\n")
    server = load("app.py")
    assert server is sys.modules["neighbour"].server


def test_a_file_that_is_no_python_is_refused(folder: Path):
    (folder / "server.txt").write_text(ONE)
    assert problem("server.txt").what.startswith("server.txt is no Python file")
