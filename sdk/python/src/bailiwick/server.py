"""How a governed MCP server is reached: through `bailiwick connect`, which holds the agent's key and proves it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE_SECONDS = 150.0
"""How long a call may take. The gateway ends every call after two minutes; an answer that comes before is never missed."""


@dataclass(frozen=True)
class Server:
    """A governed server, as a program that speaks MCP on stdin and stdout."""

    name: str
    command: str
    args: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Beside the few variables that MCP clients pass on to programs."""


def connect(
    url: str,
    *,
    agent: str | os.PathLike[str],
    agent_key: str | os.PathLike[str],
    token: str | os.PathLike[str],
    program: str | os.PathLike[str] = "bailiwick",
    env: Mapping[str, str] | None = None,
) -> Server:
    """A server behind the gateway, for one agent.

    `url` is the gateway's URL for the server, `https://GATEWAY/mcp/SERVER`; `agent` the file that `bailiwick agent show
    NAME -o json` printed; `agent_key` its private key; `token` the file that `bailiwick task open --token-file` wrote,
    which is read again whenever a token is due. `env` is given to the program beside the few variables that MCP clients
    pass on.

    Raises `ValueError` for a URL that names no server, `FileNotFoundError` for a file or a program that is not there.
    """
    command = shutil.which(os.fspath(program))
    if command is None:
        raise FileNotFoundError(f"`{program}` is no program: install bailiwick, or say where it lies with `program`")
    files = [Path(agent), Path(agent_key)]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"`{file}` is no file: `bailiwick agent show NAME -o json` and `bailiwick key new` make them")
    whole = [os.path.abspath(path) for path in (*files, Path(token))]
    args = ("connect", url, "--agent", whole[0], "--agent-key", whole[1], "--token", whole[2])
    return Server(_name(url), os.path.abspath(command), args, env or {})


def configured(file: str | os.PathLike[str]) -> list[Server]:
    """The servers of a file with `mcpServers`, as `bailiwick agent connect-config` prints one.

    Raises `ValueError` for a file that says something else.
    """
    try:
        servers = json.loads(Path(file).read_text(encoding="utf-8"))["mcpServers"]
        return [
            Server(name, str(entry["command"]), tuple(map(str, entry["args"])), entry.get("env") or {})
            for name, entry in servers.items()
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"`{file}` names no programs under `mcpServers`") from error


def _name(url: str) -> str:
    parts = urlsplit(url)
    before, mcp, name = parts.path.rstrip("/").rpartition("/mcp/")
    if not parts.netloc or before or not mcp or "/" in name:
        like = "the gateway's URL for one is like `http://127.0.0.1:8181/mcp/support-desk`"
        raise ValueError(f"`{url}` names no server: {like}")
    return name
