"""Pictures of figures as SVG: lines over two logarithmic axes, and bars. Nothing else is drawn."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 84, 24, 64, 52
COLOURS = ("#0b5fa5", "#d1495b", "#3a7d44", "#b0761f", "#6a4c93", "#4d4d4d")
FAINT, INK = "#dddddd", "#222222"
Points = Sequence[tuple[float, float]]


def lines(title: str, across: str, up: str, curves: Mapping[str, Points]) -> str:
    """Curves over logarithmic axes, a colour each, named above the drawing."""
    drawn = {name: points for name, points in curves.items() if points}
    xs = [x for points in drawn.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    if not xs:
        return ""
    x_of, x_ticks = axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_of, y_ticks = axis(min(ys), max(ys), HEIGHT - BOTTOM, TOP)
    parts: list[str] = []
    for tick in x_ticks:
        parts += [
            line(x_of(tick), TOP, x_of(tick), HEIGHT - BOTTOM, FAINT),
            text(x_of(tick), HEIGHT - BOTTOM + 18, short(tick), "middle"),
        ]
    for tick in y_ticks:
        parts += [
            line(LEFT, y_of(tick), WIDTH - RIGHT, y_of(tick), FAINT),
            text(LEFT - 8, y_of(tick) + 4, short(tick), "end"),
        ]
    at = LEFT
    for colour, (name, points) in zip(COLOURS, drawn.items(), strict=False):
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{colour}"/>'
            for x, y in points
        ]
        parts += [line(at, 42, at + 18, 42, colour, 3), text(at + 24, 46, name)]
        at += 40 + 7 * len(name)
    parts += [
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, across, "middle"),
        (
            f'<text transform="translate(16,{(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(up)}</text>'
        ),
    ]
    return drawing(title, parts, HEIGHT)


def bars(title: str, unit: str, figures: Mapping[str, float]) -> str:
    """A bar a name, longest first, with its figure beside it."""
    if not figures:
        return ""
    ordered = sorted(figures.items(), key=lambda each: -each[1])
    names = 8 * max(len(name) for name in figures)
    room = WIDTH - names - 110
    parts: list[str] = []
    for at, (name, value) in enumerate(ordered):
        y = 50 + at * 26
        own = name.startswith("Interlock")
        colour = COLOURS[0] if own else "#b9c2cc" if name.startswith("bare") else "#7f8c99"
        width = max(1.0, value / ordered[0][1] * room)
        parts += [
            text(names, y + 14, name, "end"),
            f'<rect x="{names + 8}" y="{y}" width="{width:.1f}" height="18" fill="{colour}"/>',
            text(names + 14 + width, y + 14, f"{value:,.0f}"),
        ]
    height = 50 + len(ordered) * 26 + 28
    parts.append(text(names + 8, height - 10, unit))
    return drawing(title, parts, height)


def axis(
    least: float, most: float, start: float, end: float
) -> tuple[Callable[[float], float], list[float]]:
    """Where a value lies between *start* and *end*, by its logarithm, and which values to mark."""
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    high = max(high, low + 1)
    # Whole decades, unless the figures fill less than one of them.
    marks = [10.0**power for power in range(low, high + 1)]
    if high - low <= 2:
        marks = [step * 10.0**power for power in range(low, high) for step in (1, 2, 5)] + marks[
            -1:
        ]

    def place(value: float) -> float:
        return start + (math.log10(value) - low) / (high - low) * (end - start)

    return place, marks


def drawing(title: str, parts: list[str], height: int) -> str:
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
                f'font-family="sans-serif" font-size="12" fill="{INK}" role="img">'
            ),
            f"<title>{escape(title)}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            f'<text x="16" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
            *parts,
            "</svg>",
            "",
        ]
    )


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"/>'
    )


def text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def short(value: float) -> str:
    for size, sign in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{sign}"
    return f"{value:g}"
