"""The MCP server that the official conformance suite expects, by the official Python SDK: its tools, resources and prompts have the
names that the scenarios call, and do what each scenario says that they do. Speaks both revisions, over HTTP at a free port.

Prints its URL, and writes one line for each request of a client into the file `CALLS`, by method and name: what really arrived."""

import asyncio
import base64
import json
import os
import socket
from typing import Annotated

import uvicorn
from mcp import types
from mcp.server.mcpserver import Context, MCPServer, RequestStateSecurity
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.shared.exceptions import MCPError
from pydantic import Field, create_model

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
        "0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
    )
).decode()
WAV = base64.b64encode(
    b"RIFF$\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00@\x1f\x00\x00@\x1f\x00\x00\x01\x00\x08\x00data\x00\x00\x00\x00"
).decode()

server = MCPServer(name="fixture", version="1.0.0", request_state_security=RequestStateSecurity(keys=[os.urandom(32)]))


def text(words):
    return types.TextContent(type="text", text=words)


def image():
    return types.ImageContent(type="image", data=PNG, mime_type="image/png")


def embedded(uri, words, mime_type="text/plain"):
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return types.EmbeddedResource(type="resource", resource=contents)


def tool(function):
    """A tool needs a description; its name says enough here."""
    function.__doc__ = function.__doc__ or function.__name__.replace("_", " ")
    return server.tool()(function)


# Results of every kind.


@tool
def test_simple_text() -> str:
    return "This is a simple text response for testing."


@tool
def test_image_content() -> list[types.ImageContent]:
    return [image()]


@tool
def test_audio_content() -> list[types.AudioContent]:
    return [types.AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


@tool
def test_embedded_resource() -> list[types.EmbeddedResource]:
    return [embedded("test://embedded-resource", "This is an embedded resource content.")]


@tool
def test_multiple_content_types() -> list[types.TextContent | types.ImageContent | types.EmbeddedResource]:
    mixed = embedded("test://mixed-content-resource", '{"test":"data","value":123}', "application/json")
    return [text("Multiple content types test:"), image(), mixed]


@tool
def test_error_handling() -> str:
    raise RuntimeError("This tool intentionally returns an error for testing")


@tool
def test_denied() -> str:
    """Nobody is permitted to call this."""
    return "called"


@tool
async def test_tool_with_logging(context: Context) -> str:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.info(words)
        await asyncio.sleep(0.05)
    return "logged"


@tool
async def test_tool_with_progress(context: Context) -> str:
    for progress in (0, 50, 100):
        await context.report_progress(progress=progress, total=100, message=f"Completed step {progress} of 100")
        await asyncio.sleep(0.05)
    return "told"


@tool
async def test_reconnection(context: Context) -> str:
    await context.close_sse_stream()
    await asyncio.sleep(0.2)
    return "Reconnection test completed"


# What a server asks its client before 2026-07-28.


@tool
async def test_sampling(prompt: str, context: Context) -> str:
    messages = [types.SamplingMessage(role="user", content=text(prompt))]
    answer = await context.session.create_message(
        messages=messages, max_tokens=64, related_request_id=context.request_id
    )
    return f"LLM response: {getattr(answer.content, 'text', '')}"


async def elicit(context, message, schema, label):
    answer = await context.elicit(message=message, schema=schema)
    content = answer.data.model_dump_json() if answer.action == "accept" else "{}"
    return f"{label}: action={answer.action}, content={content}"


def choice(**more):
    return Field(json_schema_extra=more)


def titled(*pairs):
    return [{"const": value, "title": title} for value, title in pairs]


Answer = create_model("Answer", response=(str, Field(description="User's response")))
Defaults = create_model(
    "Defaults",
    name=(str, Field(default="John Doe")),
    age=(int, Field(default=30)),
    score=(float, Field(default=95.5)),
    status=(str, Field(default="active", json_schema_extra={"enum": ["active", "inactive", "pending"]})),
    verified=(bool, Field(default=True)),
)
Choices = create_model(
    "Choices",
    untitledSingle=(str, choice(enum=["option1", "option2", "option3"])),
    titledSingle=(str, choice(oneOf=titled(("value1", "First Option"), ("value2", "Second Option")))),
    untitledMulti=(list[str], choice(items={"type": "string", "enum": ["option1", "option2", "option3"]})),
    titledMulti=(list[str], choice(items={"anyOf": titled(("value1", "First Choice"), ("value2", "Second Choice"))})),
    legacyEnum=(str, choice(enum=["opt1", "opt2"], enumNames=["Option One", "Option Two"])),
)


@tool
async def test_elicitation(message: str, context: Context) -> str:
    return await elicit(context, message, Answer, "User response")


@tool
async def test_elicitation_sep1034_defaults(context: Context) -> str:
    return await elicit(context, "Please review and update the form fields with defaults", Defaults, "Elicitation completed")


@tool
async def test_elicitation_sep1330_enums(context: Context) -> str:
    return await elicit(context, "Please select options from the enum fields", Choices, "Elicitation completed")


# What a server asks its client since 2026-07-28: by a result that wants the call again, with the answers.


def form(message, **properties):
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(prompt):
    messages = [types.SamplingMessage(role="user", content=text(prompt))]
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=messages, max_tokens=100))


def wanted(requests, state=None):
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def content(answer, name):
    return answer.content.get(name) if isinstance(answer, types.ElicitResult) and answer.content else None


def asking(name, requests, finish, state=None):
    """A tool that wants all of `requests` answered before it finishes."""

    async def ask(context: Context) -> str | types.InputRequiredResult:
        answers = context.input_responses or {}
        if set(requests) <= set(answers):
            return finish(answers, context)
        return wanted(requests, state)

    server.add_tool(ask, name=f"test_input_required_result_{name}", description=f"asks for {name}")


