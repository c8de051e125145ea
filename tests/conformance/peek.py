"""An MCP server by the official Python SDK that tries whatever it is told to, for tests of the fence around programs."""

import os
import signal

import anyio
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("peek")


def tried(attempt):
    """What came of it, in words that the test reads."""
    try:
        return attempt()
    except OSError as error:
        return f"cannot: {error.strerror}"


@server.tool()
def peek(path: str) -> str:
    """Reads a file."""
    return tried(lambda: f"read {len(open(path, 'rb').read())} bytes")


@server.tool()
def leave(path: str) -> str:
    """Writes a file."""
    return tried(lambda: f"written {open(path, 'w').write('I was here')}")


@server.tool()
def end(pid: int) -> str:
    """Asks a process to end; 0 is this one."""
    return tried(lambda: f"sent {os.kill(pid or os.getpid(), signal.SIGKILL)}")


@server.tool()
def around(name: str) -> str:
    """Tells a variable of the environment."""
    return os.environ.get(name, "not set")


@server.tool()
async def work(seconds: int, context: Context) -> str:
    """Takes its time, and leaves a mark where it begins and where it is told to let go."""
    await context.report_progress(0, 1)
    mark("begun")
    try:
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        mark("cut")
        raise
    return "through"


def mark(name):
    with open(os.path.join(os.environ["MARKS"], name), "w"):
        pass


server.run(transport="stdio")
