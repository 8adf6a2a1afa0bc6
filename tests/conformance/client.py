"""The client that the official suite looks at: what to do with its mock server in each scenario.

The suite starts `client.py URL` once a scenario and names it in the environment; the program has
to end with 0 in time.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from interlock import Client, RpcError
from interlock.auth.credentials import Credentials
from interlock.auth.oauth import (
    Authorizing,
    ClientCredentials,
    EnterpriseManaged,
    OAuth,
    WorkloadIdentity,
)
from interlock.auth.steps import Visit, Visited
from interlock.client.skills import Skills
from interlock.errors import PeerError, Unverified
from interlock.transport.http.engine import AiohttpEngine, Request
from interlock.wire.completion import PromptReference
from interlock.wire.content import Text
from interlock.wire.inputs import (
    CreateMessageParams,
    CreateMessageResult,
    ElicitParams,
    ElicitResult,
)

URL = sys.argv[-1]
SCENARIO = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
REVISION = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2026-07-28")
DOCUMENT = "https://conformance-test.local/client-metadata.json"
"""Who the suite expects a client to be where documents are known."""
CONTEXT: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")


def connected(**options: Any) -> Client:
    """A client as its users have it; a mock of a legacy revision refuses to be asked which it is."""
    return Client(URL, revision="auto" if REVISION == "2026-07-28" else REVISION, **options)


async def accept(asked: ElicitParams) -> ElicitResult:
    """Accept what is asked with nothing filled in, which leaves the defaults."""
    return ElicitResult(action="accept", content={})


async def confirm(asked: ElicitParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"confirmed": True})


async def continued(asked: CreateMessageParams) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=Text(text="Well."), model="none")


async def list_tools() -> None:
    async with connected() as client:
        await client.list_tools()


async def call_add() -> None:
    async with connected() as client:
        await client.list_tools()
        result = await client.call_tool("add_numbers", {"a": 5, "b": 3})
        assert "8" in result.text, result


async def call_reconnecting() -> None:
    async with connected() as client:
        await client.list_tools()
        await client.call_tool("test_reconnection")


async def accept_defaults() -> None:
    async with connected(on_elicit=accept) as client:
        await client.list_tools()
        await client.call_tool("test_client_elicitation_defaults")


async def declare_everything() -> None:
    async with connected(on_elicit=accept, on_sample=continued, roots=()) as client:
        await client.list_tools()
        await client.call_tool("add_numbers", {"a": 5, "b": 3})


async def ask_of_every_kind() -> None:
    """Use each method whose name or URI is mirrored in a header, and each list."""
    async with connected() as client:
        for tool in await client.list_tools():
            await client.call_tool(tool.name, required(tool.input_schema))
        for resource in await client.list_resources():
            await client.read_resource(resource.uri)
        await client.list_resource_templates()
        for prompt in await client.list_prompts():
            arguments = {argument.name: "x" for argument in prompt.arguments or []}
            await client.get_prompt(prompt.name, arguments)
            for name in arguments:
                await client.complete(PromptReference(name=prompt.name), name, "x")


async def call_every_tool() -> None:
    async with connected() as client:
        for tool in await client.list_tools():
            await client.call_tool(tool.name, required(tool.input_schema))


async def replay_calls() -> None:
    async with connected() as client:
        await client.list_tools()
        for call in CONTEXT["toolCalls"]:
            await client.call_tool(call["name"], call["arguments"])


async def answer_and_retry() -> None:
    async with connected(on_elicit=confirm) as client:
        await client.list_tools()
        await asyncio.gather(
            client.call_tool("test_mrtr_echo_state"), client.call_tool("test_mrtr_unrelated")
        )
        await client.call_tool("test_mrtr_no_state")
        await client.call_tool("test_mrtr_no_result_type")


async def echo_schema() -> None:
    async with connected() as client:
        tools = {tool.name: tool for tool in await client.list_tools()}
        schema = tools["json_schema_2020_12_tool"].input_schema
        await client.call_tool("json_schema_echo", {"schema": schema})


async def list_skills() -> None:
    async with connected() as client:
        assert await Skills(client).list()


async def act_on_skills() -> None:
    """Load each skill and read all of it, as a host does whose user agreed to each."""
    async with connected() as client:
        skills = Skills(client)
        for skill in await skills.list():
            try:
                loaded = await skills.load(skill)
                for file in skill.resources:
                    assert not isinstance(file, str)
                    await loaded.read(file.uri)
            except Unverified as error:
                print(f"left alone: {error}", file=sys.stderr)


class Headless:
    """A person without a browser to look at, who agrees to everything at once."""

    redirect_uri = "http://localhost:3000/callback"

    async def __aenter__(self) -> Headless:
        return self

    async def __aexit__(self, *failure: object) -> None:
        pass

    async def __call__(self, visit: Visit) -> Visited:
        engine = AiohttpEngine()
        try:
            response = await engine.send(Request("GET", visit.url, {}))
            sent_to = response.headers["location"]
            response.close()
        finally:
            await engine.close()
        assert sent_to.startswith(self.redirect_uri), sent_to
        query = parse_qs(urlsplit(sent_to).query, keep_blank_values=True)
        return Visited({name: tuple(values) for name, values in query.items()})


def person() -> OAuth:
    return OAuth(
        Credentials.in_memory(),
        visitors=lambda port: Headless(),
        document=DOCUMENT,
        client_id=CONTEXT.get("client_id"),
        client_secret=CONTEXT.get("client_secret"),
        name="interlock-conformance",
    )


def program() -> ClientCredentials:
    return ClientCredentials(
        CONTEXT["client_id"],
        CONTEXT.get("client_secret"),
        private_key=CONTEXT.get("private_key_pem"),
        algorithm=CONTEXT.get("signing_algorithm", "ES256"),
    )


def employee() -> EnterpriseManaged:
    return EnterpriseManaged(
        CONTEXT["client_id"],
        CONTEXT["client_secret"],
        id_token=CONTEXT["idp_id_token"],
        token_endpoint=CONTEXT["idp_token_endpoint"],
        provider_client_id=CONTEXT["idp_client_id"],
    )


def workload() -> WorkloadIdentity:
    return WorkloadIdentity(CONTEXT["valid_jwt"], client_id=CONTEXT["client_id"])


WAYS: dict[str, Callable[[], Authorizing]] = {
    "auth/client-credentials-basic": program,
    "auth/client-credentials-jwt": program,
    "auth/enterprise-managed-authorization": employee,
    "auth/wif-jwt-bearer": workload,
}


async def call_first_tool() -> None:
    """What the scenarios about authorization want, once they let a client in."""
    async with connected(auth=WAYS.get(SCENARIO, person)()) as client:
        tools = await client.list_tools()
        await client.call_tool(tools[0].name, {})


def required(schema: dict[str, Any]) -> dict[str, Any]:
    """The least arguments that fit a tool's schema."""
    some: dict[str, Any] = {"string": "x", "integer": 0, "number": 0, "boolean": False}
    properties: dict[str, Any] = schema.get("properties", {})
    return {name: some.get(properties[name].get("type")) for name in schema.get("required", ())}


