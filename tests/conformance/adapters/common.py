"""What the three drivers share: the examples of the README, somebody who approves, and where things are.

The working folder holds the agent's files and `bob.toml`, the profile of a second person; `bailiwick` is in the path.
"""

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path

README = Path(__file__).parents[3] / "sdk/python/README.md"
URL = "http://127.0.0.1:8181/mcp/support-desk"
PROMPT = "Read orders A-1001 and A-1002, then rebuild the index."

HELD = "This call waits for approval.\nWhy: rebuilding the index waits for finance (held)\nNext: "

ORDER = ("get_order", {"order_id": "A-1001"})
SEALED = ("get_order", {"order_id": "A-1002"})
REINDEX = ("reindex_search", {"seconds": 1})
WAITING = ("reindex_search", {"seconds": 60})
"""Held, too, and never answered."""
DENIED = ("reindex_search", {"seconds": 59})
"""Held, and denied then."""
NOT_NOW = "This call was refused.\nWhy: the approver said no to exactly this: not now (forbidden)\nNext: "
MORE = ("get_order", {"order_id": "A-1001", "and_then": "refund it"})
"""With an argument that the tool does not have."""


def server():
    import bailiwick

    return bailiwick.connect(os.environ["DESK_URL"], agent="bot.json", agent_key="bot.pem", token="task.token")


def example(heading, answer):
    """The example under a heading, as it stands there, at our address; `answer` is asked instead of a person."""
    text = README.read_text().partition(f"\n## {heading}\n")[2]
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    assert code.count(URL) == 1
    names = {"input": answer}
    exec(compile(code.replace(URL, os.environ["DESK_URL"]), heading, "exec"), names)
    return names["work"]


def approve(asked):
    """Bob does what a line `bailiwick approve ID  # …` says, or approves what has an id."""
    bob("approve", asked.split()[2] if " " in asked else asked)


def deny(approval):
    bob("deny", approval, "--reason", "not now")


def bob(*command):
    run(*command, "--yes", "--profile", "bob.toml")


def stop():
    """Olivia stops the agent; nobody resumes it."""
    run("stop", "agent:support-bot", "--reason", "looks wrong", "--profile", "olivia.toml")
    return ORDER


def run(*command):
    ran = subprocess.run(["bailiwick", *command], capture_output=True, text=True)
    assert ran.returncode == 0, ran


def flat(output):
    """The text of what a framework makes of a tool's result."""
    if isinstance(output, list):
        return "\n".join(part["text"] for part in output)
    return output if isinstance(output, str) else json.dumps(output)


def check(order, sealed, reindex, last):
    """What the model read of its three calls, and what it said at the end."""
    assert "Desk lamp" in order, order
    words = "This call was refused.\nWhy: order A-1002 is under investigation (forbidden)\nNext: "
    assert sealed.startswith(words), sealed
    assert "orders" in reindex, reindex
    assert last == "done", last


async def every_form_of_a_refusal_is_read():
    """As the SDK that is installed has it, 1.x or 2.x, and as JSON."""
    from mcp import types
    from mcp.shared import exceptions

    from bailiwick import Refusal

    facts = {"code": "held", "verdict": "hold", "reason": "why", "next": "wait", "retryable": True, "action": "a"}
    facts |= {"approval": "b", "policies": ["p"], "later": 1}
    meta = {"bailiwick/refusal": facts}
    result = {"content": [{"type": "text", "text": "words"}], "isError": True, "_meta": meta}
    error = {"code": 403, "message": "words", "data": meta}
    raised = getattr(exceptions, "McpError", None)
    raised = raised(types.ErrorData(**error)) if raised else exceptions.MCPError(**error)
    forms = [result, error, {"result": result}, {"error": error}, raised]
    forms += [types.CallToolResult.model_validate(result), types.ErrorData(**error)]
    wanted = Refusal("words", "held", "hold", "why", "wait", True, "a", "b", ("p",))
    for form in forms:
        assert Refusal.of(form) == wanted, form
        assert wanted.waits and not wanted.correctable

    for odd in (None, "no", {}, {**facts, "verdict": "permit"}, {**facts, "verdict": ["hold"]}, {**facts, "code": 7}):
        refusal = Refusal.of({**result, "_meta": {"bailiwick/refusal": odd}})
        assert (refusal.verdict, refusal.code, refusal.retryable) == ("deny", "unreadable", False), odd
    said = Refusal.of({"_meta": meta}).words
    assert said == "This call waits for approval.\nWhy: why (held)\nNext: wait\nApproval: b", said
    for other in (None, {}, {"result": {"content": []}}, {"error": {"code": 1}}, ValueError("x"), "text"):
        assert Refusal.of(other) is None, other


async def a_server_is_named_or_read_from_a_configuration():
    import bailiwick

    named = server()
    print_entry = [named.command, "agent", "connect-config", *named.args[1:]]
    entry = subprocess.run(print_entry, capture_output=True, check=True).stdout
    Path("mcp.json").write_bytes(entry)
    (read,) = bailiwick.configured("mcp.json")
    assert (read.name, read.args, read.env) == ("support-desk", named.args, {}) and named.name == read.name, read
    assert "secret" not in repr(bailiwick.Server("a", "b", (), {"KEY": "secret"}))

    files = {"agent": "bot.json", "agent_key": "bot.pem", "token": "task.token"}
    for url in ("http://127.0.0.1:8181", "http://127.0.0.1:8181/mcp/", "http://127.0.0.1:8181/x/mcp/a", "mcp/a"):
        refused(ValueError, url, lambda url=url: bailiwick.connect(url, **files))
    for name in ("agent", "agent_key"):
        refused(FileNotFoundError, "nowhere", lambda name=name: bailiwick.connect(URL, **{**files, name: "nowhere"}))
    refused(FileNotFoundError, "no-such", lambda: bailiwick.connect(URL, **files, program="no-such"))
    for text in ("[]", "{}", '{"mcpServers": {"a": {"url": "http://127.0.0.1"}}}', '{"mcpServers": [1]}', "{"):
        Path("mcp.json").write_text(text)
        refused(ValueError, "", lambda: bailiwick.configured("mcp.json"))


def refused(kind, why, act):
    try:
        act()
    except kind as error:
        assert why in str(error), error
    else:
        raise AssertionError(why)


def main(*scenes):
    for scene in (every_form_of_a_refusal_is_read, a_server_is_named_or_read_from_a_configuration, *scenes):
        asyncio.run(scene())
        print(json.dumps({"passed": scene.__name__}), flush=True)
