"""The official Python SDK as a client, either line of it (1.x, 2.x).

    sdk.py stdio CONFIG           starts the one server of a configuration with `mcpServers`
    sdk.py http URL PASSWORD      speaks Streamable HTTP with a bearer token

Prints one JSON object for each way of agreeing on a revision: what was agreed, the tools, and how three calls ended.
"""

import asyncio
import importlib.metadata
import json
import sys

SDK = importlib.metadata.version("mcp")
NEW = not SDK.startswith("1.")


async def use(call, tools, version):
    """Three calls: one that is permitted, one that is refused, one that reports its progress."""
    reported = []

    async def progress(done, total, message=None):
        reported.append(done)

    order = await call("get_order", {"order_id": "A-1001"})
    export = await call("export_customers", {})
    work = await call("reindex_search", {"seconds": 1}, progress_callback=progress)
    old = {"structured_content": "structuredContent", "is_error": "isError"}
    of = lambda result, name: getattr(result, name if NEW else old[name])  # noqa: E731
    print(
        json.dumps(
            {
                "sdk": SDK,
                "revision": version,
                "tools": sorted(tools),
                "order": of(order, "structured_content"),
                "export_refused": of(export, "is_error"),
                "export_said": export.content[0].text,
                "work_failed": of(work, "is_error"),
                "progress": len(reported),
            }
        ),
        flush=True,
    )


async def old_client(streams):
    from mcp import ClientSession

    async with streams as (read, write, *_), ClientSession(read, write) as session:
        agreed = await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        await use(session.call_tool, tools, agreed.protocolVersion)


async def new_client(streams, mode):
    from mcp import Client

    async with Client(streams, mode=mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        await use(client.call_tool, tools, client.protocol_version)


async def stdio(config):
    from mcp.client.stdio import StdioServerParameters, stdio_client

    with open(config) as file:
        (server,) = json.load(file)["mcpServers"].values()
    streams = lambda: stdio_client(StdioServerParameters(**server))  # noqa: E731
    if not NEW:
        return await old_client(streams())
    for mode in ("legacy", "auto"):
        await new_client(streams(), mode)


async def http(url, password):
    headers = {"Authorization": f"Bearer {password}"}
    if not NEW:
        from mcp.client.streamable_http import streamablehttp_client

        return await old_client(streamablehttp_client(url, headers=headers))
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    for mode in ("legacy", "auto"):
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http_client:
            await new_client(streamable_http_client(url, http_client=http_client), mode)


asyncio.run({"stdio": stdio, "http": http}[sys.argv[1]](*sys.argv[2:]))
