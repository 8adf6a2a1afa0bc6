"""Real hosts, offline and without a login: each is given the gateway and a server of ours.

Usage: hosts.py claude|codex|gemini URL COMMAND [ARGUMENT...], with HOME set to a scratch folder.
Claude Code and Gemini CLI say whether they reach a server; Codex also lists and calls its tools.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HOSTS = Path(__file__).resolve().parent.parent.parent / ".peers/hosts/node_modules/.bin"
HOME = Path(os.environ["HOME"])
PROJECT = HOME / "project"

# Whatever a host tries to reach beyond this machine meets a closed door at once.
OFFLINE = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_COLOR": "1",
    "NO_PROXY": "127.0.0.1,localhost",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "GEMINI_TELEMETRY_ENABLED": "false",
    "TERM": "dumb",
}


def host(*words: str) -> str:
    """What a host's command prints; ends this check if it fails."""
    name, *arguments = words
    done = subprocess.run(
        [HOSTS / name, *arguments],
        cwd=PROJECT,
        env={**os.environ, **OFFLINE},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    printed = done.stdout + done.stderr  # Gemini CLI lists on stderr
    print(f"$ {' '.join(words)}\n{printed}", flush=True)
    if done.returncode:
        sys.exit(f"{name} exited {done.returncode}")
    return printed


def claude(url: str, command: list[str]) -> None:
    host("claude", "mcp", "add", "-t", "http", "gateway", url)
    host("claude", "mcp", "add", "fixture", "--", *command)
    listed = host("claude", "mcp", "list")
    for name in ("gateway", "fixture"):
        said(listed, f"{name}: ", "✔ Connected")


def gemini(url: str, command: list[str]) -> None:
    folder = HOME / ".gemini"
    folder.mkdir()
    # In a folder it does not trust Gemini CLI shows every server as disabled.
    (folder / "trustedFolders.json").write_text(json.dumps({str(PROJECT): "TRUST_FOLDER"}))
    quiet = {
        "general": {"disableAutoUpdate": True, "enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
    }
    (folder / "settings.json").write_text(json.dumps(quiet))
    host("gemini", "mcp", "add", "-t", "http", "gateway", url)
    host("gemini", "mcp", "add", "fixture", *command)
    listed = host("gemini", "mcp", "list")
    for name in ("gateway", "fixture"):
        said(listed, f"✓ {name}: ", "Connected")


def said(text: str, start: str, end: str) -> None:
    lines = [line.strip() for line in text.splitlines()]
    if not any(line.startswith(start) and line.endswith(end) for line in lines):
        sys.exit(f"expected a line from {start!r} to {end!r}")


def codex(url: str, command: list[str]) -> None:
    folder = HOME / ".codex"
    folder.mkdir()
    settings = "check_for_update_on_startup = false\n[analytics]\nenabled = false\n"
    (folder / "config.toml").write_text(settings)
    host("codex", "mcp", "add", "gateway", "--url", url)
    host("codex", "mcp", "add", "fixture", "--", *command)
    said(host("codex", "mcp", "list"), "gateway ", "Unsupported")
    with AppServer() as server:
        server.ask("initialize", clientInfo={"name": "interop", "version": "1.0.0"})
        server.tell("initialized")
        status = {one["name"]: one for one in server.ask("mcpServerStatus/list")["data"]}
        thread = server.ask("thread/start", cwd=str(PROJECT), ephemeral=True)["thread"]["id"]
        for name, tool, uri in (("gateway", "fixture__", "fixture+"), ("fixture", "", "")):
            one = status[name]
            equal(
                f"{name} tools", sorted(one["tools"]), [tool + t for t in ("add", "echo", "slow")]
            )
            equal(
                f"{name} resources", [r["uri"] for r in one["resources"]], [f"{uri}note://welcome"]
            )
            templates = [t["uriTemplate"] for t in one["resourceTemplates"]]
            equal(f"{name} templates", templates, [f"{uri}greeting://{{name}}"])
            where = {"threadId": thread, "server": name}
            call: dict[str, Any] = {"tool": f"{tool}echo", "arguments": {"text": "héllo"}}
            echoed = server.ask("mcpServer/tool/call", **where, **call)
            equal(f"{name} echo", [block["text"] for block in echoed["content"]], ["héllo"])
            call = {"tool": f"{tool}add", "arguments": {"a": 2, "b": 3}}
            added = server.ask("mcpServer/tool/call", **where, **call)
            equal(f"{name} add", added["structuredContent"], {"total": 5})
            read = server.ask("mcpServer/resource/read", **where, uri=f"{uri}greeting://ada")
            equal(f"{name} read", [part["text"] for part in read["contents"]], ["Hello, ada!"])


def equal(what: str, got: object, expected: object) -> None:
    if got != expected:
        sys.exit(f"{what}: expected {expected!r}, got {got!r}")


class AppServer:
    """Codex's app-server: JSON-RPC lines without the "jsonrpc" member, and no model behind it."""

    def __enter__(self) -> AppServer:
        self.ids = 0
        self.process = subprocess.Popen(
            [HOSTS / "codex", "app-server"],
            cwd=PROJECT,
            env={**os.environ, **OFFLINE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(10)

    def tell(self, method: str, **params: Any) -> None:
        self.send({"method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        self.ids += 1
        self.send({"id": self.ids, "method": method, "params": params})
        assert self.process.stdout
        for line in self.process.stdout:
            message = json.loads(line)
            if message.get("id") == self.ids and "method" not in message:
                if "error" in message:
                    sys.exit(f"{method} {params}: {message['error']}")
                return message["result"]
        sys.exit(f"codex app-server ended before it answered {method}")

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        print(json.dumps(message), file=self.process.stdin, flush=True)


if __name__ == "__main__":
    PROJECT.mkdir()
    {"claude": claude, "codex": codex, "gemini": gemini}[sys.argv[1]](sys.argv[2], sys.argv[3:])
