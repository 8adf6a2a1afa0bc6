"""A login in a real browser: our server, our issuer, our command line, and Chromium for the person.

The person signs in on the consent page, allows, and is sent back; a tool is called with what that
came to, once more without any browser, and no more after the log-out. Screenshots of the pages are
left in tests/interop/out.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BROWSER = HERE.parent.parent / ".peers/browser"
PICTURES = HERE / "out"
INTERLOCK = os.environ["INTERLOCK"]
SERVER = """
from interlock import Context, Server
from interlock.auth.settings import AuthSettings

server = Server(
    "diary",
    auth=AuthSettings(
        issuer_url="{issuer}", resource_server_url="{url}", required_scopes=["diary:read"]
    ),
)

@server.tool
async def whose(ctx: Context) -> str:
    return ctx.principal.subject

@server.tool(scopes=["diary:write"], list_without_scopes=True)
async def write(text: str) -> str:
    return f"Written: {{text}}"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started(*words: str) -> Generator[dict[str, Any]]:
    """A program of ours that says with a line of JSON that it serves: that line."""
    program = subprocess.Popen([INTERLOCK, *words, "--json"], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    try:
        yield json.loads(program.stdout.readline())
    finally:
        program.send_signal(signal.SIGINT)
        program.wait(5)


def run(*words: str, browser: str = "false", code: str = "") -> str:
    """A command of ours; *browser* is what opens pages. "false" opens none."""
    found = {"BROWSER": browser, "CODE": code, "PICTURES": str(PICTURES)}
    done = subprocess.run(
        [INTERLOCK, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **found, "PACKAGES": str(BROWSER), "TMPDIR": os.environ["HOME"]},
    )
    if done.returncode != 0:
        raise SystemExit(f"{words} exited {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        sys.exit(f"{what}: expected {expected!r}, got {got!r}")


def main() -> None:
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir()
    os.environ["INTERLOCK_KEYRING"] = "off"
    os.environ["INTERLOCK_STATE"] = str(Path.cwd() / "state")
    door, office = free_port(), free_port()
    url, issuer = f"http://127.0.0.1:{door}/mcp", f"http://127.0.0.1:{office}"
    Path("diary.py").write_text(SERVER.format(issuer=issuer, url=url))
    Path(".mcp.json").write_text(
        json.dumps({"mcpServers": {"diary": {"type": "http", "url": url}}})
    )
    scopes = ("--scope", "diary:read", "--scope", "diary:write")
    person = f"{BROWSER / 'bin/node'} {HERE / 'peers/browser.mjs'}"
    with (
        started("auth", "serve", "--resource", url, *scopes, "--port", str(office)) as issuing,
        started("run", "diary.py", "--http", "--port", str(door)),
    ):
        before = json.loads(run("list", "--json"))["servers"][0]
        equal("before the login", before["state"], "needs login")
        login = json.loads(run("login", "diary", "--json", browser=person, code=issuing["code"]))
        equal(
            "the login", (login["login"], login["issuer"], login["renewed"]), (True, issuer, True)
        )
        equal("the call", run("call", "diary.whose").strip(), "owner")
        more = ("login", "diary", "--again", "--scope", "diary:write")
        run(*more, browser=person, code=issuing["code"])
        equal("the other call", run("call", "diary.write", "text=Hello").strip(), "Written: Hello")
        kept = json.loads(run("auth", "status", "--json"))["logins"]
        equal("what is kept", [one["server"] for one in kept], ["diary"])
        equal("the log-out", json.loads(run("logout", "diary", "--json"))["revoked"], True)
        after = json.loads(run("list", "--json"))["servers"][0]
        equal("after the log-out", after["state"], "needs login")
    pictures = sorted(picture.name for picture in PICTURES.glob("*.png"))
    equal("the pictures", pictures, ["back.png", "consent-dark.png", "consent.png"])


main()
