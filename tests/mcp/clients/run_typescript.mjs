// The TypeScript client: `node run_typescript.mjs PACKAGES GENERATION TRANSPORT TARGET`.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [packages, generation, transport, given] = process.argv.slice(2);
const target = JSON.parse(given);
const require = createRequire(`${packages}/package.json`);
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const modules =
  generation === "1"
    ? ["client/index.js", "client/stdio.js", "client/streamableHttp.js", "client/sse.js"].map(
        (name) => `@modelcontextprotocol/sdk/${name}`,
      )
    : ["@modelcontextprotocol/client", "@modelcontextprotocol/client/stdio"];
const sdk = Object.assign({}, ...(await Promise.all(modules.map(load))));

const reached =
  transport === "stdio"
    ? new sdk.StdioClientTransport(target)
    : transport === "http"
      ? new sdk.StreamableHTTPClientTransport(new URL(target.url))
      : new sdk.SSEClientTransport(new URL(target.url));
const client = new sdk.Client({ name: "matrix", version: "1" });
await client.connect(reached);
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const run = await client.callTool({
  name: "sandbox_execute",
  arguments: { code: "print(6 * 7)" },
});
console.log(JSON.stringify({ tools, stdout: run.structuredContent.stdout }));
await client.close();
process.exit(0);
