"""Agents of other frameworks, at work through Bailiwick.

`connect` says how a governed MCP server is reached and `Refusal` reads what the gateway refuses; neither imports a
framework. The adapters are `bailiwick.langgraph`, `bailiwick.openai_agents` and `bailiwick.pydantic_ai`.

Nothing here decides: the gateway does, call by call, outside of the agent's process.
"""

from .refusal import OnHold, Refusal
from .server import Server, configured, connect

__all__ = ["OnHold", "Refusal", "Server", "configured", "connect"]
