// The official TypeScript SDK as a client, either line of it (1.x, 2.x).
//
//     node sdk.mjs LINE stdio CONFIG           starts the one server of a configuration with `mcpServers`
//     node sdk.mjs LINE http URL PASSWORD      speaks Streamable HTTP with a bearer token
//
// LINE is `1` or `2`; the packages are found from the folder in MODULES. Prints one JSON object for each way of agreeing
// on a revision: what was agreed, the tools, and how three calls ended.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [line, transport, ...rest] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${process.env.MODULES}/package.json`));
const load = (name) => import(pathToFileURL(require.resolve(name)));

const names =
  line === "1"
    ? ["@modelcontextprotocol/sdk/client/index.js", "@modelcontextprotocol/sdk/client/stdio.js", "@modelcontextprotocol/sdk/client/streamableHttp.js"]
    : ["@modelcontextprotocol/client", "@modelcontextprotocol/client/stdio", "@modelcontextprotocol/client"];
const [{ Client }, { StdioClientTransport }, { StreamableHTTPClientTransport }] = await Promise.all(names.map(load));

function connected() {
  if (transport === "stdio") {
    const [server] = Object.values(JSON.parse(readFileSync(rest[0], "utf8")).mcpServers);
    return new StdioClientTransport({ ...server, stderr: "inherit" });
  }
  const headers = { Authorization: `Bearer ${rest[1]}` };
  return new StreamableHTTPClientTransport(new URL(rest[0]), { requestInit: { headers } });
}

for (const mode of line === "1" ? [undefined] : ["legacy", "auto"]) {
  const options = mode ? { versionNegotiation: { mode } } : {};
  const client = new Client({ name: "sdk.mjs", version: "1" }, options);
  const wire = connected();
  // The older line tells nobody but its transport what was agreed.
  let agreed = null;
  const told = wire.setProtocolVersion?.bind(wire);
  wire.setProtocolVersion = (version) => (told?.(version), (agreed = version));
  await client.connect(wire);
  const { tools } = await client.listTools();
  const call = (name, args, more) =>
    line === "1" ? client.callTool({ name, arguments: args }, undefined, more) : client.callTool({ name, arguments: args }, more);
  const order = await call("get_order", { order_id: "A-1001" });
  const refused = await call("export_customers", {});
  let progress = 0;
  const work = await call("reindex_search", { seconds: 1 }, { onprogress: () => (progress += 1) });
  console.log(
    JSON.stringify({
      line,
      revision: client.getNegotiatedProtocolVersion?.() ?? agreed,
      tools: tools.map((tool) => tool.name).sort(),
      order: order.structuredContent,
      export_refused: refused.isError,
      export_said: refused.content[0].text,
      work_failed: work.isError ?? false,
      progress,
    }),
  );
  await client.close();
}
