"""Runs in rounds: everybody in turn, again and again, so that all see the same machine.

Of each figure the median is kept. Runs that others disturbed are done again, a bounded number of
times, and the least disturbed ones count.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

QUIET = 0.1
"""More of a core than this used by others, and a run is done again."""

LATE = 24 * 60
"""After so many seconds what is left is run thrice, not five times: half an hour is the most."""

Row = dict[str, Any]
Once = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """What to run and for how long."""

    quick: bool
    sections: list[str]
    questions: list[str]
    eras: list[str]
    keys: list[str]
    connections: list[int]
    failures: list[str]
    short: bool = False
    """Whether runs may be shorter: curves have many points, and are read as a whole."""
    began: float = field(default_factory=time.monotonic)

    @property
    def warm(self) -> float:
        return 0.1 if self.quick else 0.15

    @property
    def seconds(self) -> float:
        return 0.2 if self.quick else 0.3 if self.short else 0.5

    @property
    def rounds(self) -> int:
        late = time.monotonic() - self.began > LATE
        return 1 if self.quick else 3 if late else 5

    @property
    def again(self) -> int:
        """How many disturbed runs of a cell are done again: none once the whole has run for long."""
        late = time.monotonic() - self.began > 12 * 60
        return 0 if self.quick or late else 3

    def wants(self, key: str) -> bool:
        return key in self.keys


def note(row: Row, figure: str) -> None:
    """One line as each cell is done: the tables come only after the last."""
    shown = [row["label"], row.get("era"), row.get("question")]
    words = [word for word in shown if word is not None]
    if "connections" in row:
        words.append(f"c{row['connections']}")
    others = row.get("others", 0)
    disturbed = f", others used {others:.0%} of a core" if others > QUIET else ""
    print(f"{', '.join(words)}: {figure}{disturbed}", file=sys.stderr, flush=True)


def fail(plan: Plan, row: Row, failure: Exception) -> None:
    words = [str(row[key]) for key in ("label", "era", "question", "connections") if key in row]
    plan.failures.append(f"{', '.join(words)}: {failure}")
    print(f"failed: {plan.failures[-1]}", file=sys.stderr, flush=True)


def rounds(plan: Plan, cells: list[tuple[Row, Once]]) -> list[Row]:
    """Each cell's row with the medians of its runs; those that failed are left out, and said."""
    seen: dict[int, list[dict[str, Any]]] = {at: [] for at in range(len(cells))}

    def once(at: int) -> None:
        row, run = cells[at]
        try:
            seen[at].append(run())
        except (RuntimeError, OSError) as failure:
            fail(plan, row, failure)
            del seen[at]

    for _ in range(plan.rounds):
        for at in list(seen):
            once(at)
    for at in list(seen):
        for _ in range(plan.again):
            quiet = [run for run in seen.get(at, ()) if run["others"] <= QUIET]
            if at not in seen or len(quiet) >= plan.rounds:
                break
            once(at)
    return [cells[at][0] | median(runs, plan.rounds) for at, runs in seen.items()]


def median(runs: list[dict[str, Any]], count: int) -> dict[str, Any]:
    """The medians of the least disturbed runs, and how far apart their rates are."""
    kept = sorted(runs, key=lambda run: run["others"])[:count]
    row: dict[str, Any] = {"runs": len(kept)}
    for key, value in kept[0].items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            row[key] = statistics.median(run[key] for run in kept)
        else:
            row[key] = value
    if "rate" in row:
        rates = [run["rate"] for run in kept]
        row["spread"] = (max(rates) - min(rates)) / row["rate"]
    return row
