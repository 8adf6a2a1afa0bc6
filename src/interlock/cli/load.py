"""From `FILE[:OBJECT]` to the server in it, or to a sentence that says why there is none."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final

from interlock.cli.problem import FAILED, USAGE, Problem, meant
from interlock.protocol.call import Service
from interlock.server.server import Server

_OURS: Final = str(Path(__file__).parent.parent)

_SERVICE: Final = ("info", "handle", "start", "stop")
"""What a thing needs to be served."""


def load(target: str) -> Service:
    """The server that *target* names: a file or a dotted module, perhaps with `:object`.

    Runs the file. Its folder comes first on the path, as Python would have it.
    """
    path, name = _split(target)
    if path.is_file():
        module = _imported(str(path), lambda: _from_file(path))
    elif _dotted(str(path)):
        module = _imported(str(path), lambda: _from_name(str(path)))
    else:
        raise _missing(path)
    return _named(module, target, name) if name else _only(module, target)


def _split(target: str) -> tuple[Path, str]:
    if Path(target).is_file():
        return Path(target), ""
    # From the right: a drive's letter is followed by a colon too.
    head, colon, name = target.rpartition(":")
    if colon and name.isidentifier() and len(head) > 1:
        return Path(head), name
    return Path(target), ""


def _dotted(path: str) -> bool:
    words = path.split(".")
    return len(words) > 1 and words[-1] != "py" and all(word.isidentifier() for word in words)


def _missing(path: Path) -> Problem:
    folder = path.parent
    if path.is_dir():
        return Problem(f"{path} is a folder; name the file in it that has the server.", code=USAGE)
    if not folder.is_dir():
        return Problem(f"There is no folder {folder}.", code=USAGE)
    near = {file.stem: file.name for file in folder.glob("*.py")}
    more = meant(path.stem, near) if near else f"{folder.resolve()} has no Python files."
    return Problem(f"There is no file {path}.", more, code=USAGE)


def _from_file(path: Path) -> ModuleType:
    sys.path.insert(0, str(path.parent.resolve()))
    # Under its own name, so that a neighbour importing it gets the same server; but a file called
    # like a module that is there already (time.py) must not take that one's place.
    name = path.stem
    if not name.isidentifier() or name in sys.stdlib_module_names or name in sys.modules:
        name = f"__served_{path.stem}__"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise Problem(f"{path} is no Python file; its name must end in .py.", code=USAGE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _from_name(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only if it is the module itself that is missing, not one that it wants.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise Problem(
            f"There is no file and no module {name}.",
            "A module must be in this folder, or installed beside interlock.",
            code=USAGE,
        ) from None


def _imported(what: str, importing: Callable[[], ModuleType]) -> ModuleType:
    try:
        return importing()
    except Problem:
        raise
    except SystemExit as left:
        raise Problem(
            f"{what} ended the program while it was imported (exit {left.code}).",
            'Move what it runs under `if __name__ == "__main__":`.',
        ) from None
    except Exception as error:  # The user's code, at the door: it may raise anything.
        hints = ""
        if isinstance(error, ImportError) and "relative import" in str(error):
            hints = "Relative imports need the module's dotted name: interlock run package.module"
        raise Problem(
            f"{what} raised {type(error).__name__} while it was imported:",
            *_told(error),
            *([hints] if hints else []),
            code=FAILED,
        ) from None


def _told(error: Exception) -> list[str]:
    """The traceback of *error*, from the first frame of the user's to their last."""
    told = "".join(
        traceback.format_exception(type(error), error, _theirs(error.__traceback__), chain=True)
    )
    return told.rstrip().splitlines()


def _theirs(trace: TracebackType | None) -> TracebackType | None:
    """*trace* without the frames of importing at its start and of this package at its end."""
    frames: list[TracebackType] = []
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    while frames and _not_theirs(frames[0]):
        frames.pop(0)
    while frames and _not_theirs(frames[-1]):
        frames.pop()
    kept: TracebackType | None = None
    for frame in reversed(frames):
        kept = TracebackType(kept, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return kept


def _not_theirs(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    return file.startswith((_OURS, "<frozen importlib")) or "importlib" in Path(file).parts


def _named(module: ModuleType, target: str, name: str) -> Service:
    found: Any = getattr(module, name, None)
    where = target.removesuffix(f":{name}")
    if found is None:
        raise Problem(f"{where} has no {name!r}.", meant(name, _servers(module)), code=USAGE)
    if isinstance(found, type) or not all(hasattr(found, part) for part in _SERVICE):
        raise Problem(
            f"{name} in {where} is a {type(found).__name__}, and a Server is expected.",
            meant(name, _servers(module)),
            code=USAGE,
        )
    return found


def _only(module: ModuleType, target: str) -> Service:
    servers = _servers(module)
    distinct = list({id(server): name for name, server in servers.items()}.values())
    if len(distinct) == 1:
        return servers[distinct[0]]
    if distinct:
        raise Problem(
            f"{target} has {len(distinct)} servers: {', '.join(distinct)}.",
            f"Say which one: interlock run {target}:{distinct[0]}",
            code=USAGE,
        )
    raise Problem(
        f"{target} has no server.",
        'A line like `server = Server("name")` is expected at its top level,',
        "after `from interlock import Server`.",
        code=USAGE,
    )


def _servers(module: ModuleType) -> dict[str, Server]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Server)}
