"""A list of tasks that a model and a person keep together, in one SQLite file or in memory."""

from __future__ import annotations

import argparse
import os
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from datetime import date
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from interlock import Context, Server, ToolError, run
from interlock.version import VERSION
from interlock.wire.tools import ToolAnnotations

FILE: Final = "INTERLOCK_TASKS"
"""The environment variable that names the file; without it, tasks end with the server."""

Status: TypeAlias = Literal["open", "doing", "done"]
Id: TypeAlias = Annotated[int, "A task's number, as create_task and list_tasks give it"]


class Task(Struct):
    id: int
    title: str
    status: Status
    due: date | None
    notes: str


class Store:
    """The table of tasks. Used from the event loop alone; a statement takes microseconds."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._db.execute(
            "create table if not exists tasks (id integer primary key autoincrement, title text not "
            "null, status text not null default 'open', due text, notes text not null)"
        )

    def add(self, title: str, due: date | None, notes: str) -> Task:
        values = (title, due.isoformat() if due else None, notes)
        [task] = self._tasks(
            "insert into tasks (title, due, notes) values (?, ?, ?) returning *", values
        )
        return task

    def all(self, status: Status | None = None) -> list[Task]:
        """What is due first comes first, what is never due last."""
        return self._tasks(
            "select * from tasks where ? is null or status = ? order by due is null, due, id",
            (status, status),
        )

    def get(self, id: int) -> Task | None:
        return next(iter(self._tasks("select * from tasks where id = ?", (id,))), None)

    def move(self, id: int, status: Status) -> Task:
        return self._one(id, "update tasks set status = ? where id = ? returning *", (status, id))

    def delete(self, id: int) -> Task:
        return self._one(id, "delete from tasks where id = ? returning *", (id,))

    def _one(self, id: int, statement: str, values: tuple[str | int, ...]) -> Task:
        for task in self._tasks(statement, values):
            return task
        raise ToolError(f"There is no task {id}; list_tasks shows which there are")

    def _tasks(self, statement: str, values: tuple[str | int | None, ...]) -> list[Task]:
        return [
            Task(number, title, status, date.fromisoformat(due) if due else None, notes)
            for number, title, status, due, notes in self._db.execute(statement, values)
        ]


@asynccontextmanager
async def opened() -> AsyncGenerator[Store]:
    """The store, open while the server serves; handlers find it in `ctx.state`."""
    with closing(sqlite3.connect(os.environ.get(FILE) or ":memory:", isolation_level=None)) as db:
        yield Store(db)


server = Server(
    "tasks",
    version=VERSION,
    instructions="Tasks have a number, a title, a status (open, doing, done) and perhaps a due date.",
    lifespan=opened,
)


@server.tool(annotations=ToolAnnotations(destructive_hint=False, open_world_hint=False))
async def create_task(
    ctx: Context,
    title: Annotated[str, Meta(min_length=1, max_length=200, description="What is to be done")],
    due: Annotated[date | None, "By when, as YYYY-MM-DD"] = None,
    notes: Annotated[str, "Anything else worth remembering"] = "",
) -> Task:
    """Add a task to the list."""
    return _changed(store(ctx).add(title, due, notes))


@server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
async def list_tasks(
    ctx: Context, status: Annotated[Status | None, "Only those; left out: all"] = None
) -> list[Task]:
    """List tasks, what is due first at the top."""
    return store(ctx).all(status)


@server.tool(annotations=ToolAnnotations(idempotent_hint=True, open_world_hint=False))
async def update_task_status(ctx: Context, id: Id, status: Status) -> Task:
    """Say that a task is open, being done, or done."""
    return _changed(store(ctx).move(id, status))


@server.tool(annotations=ToolAnnotations(destructive_hint=True, open_world_hint=False))
async def delete_task(ctx: Context, id: Id) -> Task:
    """Delete a task for good; answers with what it was."""
    return _changed(store(ctx).delete(id))


@server.resource("task://all", title="All tasks", mime_type="application/json")
async def every_task(ctx: Context) -> list[Task]:
    """Every task there is, as JSON."""
    return store(ctx).all()


@server.resource("task://{id}", title="One task", mime_type="application/json")
async def one_task(id: int, ctx: Context) -> Task | None:
    """One task by its number, as JSON."""
    return store(ctx).get(id)


@server.prompt(title="Weekly review")
async def weekly_review(ctx: Context) -> str:
    """Look back on what was done, and ahead at what is left."""
    return f"""Review my week with me.

{_listed(store(ctx).all())}

Say in one sentence what got done. Then name what is overdue or stuck, and ask me about each: do it,
move it, or delete it. End with the three tasks that matter most next week."""


@server.prompt(title="Prioritise")
async def prioritize(
    ctx: Context, hours: Annotated[float, "How many hours there are today"] = 8
) -> str:
    """Put what is not done in order, to fit into today."""
    left = [task for task in store(ctx).all() if task.status != "done"]
    return f"""I have {hours:g} hours today, and these tasks:

{_listed(left)}

Put them in the order in which I should do them, and say in a few words why. Estimate how long each
takes, and draw a line where today ends. What is due comes first, what blocks others next."""


def store(ctx: Context) -> Store:
    assert isinstance(ctx.state, Store)
    return ctx.state


def _changed(task: Task) -> Task:
    """Tell whoever watches the task, or all of them, that it is not what it was."""
    server.updated("task://all")
    server.updated(f"task://{task.id}")
    return task


def _listed(tasks: list[Task]) -> str:
    lines = [
        f"- {task.id}. [{task.status}] {task.title}{f' (due {task.due})' if task.due else ''}"
        for task in tasks
    ]
    return "\n".join(lines) or "(There are none.)"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m interlock.reference.tasks", description=__doc__
    )
    parser.add_argument("--file", metavar="PATH", help=f"the SQLite file to keep them in [${FILE}]")
    options = parser.parse_args()
    if options.file:
        os.environ[FILE] = options.file
    run(server)


if __name__ == "__main__":
    main()
