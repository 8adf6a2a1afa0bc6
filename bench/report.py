"""What was measured, as tables a person reads: in a terminal, and as `docs/performance.md`.

Only the ratios carry over to another machine, so they come first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plots
from questions import ERAS

Row = dict[str, Any]
Sections = Mapping[str, list[Row]]

WORDS = frozenset({"wire", "bound", "what lives there"})
"""Heads of columns that hold words, not numbers."""
BARE = ("bare-uvicorn", "bare-protocol", "bare-pipe")
OURS = ("interlock", "uvicorn", "gateway")
FOLDER = "performance"
FULL = 0.9
"""More of its core than this used by the load, and it may be what limits a figure."""


@dataclass(frozen=True)
class Table:
    """Words to the left, numbers to the right."""

    title: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    said: str = ""

    def text(self) -> str:
        rows = [list(self.heads), *(list(line) for line in self.lines)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(self.heads))]
        texts = [
            "  ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        rule = "-" * max(len(text) for text in texts)
        return "\n".join([self.title, texts[0], rule, *texts[1:], ""])

    def markdown(self) -> str:
        marks = ["---" if head in WORDS else "---:" for head in self.heads]
        marks[0] = "---"
        rows = [self.heads, marks, *self.lines]
        table = ["| " + " | ".join(row) + " |" for row in rows]
        head = [f"**{self.title}**", ""] if self.title else []
        return "\n".join([*head, *([self.said, ""] if self.said else []), *table, ""])


@dataclass(frozen=True)
class Picture:
    name: str
    title: str
    svg: str

    def markdown(self) -> str:
        return f"![{self.title}]({FOLDER}/{self.name}.svg)\n"


Part = Table | Picture


@dataclass(frozen=True)
class Chapter:
    title: str
    opening: str
    parts: list[Part]


# Figures as words


def number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def times(value: float, other: float | None) -> str:
    if not other:
        return "-"
    ratio = value / other
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def rate(row: Row | None, key: str = "rate") -> str:
    """A rate; starred when others used more than a tenth of a core, ^ when the load was the limit."""
    if row is None or row.get(key) is None:
        return "-"
    others = row.get("others_one" if key == "rate_one" else "others", 0)
    star = "*" if others > 0.1 else ""
    return number(row[key]) + star + ("^" if row.get("load", 0) > FULL else "")


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def spread(row: Row) -> str:
    return share(row["spread"]) if row["runs"] > 1 else "-"


def milliseconds(value: float | None) -> str:
    return number(value, 2 if value is None or value < 100 else 0)


# Rows by what they are


def main_rows(rows: Iterable[Row], question: str, connections: int) -> dict[str, Row]:
    """By server, in the first era that each was asked in."""
    found: dict[str, Row] = {}
    for row in rows:
        if row["question"] == question and row["connections"] == connections:
            found.setdefault(row["key"], row)
    return found


def questions_of(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["question"] for row in rows))


def peers_of(rows: Iterable[Row]) -> dict[str, str]:
    return {row["key"]: row["label"] for row in rows if row["key"] not in OURS}


# Chapters


def beside(sections: Sections) -> Chapter:
    opening = (
        "How often Interlock does what another does once, in this run: by calls a second, and in "
        "brackets by CPU a call, which a busy machine disturbs less. Servers that ship compiled are "
        "asked for the cheapest tool of their own in place of an echo. The bare servers check "
        "nothing: they are the floor, and against them the figure is the share that is reached."
    )
    parts: list[Part] = [
        *promises(sections),
        *http_ratios(sections.get("http", [])),
        *stdio_ratios(sections),
        *client_ratios(sections.get("clients", [])),
        *gateway_ratios(sections.get("gateway", [])),
    ]
    return Chapter("Beside others", opening, parts)


def against(ours: Row | None, other: Row | None, key: str = "rate", cpu: str = "cpu_us") -> str:
    if ours is None or other is None:
        return "-"
    by_rate = ours[key] / other[key]
    by_cpu = other[cpu] / ours[cpu] if ours[cpu] and other[cpu] else None
    if other["key"] in BARE:
        return f"{by_rate:.0%} ({share(by_cpu)})"
    return f"{times(by_rate, 1)} ({'-' if by_cpu is None else times(by_cpu, 1)})"


def http_ratios(rows: list[Row]) -> list[Part]:
    peers = peers_of(rows)
    lines: list[list[str]] = []
    for question in questions_of(rows):
        found = main_rows(rows, question, 32)
        ours = found.get("interlock")
        if ours is not None and len(found) > 1:
            lines.append([question, *(against(ours, found.get(key)) for key in peers)])
    if not lines or not peers:
        return []
    return [Table("HTTP, 32 connections", ["question", *peers.values()], lines)]


def stdio_ratios(sections: Sections) -> list[Part]:
    rows, starts = sections.get("stdio", []), sections.get("cold", [])
    peers = peers_of([*rows, *starts])
    found = first_era(rows)
    started = first_era(starts)
    ours, began = found.get("interlock"), started.get("interlock")
    lines: list[list[str]] = []
    if ours is not None and peers:
        lines.append(
            ["echo, 32 in flight", *(against(ours, found.get(key)) for key in peers)],
        )
        lines.append(
            [
                "echo, one at a time",
                *(against(ours, found.get(key), "rate_one", "cpu_us_one") for key in peers),
            ]
        )
    if began is not None and peers:
        lines.append(
            [
                "time from start to first answer, theirs to ours",
                *(
                    times(started[key]["ms"], began["ms"]) if key in started else "-"
                    for key in peers
                ),
            ]
        )
    if ours is not None and peers:
        lines.append(
            [
                "idle memory, theirs to ours",
                *(
                    times(found[key]["idle_mb"], ours["idle_mb"]) if key in found else "-"
                    for key in peers
                ),
            ]
        )
    return [Table("stdio", ["", *peers.values()], lines)] if lines else []


def first_era(rows: Iterable[Row]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row["key"], row)
    return found


def client_ratios(rows: list[Row]) -> list[Part]:
    peers = peers_of(rows)
    lines: list[list[str]] = []
    for where, flight in dict.fromkeys((row["where"], row["flight"]) for row in rows):
        found = {r["key"]: r for r in rows if (r["where"], r["flight"]) == (where, flight)}
        if "interlock" in found and peers:
            words = f"{where}, {flight} in flight" if flight > 1 else f"{where}, one at a time"
            cells = [against(found["interlock"], found.get(key)) for key in peers]
            lines.append([words, *cells])
    return [Table("Clients", ["", *peers.values()], lines)] if lines else []


def gateway_ratios(rows: list[Row]) -> list[Part]:
    peers = peers_of(rows)
    lines: list[list[str]] = []
    for question in questions_of(rows):
        for connections in (32, 1):
            found = main_rows(rows, question, connections)
            if "gateway" in found and peers:
                words = f"{question}, {connections} connection{'s' if connections > 1 else ''}"
                cells = [against(found["gateway"], found.get(key)) for key in peers]
                lines.append([words, *cells])
    title = "Gateways, HTTP to a stdio server"
    return [Table(title, ["", *peers.values()], lines)] if lines else []


def promises(sections: Sections) -> list[Part]:
    """What is promised, what this run shows of it, and whether it holds."""
    lines: list[list[str]] = []

    def hold(what: str, value: float | None, least: float, *, unit: str = " x") -> None:
        add(what, value, least, f"at least {least:g}{unit}", unit, above=True)

    def stay(what: str, value: float | None, most: float, *, unit: str = "") -> None:
        add(what, value, most, f"at most {most:g}{unit}", unit, above=False)

    def add(
        what: str, value: float | None, bound: float, words: str, unit: str, *, above: bool
    ) -> None:
        if value is None:
            return
        kept = value >= bound if above else value <= bound
        shown = number(value, 0 if value >= 100 else 1 if value >= 10 else 2)
        lines.append([what, f"{shown}{unit}", words, "yes" if kept else "no"])

    def tell(what: str, value: float | None, *, unit: str = " x") -> None:
        """What nobody promised, and who reads the promises should know."""
        if value is not None:
            lines.append([what, f"{number(value, 1 if value >= 10 else 2)}{unit}", "none", "-"])

    def ratio(found: Mapping[str, Row], one: str, other: str, key: str = "rate") -> float | None:
        if one not in found or other not in found:
            return None
        return found[one][key] / found[other][key]

    rows = sections.get("http", [])
    echo, listed = main_rows(rows, "echo", 32), main_rows(rows, "list 100", 32)
    hold("HTTP echo against mcp-go", ratio(echo, "interlock", "mcp-go"), 1)
    hold("HTTP echo against mcp 2", ratio(echo, "interlock", "mcp"), 8)
    hold("HTTP echo against TypeScript 2", ratio(echo, "interlock", "typescript"), 12)
    bare = floor_share(echo)
    hold("HTTP echo against the bare protocol", bare and bare * 100, 45, unit=" %")
    for question, heads in (
        ("echo, 9 heads", "nine heads in turn"),
        ("echo, new heads", "no two heads alike"),
    ):
        found = main_rows(rows, question, 32)
        tell(f"the same, {heads}, against mcp-go", ratio(found, "interlock", "mcp-go"))
        tell(f"the same, {heads}, against mcp 2", ratio(found, "interlock", "mcp"))
        bare = floor_share(found)
        tell(f"the same, {heads}, against the bare protocol", bare and bare * 100, unit=" %")
    hold("HTTP list of 100 tools against mcp 2", ratio(listed, "interlock", "mcp"), 100)
    for question in ("echo 16 kB", "add"):
        found = main_rows(rows, question, 32)
        others = [ratio(found, "interlock", key) for key in found if key not in (*OURS, *BARE)]
        nearest = min((each for each in others if each is not None), default=None)
        hold(f"HTTP {question} against the nearest peer", nearest, 1)
    if "interlock" in echo:
        ours = echo["interlock"]
        stay("HTTP echo, p99 against p50, 32 connections", ours["p99_ms"] / ours["p50_ms"], 3, unit=" x")  # fmt: skip
        stay("memory after load over HTTP", ours["memory_mb"], 40, unit=" MB")
    pipes = first_era(sections.get("stdio", []))
    fast = [ratio(pipes, "interlock", key) for key in ("rmcp", "mcp-go")]
    hold("stdio, 32 in flight, against the faster of Rust and Go", min((each for each in fast if each), default=None), 2)  # fmt: skip
    hold("stdio, 32 in flight, against mcp 2", ratio(pipes, "interlock", "mcp"), 30)
    stay("stdio, one at a time, bare pipe loop against ours", ratio(pipes, "bare-pipe", "interlock", "rate_one"), 1.3, unit=" x")  # fmt: skip
    if "interlock" in pipes:
        stay("idle memory over stdio", pipes["interlock"]["idle_mb"], 30, unit=" MB")
    starts = first_era(sections.get("cold", []))
    stay("start to first answer, ours to mcp 2", ratio(starts, "interlock", "mcp", "ms"), 0.15)
    stay("start to first answer, ours to TypeScript 2", ratio(starts, "interlock", "typescript", "ms"), 0.85)  # fmt: skip
    for where, least in (("HTTP", 6), ("in process", 10)):
        found = {
            r["key"]: r
            for r in sections.get("clients", [])
            if r["where"] == where and r["flight"] == 32
        }
        hold(
            f"client {where}, 32 in flight, against mcp 2", ratio(found, "interlock", "mcp"), least
        )
    hops = main_rows(sections.get("gateway", []), "echo", 32)
    hold("gateway hop against FastMCP's proxy", ratio(hops, "gateway", "fastmcp"), 10)
    more = sections.get("upstreams", [])
    if more:
        most = max(row["upstreams"] for row in more)
        ends = {
            (row["upstreams"], row["question"] == "echo", row["connections"]): row
            for row in more
            if row["upstreams"] in {1, most}
        }
        listed_all = ends.get((most, False, 1))
        if listed_all is not None:
            words = f"list of {most} upstreams of 50 tools, CPU"
            stay(words, listed_all["cpu_us"] / 1e3, 2, unit=" ms")
        one, many = ends.get((1, True, 32)), ends.get((most, True, 32))
        if one is not None and many is not None and one["cpu_us"]:
            words = f"CPU of a call beside {most} upstreams, to one beside one"
            stay(words, many["cpu_us"] / one["cpu_us"], 1.05, unit=" x")
    crew = {row["label"]: row for row in sections.get("workers", [])}
    hold("two workers against one", ratio(crew, "2 workers", "1 worker"), 1.7)
    heads = ["what is promised", "this run", "bound", "kept"]
    return [Table("Promises", heads, lines)] if lines else []


def floor_share(echo: Mapping[str, Row]) -> float | None:
    """What part of the bare protocol's rate is reached.

    By CPU a call where the load's core was full: by rate the slower of two servers would gain.
    """
    ours, floor = echo.get("interlock"), echo.get("bare-protocol")
    if ours is None or floor is None:
        return None
    by_rate = ours["rate"] / floor["rate"]
    full = max(ours["load"], floor["load"]) > FULL
    return min(by_rate, floor["cpu_us"] / ours["cpu_us"]) if full else by_rate


HTTP_HEADS = (
    *("server", "req/s c32", "p50 ms", "p99 ms", "CPU us", "MB"),
    *("req/s c1", "p50 ms", "p99 ms", "CPU us", "spread", "others", "wire"),
)


def http(rows: list[Row]) -> Chapter:
    """One table for each question; servers as lines."""
    parts: list[Part] = []
    echoes = main_rows(rows, "echo", 32)
    if len(echoes) > 1:
        figures = {row["label"]: row["rate"] for row in echoes.values()}
        title = "Echo over HTTP, 32 connections, calls a second of one core"
        parts.append(Picture("http", title, plots.bars(title, "calls a second", figures)))
    for question in questions_of(rows):
        first = {row["key"]: row["era"] for row in reversed(rows) if row["question"] == question}
        here = [r for r in rows if r["question"] == question and r["era"] == first[r["key"]]]
        parts.append(http_table(f"HTTP, {question}", here))
        older = [row for row in rows if row["question"] == question and row not in here]
        if older:
            parts.append(
                http_table(f"HTTP, {question}, legacy era of those that speak both", older)
            )
    opening = (
        "c32, c1: so many connections, at most one request in flight on each; the load asks again "
        "when half of the answers are there, or sixteen, and does not sleep, so that no figure "
        "hangs on which side falls asleep between two requests. CPU: the server's, a "
        "request. Spread: between the slowest and the fastest run at 32 connections. Others: the "
        "share of a core that everything else on the machine used. The server on rmcp sends an "
        "answer in pieces and waits until one is acknowledged before it sends the next, which "
        "clients put off for 40 ms; in its second line the load acknowledges at once. New heads: a "
        "header has another value in each request, as that of a trace has, because our server "
        "remembers heads that it has read."
    )
    return Chapter("HTTP", opening, parts)


def http_table(title: str, rows: list[Row]) -> Table:
    keys = dict.fromkeys(row["key"] for row in rows)
    found = {(row["key"], row["connections"]): row for row in rows}
    return Table(title, HTTP_HEADS, [http_line(found.get((key, 32)), found.get((key, 1))) for key in keys])  # fmt: skip


def http_line(many: Row | None, one: Row | None) -> list[str]:
    """A server with many connections, then with one."""
    shown = many or one
    assert shown is not None
    return [
        shown["label"],
        *http_cells(many),
        number(shown["memory_mb"]),
        *http_cells(one),
        spread(shown),
        share(shown["others"]),
        f"{ERAS[shown['era']]} {shown['reply']}" + (" session" if shown["session"] else ""),
    ]


def http_cells(row: Row | None) -> list[str]:
    if row is None:
        return ["-"] * 4
    return [
        rate(row),
        number(row["p50_ms"], 2),
        number(row["p99_ms"], 2),
        number(row["cpu_us"], 1),
    ]


def stdio(rows: list[Row], starts: list[Row]) -> Chapter:
    heads = (
        *("server", "req/s, 32 in flight", "CPU us", "req/s, one by one", "p50 us", "p99 us"),
        *("idle MB", "MB after", "spread", "others", "wire"),
    )
    lines = [
        [
            row["label"],
            rate(row),
            number(row["cpu_us"], 1),
            rate(row, "rate_one"),
            number(row["p50_us"]),
            number(row["p99_us"]),
            number(row["idle_mb"]),
            number(row["memory_mb"]),
            spread(row),
            share(row["others"]),
            ERAS[row["era"]],
        ]
        for row in rows
    ]
    parts: list[Part] = []
    if rows:
        figures = {row["label"]: row["rate"] for row in first_era(rows).values()}
        title = "Echo over stdio, 32 in flight, calls a second of one core"
        parts.append(Picture("stdio", title, plots.bars(title, "calls a second", figures)))
        parts.append(Table("stdio, echo", heads, lines))
    if starts:
        lines = [
            [row["label"], number(row["ms"]), share(row["others"]), ERAS[row["era"]]]
            for row in starts
        ]
        heads = ("server", "ms", "others", "wire")
        parts.append(Table("stdio, start of the process to the first answer", heads, lines))
    return Chapter("stdio", "Requests down a pipe, answers up another.", parts)


def clients(rows: list[Row]) -> Chapter:
    heads = ("client", "calls/s", "CPU us", "p50 us", "p99 us", "others")
    parts: list[Part] = []
    for where, flight in dict.fromkeys((row["where"], row["flight"]) for row in rows):
        lines = [
            [
                row["label"],
                rate(row),
                number(row["cpu_us"], 1),
                number(row["p50_us"]),
                number(row["p99_us"]),
                share(row["others"]),
            ]
            for row in rows
            if (row["where"], row["flight"]) == (where, flight)
        ]
        words = f"{flight} in flight" if flight > 1 else "one at a time"
        parts.append(Table(f"Clients {where}, {words}", heads, lines))
    opening = (
        "Over HTTP all clients call one same server, which is Interlock's, on the other core; in "
        "process each calls a server of its own kind in the same event loop. All run on uvloop."
    )
    return Chapter("Clients", opening, parts)


def gateway(rows: list[Row], more: list[Row]) -> Chapter:
    heads = (
        *("way", "req/s c32", "p50 ms", "p99 ms", "CPU us", "MB"),
        *("req/s c1", "p50 ms", "p99 ms", "CPU us", "others", "wire"),
    )
    parts: list[Part] = []
    for question in questions_of(rows):
        many, one = main_ways(rows, question, 32), main_ways(rows, question, 1)
        lines: list[list[str]] = []
        for label in dict.fromkeys([*many, *one]):
            shown = many.get(label) or one[label]
            lines.append(
                [
                    label,
                    *http_cells(many.get(label)),
                    number(shown["memory_mb"]),
                    *http_cells(one.get(label)),
                    share(shown["others"]),
                    f"{ERAS[shown['era']]} {shown['reply']}",
                ]
            )
        parts.append(Table(f"Gateway, {question}", heads, lines))
    if more:
        heads = ("upstreams", "list p50 ms", "list CPU ms", "tools", "echo/s c32", "echo/s c1", "echo CPU us", "MB")  # fmt: skip
        lines = []
        for count in dict.fromkeys(row["upstreams"] for row in more):
            here = {
                (row["question"] == "echo", row["connections"]): row
                for row in more
                if row["upstreams"] == count
            }
            listed, many, one = (here.get(key) for key in ((False, 1), (True, 32), (True, 1)))
            lines.append(
                [
                    str(count),
                    milliseconds(listed["p50_ms"] if listed else None),
                    number(listed["cpu_us"] / 1e3 if listed else None, 2),
                    number(count * 50),
                    rate(many),
                    rate(one),
                    number(many["cpu_us"] if many else None, 1),
                    number((many or listed or {}).get("memory_mb")),
                ]
            )
        said = "Each upstream is a bare pipe loop with 50 tools; memory includes them."
        parts.append(Table("Gateway, over ever more upstreams", heads, lines, said))
    opening = (
        "A client over HTTP, a server over stdio, and what stands between. CPU and memory are of "
        "the gateway and the server behind it, which share one core."
    )
    return Chapter("Gateway", opening, parts)


def main_ways(rows: list[Row], question: str, connections: int) -> dict[str, Row]:
    return {
        row["label"]: row
        for row in rows
        if row["question"] == question and row["connections"] == connections
    }


def workers(rows: list[Row]) -> Chapter:
    heads = ("", "req/s c32", "p50 ms", "p99 ms", "CPU us", "MB", "others")
    lines = [
        [row["label"], *http_cells(row), number(row["memory_mb"]), share(row["others"])]
        for row in rows
    ]
    opening = (
        "One worker shares one core with a load of 32 connections; two workers share two cores with "
        "two such loads, each of which keeps to the worker on its own core. So both halves double, "
        "and twice the rate is the most there can be; the load takes about half of each core, so the "
        "rates are not those of the tables above. In the last line each load has connections to "
        "both workers, as the kernel gives them out: half of the traffic then goes between two "
        "virtual cores that are full, and waking the other costs more than the work."
    )
    return Chapter("Workers", opening, [Table("Workers, echo", heads, lines)])


def older(rows: list[Row], version: str) -> Chapter:
    parts: list[Part] = []
    web = [row for row in rows if row["what"] == "http"]
    pipes = [row for row in rows if row["what"] == "stdio"]
    starts = [row for row in rows if row["what"] == "cold"]
    parts += http_ratios(web)
    parts += stdio_ratios({"stdio": pipes, "cold": starts})
    parts += [part for part in http(web).parts if isinstance(part, Table)]
    parts += [part for part in stdio(pipes, starts).parts if isinstance(part, Table)]
    opening = "The main figures once more, all on the oldest CPython that is served."
    return Chapter(f"On CPython {version}", opening, parts)


def growth(curves: Mapping[str, list[Row]], more: list[Row]) -> Chapter:
    parts: list[Part] = []

    def draw(name: str, title: str, across: str, up: str, key: str, rows: list[Row]) -> None:
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            label = " ".join(filter(None, (row["label"], row.get("what"))))
            lines.setdefault(label, []).append((row["at"], row[key]))
        if lines:
            parts.append(Picture(name, title, plots.lines(title, across, up, lines)))

    def tabulate(
        title: str, across: str, columns: Mapping[str, tuple[str, int]], rows: list[Row]
    ) -> None:
        labels = dict.fromkeys((row["label"], row.get("what")) for row in rows)
        for label, what in labels:
            here = [row for row in rows if (row["label"], row.get("what")) == (label, what)]
            lines = [
                [
                    number(row["at"]),
                    *(
                        rate(row) if key == "rate" else number(row.get(key), digits)
                        for key, digits in columns.values()
                    ),
                ]
                for row in here
            ]
            words = ", ".join(filter(None, (title, label, what)))
            parts.append(Table(words, [across, *columns], lines))

    rows = curves.get("connections", [])
    draw("connections", "Echo calls a second over connections", "connections", "calls a second", "rate", rows)  # fmt: skip
    tabulate("Connections", "connections", {"req/s": ("rate", 0), "p50 ms": ("p50_ms", 2), "p99 ms": ("p99_ms", 2), "CPU us": ("cpu_us", 1), "MB": ("memory_mb", 0)}, rows)  # fmt: skip
    rows = curves.get("tools", [])
    draw("tools", "One request beside ever more tools", "tools", "ms", "p50_ms", rows)
    tabulate("Tools", "tools", {"p50 ms": ("p50_ms", 2), "CPU us": ("cpu_us", 0), "MB": ("memory_mb", 0)}, rows)  # fmt: skip
    rows = curves.get("sizes", [])
    draw("sizes", "One call over the size of its message", "bytes", "ms", "p50_ms", rows)
    tabulate("Sizes", "bytes", {"p50 ms": ("p50_ms", 2), "MB/s": ("mb_s", 0), "most MB held": ("peak_mb", 0)}, rows)  # fmt: skip
    rows = curves.get("sessions", [])
    draw("sessions", "Echo calls a second beside ever more legacy sessions", "sessions", "calls a second", "rate", rows)  # fmt: skip
    tabulate("Sessions", "sessions", {"req/s": ("rate", 0), "p99 ms": ("p99_ms", 2), "MB": ("memory_mb", 0), "kB a session": ("kb", 1)}, rows)  # fmt: skip
    listed = [row | {"at": row["upstreams"], "label": "list of all tools" if row["question"] != "echo" else "echo", "what": None} for row in more if row["connections"] == 1]  # fmt: skip
    draw("upstreams", "One request through a gateway over ever more upstreams", "upstreams", "ms", "p50_ms", listed)  # fmt: skip
    opening = (
        "What grows with what. Connections, tools and sizes over HTTP unless it says stdio; sizes "
        "are of answers over HTTP, and both ways over stdio. A server of ours keeps 10,000 "
        "sessions and lets go of the longest idle: its memory does not grow after that. A single "
        "connection asks for the list, the large messages and the calls beside many upstreams."
    )
    return Chapter("Growth", opening, parts)


PATHS = {
    "HTTP": "a POST to a server over HTTP",
    "stdio": "a line to a server over stdio",
    "gateway": "a POST to a gateway, a line to the server behind it, and back",
}


def profile(rows: list[Row]) -> Chapter:
    parts: list[Part] = []
    for path in dict.fromkeys(row["path"] for row in rows):
        here = [row for row in rows if row["path"] == path]
        calls = sum(row["calls"] for row in here)
        lines = [
            [row["room"], number(row["calls"], 1), share(row["share"]), row["opening"]]
            for row in here
        ]
        heads = ["room", "function calls", "share of time", "what lives there"]
        title = f"One call, {PATHS[path]}: {calls:,.0f} function calls"
        parts.append(Table(title, heads, lines))
    opening = (
        "An echo call, one at a time, by the file of the package that it runs through, with the "
        "builtins that each calls. Of the gateway the process itself is shown, without the server "
        "behind it. The profiler makes functions dearer than what is written in C: the numbers of "
        "calls are exact, the shares only show where to look.\n\n"
        "What remains, and why: reading and writing is one call of the kernel each way, which "
        "uvloop makes where no profiler looks, so that over HTTP it shows as time of the room that "
        "writes. Several requests that come at once share them, as they share the turn of the "
        "loop. `dispatch`, `jsonrpc` and `exchange` are the checks of the envelope and the one "
        "encoding; `tools`, `native` and `shelf` find the function, decode its arguments and encode "
        "its result; `eager` is the task that a handler needs so that it can be cancelled. A hop "
        "through the gateway is a call on each of its sides."
    )
    return Chapter("One call, room by room", opening, parts)


# The whole


def chapters(sections: Mapping[str, Any], versions: Mapping[str, str]) -> list[Chapter]:
    """Those that have something to show, in the order of the document."""
    more = sections.get("upstreams", [])
    found = [
        beside(sections),
        http(sections.get("http", [])),
        stdio(sections.get("stdio", []), sections.get("cold", [])),
        clients(sections.get("clients", [])),
        gateway(sections.get("gateway", []), more),
        workers(sections.get("workers", [])),
        older(sections.get("older", []), versions.get("older", "")),
        growth(sections.get("growth", {}), more),
        profile(sections.get("profile", [])),
    ]
    return [each for each in found if any(getattr(part, "lines", True) for part in each.parts)]


MARKS = (
    "*: others used over a tenth of a core. ^: the load's core was full, so the server could have "
    "done more."
)


def text(head: str, found: list[Chapter]) -> str:
    tables = [part.text() for chapter in found for part in chapter.parts if isinstance(part, Table)]
    return "\n".join([head, "", *tables, MARKS])


def document(head: Sequence[str], found: list[Chapter], *, quick: bool) -> str:
    """`docs/performance.md`."""
    warning = (
        "> **A quick look.** One short run of everything, none repeated, on a machine that had "
        "other work: it shows that all is measured, and is too noisy to be quoted.\n\n"
        if quick
        else ""
    )
    body = [
        (
            f"# Performance\n\n{warning}Written by `make bench`, which measures all of this in one run; "
            "not edited by hand. Only ratios carry over to another machine.\n"
        ),
        *head,
    ]
    for chapter in found:
        body.append(f"## {chapter.title}\n\n{chapter.opening}\n")
        if chapter.title in {"Beside others", "HTTP"}:
            body.append(f"{MARKS}\n".replace("*", "\\*", 1))
        body += [part.markdown() for part in chapter.parts]
    return "\n".join(body)


def write(folder: Path, words: str, found: list[Chapter]) -> None:
    """The document and its pictures, those of an earlier run removed."""
    pictures = folder / FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    (folder / "performance.md").write_text(words)
    for chapter in found:
        for part in chapter.parts:
            if isinstance(part, Picture):
                (pictures / f"{part.name}.svg").write_text(part.svg)
