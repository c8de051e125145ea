"""Governed MCP servers as tools of a LangGraph agent.

A refusal is the tool's message, with status `error`, in words that the model can act on. A call that waits for a person
pauses the graph by LangGraph's own `interrupt`; to resume is to make exactly that call again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.interceptors import MCPToolCallRequest, MCPToolCallResult, ToolCallInterceptor
from langchain_mcp_adapters.sessions import StdioConnection, create_session
from langchain_mcp_adapters.tools import load_mcp_tools
from langgraph.types import interrupt

from .refusal import MEMBER, OnHold, Refusal
from .server import PATIENCE_SECONDS, Server

__all__ = ["connection", "governed_tools", "refusals"]

Handler = Callable[[MCPToolCallRequest], Awaitable[MCPToolCallResult]]


@asynccontextmanager
async def governed_tools(
    *servers: Server,
    on_hold: OnHold = "pause",
    tool_name_prefix: bool = False,
    callbacks: Callbacks | None = None,
) -> AsyncIterator[list[BaseTool]]:
    """The tools that the agent may use at these servers, as long as the block runs: one session with each server."""
    async with AsyncExitStack() as stack:
        tools: list[BaseTool] = []
        for server in servers:
            session = await stack.enter_async_context(create_session(connection(server)))
            await session.initialize()
            tools += await load_mcp_tools(
                session,
                server_name=server.name,
                tool_interceptors=[refusals(on_hold)],
                tool_name_prefix=tool_name_prefix,
                callbacks=callbacks,
            )
        yield tools


def connection(server: Server) -> StdioConnection:
    """For a `MultiServerMCPClient` of your own; give it `tool_interceptors=[refusals()]`, too."""
    patience = {"read_timeout_seconds": timedelta(seconds=PATIENCE_SECONDS)}
    return StdioConnection(
        transport="stdio",
        command=server.command,
        args=list(server.args),
        env=dict(server.env),
        session_kwargs=patience,
    )


def refusals(on_hold: OnHold = "pause") -> ToolCallInterceptor:
    """Turns the gateway's refusals into messages and interrupts.

    The value of an interrupt has the form of LangChain's `HITLRequest`, with `approval` (its id) and `refusal` beside.
    Resume with anything once a person has answered at Bailiwick: an agent's side cannot approve. Too early a resume is
    interrupted again. Resume with `False` or a decision to `reject`, and the model is told that the call waits.
    """

    async def intercept(request: MCPToolCallRequest, handler: Handler) -> MCPToolCallResult:
        try:
            result = await handler(request)
            refusal = Refusal.of(result)
        except Exception as error:
            refusal = Refusal.of(error)
            if refusal is None:
                raise
        if refusal is None:
            return result
        if on_hold == "pause" and refusal.waits and request.runtime is not None:
            # On every resume LangGraph runs this again from its start, so that the call above is the call again. To get
            # here is to be held still: what was resumed before is answered at once, and what follows pauses.
            while not _rejects(interrupt(_question(request, refusal))):
                pass
        return ToolMessage(
            refusal.words,
            name=request.name,
            status="error",
            tool_call_id=getattr(request.runtime, "tool_call_id", None) or "",
            artifact={MEMBER: refusal.as_dict()},
        )

    return intercept


def _question(request: MCPToolCallRequest, refusal: Refusal) -> dict[str, Any]:
    action = {"name": request.name, "args": request.args, "description": refusal.words}
    review = {"action_name": request.name, "allowed_decisions": ["approve", "reject"]}
    facts = {"approval": refusal.approval, "refusal": refusal.as_dict()}
    return {"action_requests": [action], "review_configs": [review], **facts}


def _rejects(answer: object) -> bool:
    if isinstance(answer, Mapping):
        decisions = answer.get("decisions") or [answer]
        return any(isinstance(decision, Mapping) and decision.get("type") == "reject" for decision in decisions)
    return answer is False