USER_NAME = {"user_name": form("What is your name?", name="string")}
ROOTS = {"client_roots": types.ListRootsRequest()}
CONFIRM = {"confirm": form("Please confirm", ok="boolean")}
CAPITAL = {"capital_question": sampling("What is the capital of France?")}
GREETING = {"greeting": sampling("Generate a greeting")}

asking("elicitation", USER_NAME, lambda answers, _: f"Hello, {content(answers['user_name'], 'name')}!")
asking("sampling", CAPITAL, lambda answers, _: f"Model said: {getattr(answers['capital_question'].content, 'text', '?')}")
asking("list_roots", ROOTS, lambda answers, _: f"{len(answers['client_roots'].roots)} roots")
asking(
    "request_state",
    CONFIRM,
    lambda _, context: "state-ok" if context.request_state == "first-round" else "state-bad",
    "first-round",
)
asking("multiple_inputs", {**USER_NAME, **GREETING, **ROOTS}, lambda *_: "All inputs received.", "many")
asking("tampered_state", CONFIRM, lambda _, context: f"state-ok: {context.request_state}", "round-1")


@tool
async def test_input_required_result_multi_round(context: Context) -> str | types.InputRequiredResult:
    state, answers = json.loads(context.request_state or '{"round": 0}'), context.input_responses or {}
    if state["round"] == 1 and "step1" in answers:
        state = {"round": 2, "name": content(answers["step1"], "name")}
        return wanted({"step2": form("Step 2: What is your favorite color?", color="string")}, json.dumps(state))
    if state["round"] == 2 and "step2" in answers:
        return f"{state['name']} likes {content(answers['step2'], 'color')}."
    return wanted({"step1": form("Step 1: What is your name?", name="string")}, '{"round": 1}')


@tool
async def test_input_required_result_capabilities(context: Context) -> types.InputRequiredResult:
    able = context.client_capabilities
    requests = {}
    if able is None or able.sampling is not None:
        requests["sample"] = sampling("Say hello")
    if able is None or able.elicitation is not None:
        requests.update(USER_NAME)
    return wanted(requests, "able")


@tool
async def test_missing_capability(context: Context) -> str:
    able = context.session.client_capabilities
    if able is None or able.sampling is None:
        needed = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(code=types.MISSING_REQUIRED_CLIENT_CAPABILITY, message="needs sampling", data=needed)
    return "able"


@tool
async def test_streaming_elicitation(context: Context) -> str | types.InputRequiredResult:
    await context.report_progress(progress=1, total=2)
    return "confirmed" if context.input_responses else wanted(CONFIRM)


@tool
async def test_logging_tool(context: Context) -> str:
    await context.info("working")
    return "logged"


@tool
async def test_trigger_tool_change(context: Context) -> str:
    await context.notify_tools_changed()
    return "changed"


@tool
async def test_trigger_prompt_change(context: Context) -> str:
    await context.notify_prompts_changed()
    return "changed"


@tool
def test_x_mcp_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "-") -> str:
    return region


# Resources, prompts, completions.


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    return base64.b64decode(PNG)


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@server.resource("test://watched-resource")
def watched() -> str:
    return "watched"


def says(words_or_content):
    content = text(words_or_content) if isinstance(words_or_content, str) else words_or_content
    return UserMessage(role="user", content=content)


def prompt(function):
    function.__doc__ = function.__name__.replace("_", " ")
    return server.prompt()(function)


@prompt
def test_simple_prompt() -> list[UserMessage]:
    return [says("This is a simple prompt for testing.")]


@prompt
def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
    return [says(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")]


@prompt
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
    return [says(embedded(resourceUri, "Embedded resource content for testing.")), says("Please process it.")]


@prompt
def test_prompt_with_image() -> list[UserMessage]:
    return [says(image()), says("Please analyze it.")]


@prompt
async def test_input_required_result_prompt(context: Context) -> list[UserMessage] | types.InputRequiredResult:
    answers = context.input_responses or {}
    if "user_context" in answers:
        return [says(f"Context: {content(answers['user_context'], 'context')}")]
    return wanted({"user_context": form("What context should the prompt use?", context="string")})


@server.completion()
async def complete(ref, argument, context) -> types.Completion:
    return types.Completion(values=[], total=0, has_more=False)


async def accepted(context, params):
    return types.EmptyResult()


for method, params in {
    "logging/setLevel": types.SetLevelRequestParams,
    "resources/subscribe": types.SubscribeRequestParams,
    "resources/unsubscribe": types.UnsubscribeRequestParams,
}.items():
    server._lowlevel_server.add_request_handler(method, params, accepted)


class Witness:
    """Writes down what arrives."""

    def __init__(self, app):
        self.app = app
        self.calls = open(os.environ["CALLS"], "a", buffering=1)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        whole = b""
        more = True
        while more:
            message = await receive()
            whole += message.get("body", b"")
            more = message.get("more_body", False)
        self.write_down(json.loads(whole))
        replayed = [{"type": "http.request", "body": whole, "more_body": False}]

        async def again():
            return replayed.pop() if replayed else await receive()

        await self.app(scope, again, send)

    def write_down(self, message):
        if "id" in message and "method" in message:
            params = message.get("params") or {}
            named = params.get("name") or params.get("uri") or "-"
            self.calls.write(f"{message['method']} {named}\n")


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(Witness(server.streamable_http_app()), log_level="error")
    uvicorn.Server(config).run(sockets=[listener])
