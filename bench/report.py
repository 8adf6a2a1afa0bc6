"""What was measured, as tables a person reads. Only the ratios carry over to another machine."""

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]

PEER_KEYS = {"mcp": "x mcp", "typescript": "x TS"}
ERAS = {"modern": "2026-07-28", "legacy": "2025-11-25"}


def table(title: str, heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Words to the left, numbers to the right."""
    rows = [list(heads), *(list(line) for line in lines)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    texts = [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(len(text) for text in texts)
    return "\n".join([title, texts[0], rule, *texts[1:], ""])


def number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def times(value: float, other: float | None) -> str:
    if not other:
        return "-"
    ratio = value / other
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def rate(row: Row | None, key: str = "rate") -> str:
    """A rate; starred when others used more than a tenth of a core, ^ when the load was the limit."""
    if row is None:
        return "-"
    star = "*" if row["others"] > 0.1 else ""
    return number(row[key]) + star + ("^" if row.get("load", 0) > 0.95 else "")


def http(rows: list[Row]) -> list[str]:
    """One table for each question in each era; servers as lines."""
    heads = (
        *("server", "req/s c32", "p50 ms", "p99 ms", "CPU us", "MB"),
        *("req/s c1", "p50 ms", "p99 ms", "CPU us", *PEER_KEYS.values(), "% bare", "reply"),
    )
    texts: list[str] = []
    for era, question in dict.fromkeys((row["era"], row["question"]) for row in rows):
        here = [row for row in rows if (row["era"], row["question"]) == (era, question)]
        found = {(row["key"], row["connections"]): row for row in here}
        lines = [http_line(found, key) for key in dict.fromkeys(row["key"] for row in here)]
        texts.append(table(f"HTTP {ERAS[era]}, {question}", heads, lines))
    return texts


def http_line(found: dict[tuple[str, int], Row], key: str) -> list[str]:
    """A server with many connections, then with one; ratios for the first of these there is."""
    many, one = found.get((key, 32)), found.get((key, 1))
    shown = many or one
    assert shown is not None
    peers = {
        peer: found[peer, shown["connections"]]["rate"]
        for peer in (*PEER_KEYS, "bare")
        if (peer, shown["connections"]) in found
    }
    return [
        shown["label"],
        *http_cells(many),
        number(shown["memory_mb"]),
        *http_cells(one),
        *(times(shown["rate"], peers.get(peer)) for peer in PEER_KEYS),
        number(shown["rate"] / peers["bare"] * 100) if "bare" in peers else "-",
        shown["reply"] + (" session" if shown["session"] else ""),
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


def stdio(rows: list[Row]) -> list[str]:
    heads = (
        *("server", "req/s, 32 in flight", "CPU us", *PEER_KEYS.values()),
        *("req/s, one by one", "p50 us", "p99 us", *PEER_KEYS.values(), "idle MB", "MB after"),
    )
    texts: list[str] = []
    for era in dict.fromkeys(row["era"] for row in rows):
        found = {row["key"]: row for row in rows if row["era"] == era}
        lines = [
            [
                row["label"],
                rate(row),
                number(row["cpu_us"], 1),
                *against_peers(found, row, "rate"),
                rate(row, "rate_one"),
                number(row["p50_us"]),
                number(row["p99_us"]),
                *against_peers(found, row, "rate_one"),
                number(row["idle_mb"]),
                number(row["memory_mb"]),
            ]
            for row in found.values()
        ]
        texts.append(table(f"stdio {ERAS[era]}, echo", heads, lines))
    return texts


def cold(rows: list[Row]) -> list[str]:
    heads = ("server", "median ms", "best", "worst", *PEER_KEYS.values())
    texts: list[str] = []
    for era in dict.fromkeys(row["era"] for row in rows):
        found = {row["key"]: row for row in rows if row["era"] == era}
        lines = [
            [
                row["label"],
                *(number(row[key]) for key in ("median_ms", "best_ms", "worst_ms")),
                *against_peers(found, row, "median_ms"),
            ]
            for row in found.values()
        ]
        texts.append(table(f"stdio {ERAS[era]}, start to first answer", heads, lines))
    return texts


def against_peers(found: dict[str, Row], row: Row, key: str) -> list[str]:
    return [times(row[key], found.get(peer, {}).get(key)) for peer in PEER_KEYS]


def gateway(rows: list[Row]) -> list[str]:
    heads = (
        *("way", "req/s c32", "p50 ms", "p99 ms", "CPU us", "MB"),
        *("req/s c1", "p50 ms", "p99 ms", "CPU us", "added CPU us"),
    )
    texts: list[str] = []
    for era, question in dict.fromkeys((row["era"], row["question"]) for row in rows):
        here = [row for row in rows if (row["era"], row["question"]) == (era, question)]
        ways = {
            label: {row["connections"]: row for row in here if row["label"] == label}
            for label in dict.fromkeys(row["label"] for row in here)
        }
        # The way that comes first is the direct one; what others cost is held against it.
        direct, *_ = (found.get(32) or found[1] for found in ways.values())
        lines: list[list[str]] = []
        for label, found in ways.items():
            shown = found.get(32) or found[1]
            added = None if shown is direct else shown["cpu_us"] - direct["cpu_us"]
            cells = (http_cells(found.get(32)), [number(shown["memory_mb"])])
            lines.append([label, *cells[0], *cells[1], *http_cells(found.get(1)), number(added, 1)])
        texts.append(table(f"Gateway hop {ERAS[era]}, {question}", heads, lines))
    return texts


def summary(sections: dict[str, list[Row]]) -> list[str]:
    """How often ours does what a peer does once: by rate, and by CPU, which others disturb less."""
    many = {
        (row["question"], row["key"]): row
        for row in sections.get("http", [])
        if row["era"] == "modern" and row["connections"] == 32
    }
    heads = (
        *("question", "x mcp", "by CPU", "x fastmcp", "by CPU"),
        *("x TS", "by CPU", "% bare", "by CPU"),
    )
    lines: list[list[str]] = []
    for question in dict.fromkeys(question for question, _ in many):
        ours = many.get((question, "interlock"))
        if ours is None:
            continue
        cells = [question]
        for peer in ("mcp", "fastmcp", "typescript", "bare"):
            other = many.get((question, peer))
            if other is None:
                cells += ["-", "-"]
                continue
            ratios = (ours["rate"] / other["rate"], other["cpu_us"] / ours["cpu_us"])
            if peer == "bare":
                cells += [number(ratio * 100) for ratio in ratios]
            else:
                cells += [times(ratio, 1) for ratio in ratios]
        lines.append(cells)
    if len(many) <= len(lines):  # ours alone
        return []
    return [table(f"Interlock against others, HTTP {ERAS['modern']}, c32", heads, lines)]


def text(setting: str, sections: dict[str, list[Row]]) -> str:
    writers = {"http": http, "stdio": stdio, "cold": cold, "gateway": gateway}
    texts = [setting, ""]
    for name, rows in sections.items():
        if rows:
            texts.extend(writers[name](rows))
    texts.extend(summary(sections))
    texts.append(
        "c32, c1: connections, one request in flight on each. CPU: the server's, a request.\n"
        "x: times that peer's figure in this run. *: others used over a tenth of a core.\n"
        "^: the load's core was full, so the server could have done more."
    )
    return "\n".join(texts)
