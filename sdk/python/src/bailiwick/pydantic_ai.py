"""A governed MCP server as a toolset of a PydanticAI agent: `Agent(toolsets=[GovernedToolset(...)])`.

A refusal is a failed tool return (`ToolFailed`) in words that the model can act on, and a `ModelRetry` only where to try
again is of use. A call that waits for a person is one of the run's `DeferredToolRequests`, with its refusal in
`metadata`; to approve it there is to make exactly that call again.
"""

from __future__ import annotations

from typing import Any

from fastmcp.client import Client
from fastmcp.client.transports import StdioTransport
from mcp.types import CallToolResult, Tool
from pydantic_ai import ApprovalRequired, ModelRetry
from pydantic_ai.exceptions import ToolFailed
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.tools import AgentDepsT

from .refusal import OnHold, Refusal, no_tools
from .server import PATIENCE_SECONDS, Server

__all__ = ["GovernedToolset"]


class GovernedToolset(MCPToolset[AgentDepsT]):
    """One server behind the gateway, for one agent, whose `output_type` has `DeferredToolRequests`.

    `DeferredToolResults` are no approval: a person gives it at Bailiwick, and a call that is still held is deferred
    again. Other options are those of `MCPToolset` that go with a client.
    """

    def __init__(self, server: Server, *, on_hold: OnHold = "pause", **options: Any) -> None:
        # What an agent may use changes while it works, and nobody would tell a list that is kept.
        options.setdefault("cache_tools", False)
        options.setdefault("id", server.name)
        transport = StdioTransport(server.command, list(server.args), dict(server.env), keep_alive=False)
        super().__init__(_Client(transport, on_hold), **options)


class _Client(Client[StdioTransport]):
    def __init__(self, transport: StdioTransport, on_hold: OnHold) -> None:
        super().__init__(transport, timeout=PATIENCE_SECONDS)
        self._on_hold = on_hold

    async def list_tools(self, *more: Any, **options: Any) -> list[Tool]:
        try:
            return await super().list_tools(*more, **options)
        except Exception as error:
            no_tools(error)
            return []

    async def call_tool_mcp(self, name: str, arguments: dict[str, Any], *more: Any, **options: Any) -> CallToolResult:
        try:
            result = await super().call_tool_mcp(name, arguments, *more, **options)
        except Exception as error:
            refusal = Refusal.of(error)
            if refusal is None:
                raise
            raise self._told(refusal) from error
        refusal = Refusal.of(result)
        if refusal is not None:
            raise self._told(refusal)
        return result

    def _told(self, refusal: Refusal) -> Exception:
        if refusal.waits:
            if self._on_hold == "pause":
                return ApprovalRequired({"approval": refusal.approval, "refusal": refusal.as_dict()})
            return ToolFailed(refusal.words)
        if refusal.retryable or refusal.correctable:
            return ModelRetry(refusal.words)
        return ToolFailed(refusal.words)
