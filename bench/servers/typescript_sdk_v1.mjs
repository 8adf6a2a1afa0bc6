// The bench's tools on version 1 of the official TypeScript SDK, in its fastest documented set-up:
// a server per session, JSON answers.
//
// Packages come from the folder named by BENCH_NODE, so that this file need not live beside them.

import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const packages = createRequire(join(process.env.BENCH_NODE, 'package.json'));
const load = (name) => import(pathToFileURL(packages.resolve(name)).href);
const { McpServer, ResourceTemplate } = await load('@modelcontextprotocol/sdk/server/mcp.js');
const zodModule = await load('zod');
const z = zodModule.z ?? zodModule.default.z;

const option = (name, otherwise) => {
    const at = process.argv.indexOf(name);
    return at < 0 ? otherwise : Number(process.argv[at + 1]);
};
const port = option('--http', undefined);
const tools = option('--tools', 2);

const text = (value) => ({ content: [{ type: 'text', text: value }] });

function build() {
    const server = new McpServer({ name: 'bench', version: '1.0.0' });
    server.registerTool(
        'echo',
        {
            description: 'Return the text unchanged. Call it to see whether the server answers.',
            inputSchema: { text: z.string() }
        },
        async (args) => text(args.text)
    );
    server.registerTool(
        'add',
        {
            description: 'Add two whole numbers. Call it when a sum is wanted as data.',
            inputSchema: { a: z.number().int(), b: z.number().int() },
            outputSchema: { sum: z.number().int() }
        },
        async ({ a, b }) => ({ ...text(JSON.stringify({ sum: a + b })), structuredContent: { sum: a + b } })
    );
    for (let number = 0; number < tools - 2; number++) {
        server.registerTool(
            `extra_${String(number).padStart(3, '0')}`,
            {
                description: 'Repeat a text. One of many tools that make the list long.',
                inputSchema: { text: z.string(), count: z.number().int().default(1) }
            },
            async (args) => text(args.text.repeat(args.count))
        );
    }
    const template = new ResourceTemplate('greeting://{name}', { list: undefined });
    server.registerResource('greet', template, { description: 'A greeting for a name.' }, async (uri, { name }) => ({
        contents: [{ uri: uri.href, text: `Hello, ${name}!` }]
    }));
    server.registerPrompt('ask', { description: 'Ask about a topic.', argsSchema: { topic: z.string() } }, async ({ topic }) => ({
        messages: [{ role: 'user', content: { type: 'text', text: `Tell me about ${topic}.` } }]
    }));
    return server;
}

if (port === undefined) {
    const { StdioServerTransport } = await load('@modelcontextprotocol/sdk/server/stdio.js');
    await build().connect(new StdioServerTransport());
} else {
    const { StreamableHTTPServerTransport } = await load('@modelcontextprotocol/sdk/server/streamableHttp.js');
    const sessions = new Map();

    createServer(async (request, response) => {
        const known = sessions.get(request.headers['mcp-session-id']);
        if (known !== undefined) return known.handleRequest(request, response);
        const transport = new StreamableHTTPServerTransport({
            sessionIdGenerator: randomUUID,
            enableJsonResponse: true,
            onsessioninitialized: (id) => sessions.set(id, transport)
        });
        await build().connect(transport);
        return transport.handleRequest(request, response);
    }).listen(port, '127.0.0.1');
}
