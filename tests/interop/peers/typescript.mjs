// The official TypeScript client: everything the fixture server offers.
//
// Usage: node typescript.mjs 1|auto|legacy|REVISION PREFIX URL|COMMAND [ARGUMENT...]; 1 is the 1.x
// package, the rest are modes of 2.x. PREFIX is the gateway's name for the server, or "".
// PACKAGES names the folder whose node_modules has both packages.

import { createRequire } from "node:module";
import { isDeepStrictEqual, inspect } from "node:util";

const require = createRequire(`${process.env.PACKAGES}/package.json`);
const [mode, prefix, ...target] = process.argv.slice(2);
const tool = prefix ? `${prefix}__` : "";
const uri = prefix ? `${prefix}+` : "";

function equal(what, got, expected) {
    if (!isDeepStrictEqual(got, expected)) {
        console.error(`${what}: expected ${inspect(expected)}, got ${inspect(got)}`);
        process.exit(1);
    }
}

function load() {
    if (mode !== "1") {
        return {
            ...require("@modelcontextprotocol/client"),
            ...require("@modelcontextprotocol/client/stdio"),
        };
    }
    return {
        ...require("@modelcontextprotocol/sdk/client/index.js"),
        ...require("@modelcontextprotocol/sdk/client/stdio.js"),
        ...require("@modelcontextprotocol/sdk/client/streamableHttp.js"),
    };
}

const { Client, StdioClientTransport, StreamableHTTPClientTransport } = load();
const modern = mode === "auto" || mode.startsWith("20");
const negotiation = mode.startsWith("20") ? { pin: mode } : mode;
const client = new Client(
    { name: "interop", version: "1.0.0" },
    mode === "1" ? {} : { versionNegotiation: { mode: negotiation } },
);
const [command, ...args] = target;
const transport = command.startsWith("http")
    ? new StreamableHTTPClientTransport(new URL(command))
    : new StdioClientTransport({ command, args });

await client.connect(transport);
if (mode !== "1") {
    equal("revision", client.getNegotiatedProtocolVersion(), modern ? "2026-07-28" : "2025-11-25");
}

const { tools } = await client.listTools();
equal("tools", tools.map((one) => one.name).sort(), ["add", "echo", "slow"].map((n) => tool + n));
const said = await client.callTool({ name: `${tool}echo`, arguments: { text: "héllo" } });
equal("echo", said.content.map((block) => block.text), ["héllo"]);
const added = await client.callTool({ name: `${tool}add`, arguments: { a: 2, b: 3 } });
equal("add", added.structuredContent, { total: 5 });

// This client forgets a call's progress handler as soon as it has read the result, and tells it of
// progress only after that when both come in one read: a pause that a busy machine swallowed is made
// longer. What is heard is in order each time, and all of it is heard once.
const steps = [1, 2, 3].map((step) => [step, 3, `step ${step}`]);
for (let pause = 0.01, heard = []; heard.length < steps.length; pause *= 4) {
    heard = [];
    const onprogress = ({ progress, total, message }) => heard.push([progress, total, message]);
    const call = { name: `${tool}slow`, arguments: { steps: 3, pause } };
    const walked =
        mode === "1"
            ? await client.callTool(call, undefined, { onprogress })
            : await client.callTool(call, { onprogress });
    equal("slow", walked.content.map((block) => block.text), ["3 steps"]);
    equal("progress", heard, pause < 1 ? steps.slice(0, heard.length) : steps);
}

const { resources } = await client.listResources();
equal("resources", resources.map((one) => one.uri), [`${uri}note://welcome`]);
const note = await client.readResource({ uri: `${uri}note://welcome` });
equal("read", note.contents.map((part) => part.text), ["Welcome aboard."]);
const { resourceTemplates } = await client.listResourceTemplates();
equal("templates", resourceTemplates.map((one) => one.uriTemplate), [`${uri}greeting://{name}`]);
const greeting = await client.readResource({ uri: `${uri}greeting://ada` });
equal("read by template", greeting.contents.map((part) => part.text), ["Hello, ada!"]);

const { prompts } = await client.listPrompts();
equal("prompts", prompts.map((one) => one.name).sort(), ["ask", "review"].map((n) => tool + n));
const asked = await client.getPrompt({ name: `${tool}ask`, arguments: { topic: "time" } });
equal("prompt", asked.messages.map((message) => message.content.text), ["What is time?"]);

await client.close();