SCENARIOS: dict[str, Callable[[], Awaitable[None]]] = {
    "elicitation-sep1034-client-defaults": accept_defaults,
    "http-custom-headers": replay_calls,
    "http-invalid-tool-headers": call_every_tool,
    "http-standard-headers": ask_of_every_kind,
    "initialize": list_tools,
    "json-schema-2020-12-preservation": echo_schema,
    "json-schema-ref-no-deref": list_tools,
    "request-metadata": declare_everything,
    "sep-2322-client-request-state": answer_and_retry,
    "sep-2640-client-no-prefetch": list_skills,
    "sep-2640-client-verify-digest": act_on_skills,
    "sep-2640-client-verify-frontmatter": act_on_skills,
    "sep-2640-client-verify-size": act_on_skills,
    "sse-retry": call_reconnecting,
    "tools_call": call_add,
}


async def main() -> int:
    scenario = SCENARIOS.get(SCENARIO)
    if scenario is None and SCENARIO.startswith("auth/"):
        scenario = call_first_tool
    if scenario is None:
        print(f"expected the name of a scenario in MCP_CONFORMANCE_SCENARIO, got {SCENARIO!r}")
        return 2
    try:
        await scenario()
    except (PeerError, RpcError) as error:
        print(f"{SCENARIO}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
