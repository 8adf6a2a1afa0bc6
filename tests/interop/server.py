"""The server of ours that clients and hosts of others are pointed at."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from interlock import Context, Server

server = Server("fixture", version="1.0.0", instructions="Say something and it is said back.")


@dataclass
class Sum:
    total: int


@server.tool
async def echo(text: str) -> str:
    """Say back what was said."""
    return text


@server.tool
def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b)


@server.tool
async def slow(steps: int, ctx: Context, pause: float = 0.01) -> str:
    """Take a few steps, report each, and pause for some seconds after it."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
        await asyncio.sleep(pause)
    return f"{steps} steps"


@server.resource("note://welcome", mime_type="text/plain")
def welcome() -> str:
    """What a newcomer reads first."""
    return "Welcome aboard."


@server.resource("greeting://{name}", mime_type="text/plain")
def greet(name: str) -> str:
    """A greeting by name."""
    return f"Hello, {name}!"


@server.prompt
def ask(topic: str) -> str:
    """Ask about a topic."""
    return f"What is {topic}?"


@server.prompt
def review(code: str, language: str = "python") -> str:
    """Ask for a review."""
    return f"Review this {language}: {code}"
