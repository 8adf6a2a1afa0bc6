// The bench's tools on the official TypeScript SDK, in its fastest documented set-up: JSON answers,
// and for legacy clients one server per session beside the per-request handler.
//
// Packages come from the folder named by BENCH_NODE, so that this file need not live beside them.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const packages = createRequire(join(process.env.BENCH_NODE, 'package.json'));
const load = (name) => import(pathToFileURL(packages.resolve(name)).href);
const { McpServer, ResourceTemplate, createMcpHandler } = await load('@modelcontextprotocol/server');
const zodModule = await load('zod');
const z = zodModule.z ?? zodModule.default.z;

const option = (name, otherwise) => {
    const at = process.argv.indexOf(name);
    return at < 0 ? otherwise : Number(process.argv[at + 1]);
};
const port = option('--http', undefined);
const tools = option('--tools', 2);

const text = (value) => ({ content: [{ type: 'text', text: value }] });

// Schemas are made once: the handler below builds a server for every modern request.
const echoInput = z.object({ text: z.string() });
const addInput = z.object({ a: z.number().int(), b: z.number().int() });
const addOutput = z.object({ sum: z.number().int() });
const extraInput = z.object({ text: z.string(), count: z.number().int().default(1) });
const askInput = z.object({ topic: z.string() });
const template = () => new ResourceTemplate('greeting://{name}', { list: undefined });

function build() {
    const server = new McpServer({ name: 'bench', version: '1.0.0' });
    server.registerTool(
        'echo',
        { description: 'Return the text unchanged. Call it to see whether the server answers.', inputSchema: echoInput },
        async (args) => text(args.text)
    );
    server.registerTool(
        'add',
        { description: 'Add two whole numbers. Call it when a sum is wanted as data.', inputSchema: addInput, outputSchema: addOutput },
        async ({ a, b }) => ({ ...text(JSON.stringify({ sum: a + b })), structuredContent: { sum: a + b } })
    );
    for (let number = 0; number < tools - 2; number++) {
        server.registerTool(
            `extra_${String(number).padStart(3, '0')}`,
            { description: 'Repeat a text. One of many tools that make the list long.', inputSchema: extraInput },
            async (args) => text(args.text.repeat(args.count))
        );
    }
    server.registerResource('greet', template(), { description: 'A greeting for a name.' }, async (uri, { name }) => ({
        contents: [{ uri: uri.href, text: `Hello, ${name}!` }]
    }));
    server.registerPrompt('ask', { description: 'Ask about a topic.', argsSchema: askInput }, async ({ topic }) => ({
        messages: [{ role: 'user', content: { type: 'text', text: `Tell me about ${topic}.` } }]
    }));
    return server;
}

if (port === undefined) {
    const { serveStdio } = await load('@modelcontextprotocol/server/stdio');
    serveStdio(build);
} else {
    const { NodeStreamableHTTPServerTransport, toNodeHandler } = await load('@modelcontextprotocol/node');
    const modern = toNodeHandler(createMcpHandler(build, { legacy: 'reject', responseMode: 'json' }));
    const sessions = new Map();

    async function legacy(request, response) {
        const known = sessions.get(request.headers['mcp-session-id']);
        if (known !== undefined) return known.handleRequest(request, response);
        const transport = new NodeStreamableHTTPServerTransport({
            sessionIdGenerator: randomUUID,
            enableJsonResponse: true,
            onsessioninitialized: (id) => sessions.set(id, transport)
        });
        await build().connect(transport);
        return transport.handleRequest(request, response);
    }

    // Only modern requests carry Mcp-Method.
    createServer((request, response) =>
        request.headers['mcp-method'] === undefined ? legacy(request, response) : modern(request, response)
    ).listen(port, '127.0.0.1');
}
