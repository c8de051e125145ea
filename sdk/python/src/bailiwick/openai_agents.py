"""A governed MCP server for an agent of the OpenAI Agents SDK: `Agent(mcp_servers=[GovernedServer(...)])`.

A refusal is the tool's output, in words that the model can act on. A call that waits for a person interrupts the run as
the SDK's own tool approvals do: `result.interruptions`, `result.to_state()`, `state.approve(item)`, run again.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from agents import AgentBase, RunContextWrapper, ToolApprovalItem
from agents.mcp import MCPServerStdio, MCPServerStdioParams, MCPToolMetaContext
from mcp.types import CallToolResult
from mcp.types import Tool as MCPTool

from .refusal import OnHold, Refusal, no_tools
from .server import PATIENCE_SECONDS, Server

__all__ = ["GovernedServer"]

NeedsApproval = Callable[[RunContextWrapper[Any], dict[str, Any], str], Awaitable[bool]]

CALL = "bailiwick/call"
"""Names a call between the SDK and this object; it goes no further."""


class GovernedServer(MCPServerStdio):
    """One server behind the gateway, for one agent.

    Only an attempt tells whether a call waits for a person, and the SDK interrupts a run only before it invokes a tool.
    So with `on_hold="pause"` the call is attempted where the SDK asks whether it needs an approval: what is permitted is
    done then, once, and its result handed over at the invocation; what is held has done nothing, and is attempted again
    unchanged after `state.approve(item)`. That is no approval: a person gives it at Bailiwick, and a call that is still
    held is then told to the model. `on_tool_start` of hooks comes after the attempt, and `tool_input_guardrails` of the
    server would, too, so they are refused.

    Other options are those of `MCPServerStdio`.
    """

    def __init__(self, server: Server, *, on_hold: OnHold = "pause", **options: Any) -> None:
        pauses = on_hold == "pause"
        for name in ("tool_input_guardrails", "tool_meta_resolver"):
            if pauses and options.get(name):
                raise ValueError(f'`{name}` goes with `on_hold="tell"` only: a call is attempted before it would be asked')
        if pauses:
            options["tool_meta_resolver"] = _name_call
        options.setdefault("client_session_timeout_seconds", PATIENCE_SECONDS)
        program = MCPServerStdioParams(command=server.command, args=list(server.args), env=dict(server.env))
        super().__init__(program, name=server.name, **options)
        self._pauses = pauses
        self._made: dict[str, tuple[str, CallToolResult | Exception]] = {}
        self._held: dict[str, Refusal] = {}

    def refusal(self, item: ToolApprovalItem) -> Refusal | None:
        """Why a call that has not gone on yet is held, with the id of the approval; `None` if this object held none."""
        return self._held.get(item.call_id or "")

    async def list_tools(
        self, run_context: RunContextWrapper[Any] | None = None, agent: AgentBase | None = None
    ) -> list[MCPTool]:
        """What the agent may use now."""
        try:
            return await super().list_tools(run_context, agent)
        except Exception as error:
            no_tools(error)
            return []

    async def call_tool(
        self, tool_name: str, arguments: dict[str, Any] | None, meta: dict[str, Any] | None = None
    ) -> CallToolResult:
        """Hands over what was done already, or makes the call."""
        meta = dict(meta or {})
        call_id = str(meta.pop(CALL, ""))
        what, outcome = self._made.pop(call_id, (None, None))
        self._held.pop(call_id, None)
        if outcome is None or what != _what(tool_name, arguments):
            return await super().call_tool(tool_name, arguments, meta or None)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def cleanup(self) -> None:
        self._made.clear()
        self._held.clear()
        await super().cleanup()  # type: ignore[no-untyped-call]

    def _get_needs_approval_for_tool(self, tool: MCPTool, agent: AgentBase | None) -> bool | NeedsApproval:
        local = super()._get_needs_approval_for_tool(tool, agent)
        if not self._pauses or local is True:
            return local

        async def needs_approval(context: RunContextWrapper[Any], arguments: dict[str, Any], call_id: str) -> bool:
            if callable(local) and await local(context, arguments, call_id):
                return True
            outcome: CallToolResult | Exception
            try:
                outcome = await super(GovernedServer, self).call_tool(tool.name, arguments)
            except Exception as error:  # told at the invocation, where the SDK makes words of it
                outcome = error
            refusal = Refusal.of(outcome)
            if refusal is not None and refusal.waits:
                self._held[call_id] = refusal
                return True
            self._made[call_id] = (_what(tool.name, arguments), outcome)
            return False

        return needs_approval


def _name_call(context: MCPToolMetaContext) -> dict[str, Any] | None:
    call_id = getattr(context.run_context, "tool_call_id", None)
    return None if call_id is None else {CALL: call_id}


def _what(tool: str, arguments: dict[str, Any] | None) -> str:
    return json.dumps([tool, arguments or {}], sort_keys=True)
