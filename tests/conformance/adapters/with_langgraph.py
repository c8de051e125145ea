"""LangGraph through Bailiwick: the example of the README, and what else may happen."""

import common
from common import DENIED, MORE, ORDER, REINDEX, SEALED, WAITING
from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from bailiwick.langgraph import governed_tools

THREAD = {"configurable": {"thread_id": "1"}}


class Scripted(BaseChatModel):
    """Calls tools turn by turn, and remembers what it read of them."""

    turns: list
    read: list = []

    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **_):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **_):
        self.read[:] = [message for message in messages if isinstance(message, ToolMessage)]
        turn = sum(isinstance(message, AIMessage) for message in messages)
        asked = self.turns[turn] if turn < len(self.turns) else []
        asked = enumerate(call() if callable(call) else call for call in asked)
        calls = [{"name": name, "args": arguments, "id": f"{turn}-{at}"} for at, (name, arguments) in asked]
        said = AIMessage("" if calls else "done", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=said)])


def agent(model, tools):
    return create_agent(model, tools, checkpointer=InMemorySaver())


async def the_example():
    model = Scripted(turns=[[ORDER], [SEALED], [REINDEX]])
    last = await common.example("LangGraph", common.approve)(model, common.PROMPT)
    common.check(*(message.text for message in model.read), last)
    sealed = model.read[1]
    assert sealed.status == "error"
    assert sealed.artifact["bailiwick/refusal"]["policies"] == ["order-is-sealed"], sealed


async def too_early_a_resume_waits_on_and_nothing_is_done_twice():
    model = Scripted(turns=[[ORDER, REINDEX]])
    async with governed_tools(common.server()) as tools:
        graph = agent(model, tools)
        state = await graph.ainvoke({"messages": [("user", "go")]}, THREAD)
        (held,) = state["__interrupt__"]
        assert held.value["action_requests"][0]["args"] == REINDEX[1], held
        for _ in range(2):
            state = await graph.ainvoke(Command(resume=True), THREAD)
            assert state["__interrupt__"][0].value["approval"] == held.value["approval"]
        common.approve(held.value["approval"])
        state = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    assert "__interrupt__" not in state
    assert all(message.status == "success" for message in model.read), model.read


async def what_a_person_denies_is_read_with_the_reason():
    model = Scripted(turns=[[DENIED]])
    async with governed_tools(common.server()) as tools:
        graph = agent(model, tools)
        state = await graph.ainvoke({"messages": [("user", "go")]}, THREAD)
        common.deny(state["__interrupt__"][0].value["approval"])
        await graph.ainvoke(Command(resume=True), THREAD)
    assert model.read[0].text.startswith(common.NOT_NOW), model.read


async def whoever_does_not_want_to_wait_lets_the_model_know():
    for reject in (False, {"decisions": [{"type": "reject"}]}):
        model = Scripted(turns=[[WAITING]])
        async with governed_tools(common.server()) as tools:
            graph = agent(model, tools)
            await graph.ainvoke({"messages": [("user", "go")]}, THREAD)
            await graph.ainvoke(Command(resume=reject), THREAD)
        assert model.read[0].text.startswith(common.HELD), model.read


async def a_graph_that_cannot_pause_reads_that_the_call_waits():
    model = Scripted(turns=[[WAITING, MORE]])
    async with governed_tools(common.server(), on_hold="tell") as tools:
        await agent(model, tools).ainvoke({"messages": [("user", "go")]}, THREAD)
        (tool,) = (tool for tool in tools if tool.name == WAITING[0])
        alone = await tool.ainvoke({"name": tool.name, "args": WAITING[1], "id": "x", "type": "tool_call"})
    assert model.read[0].text.startswith(common.HELD), model.read
    assert "(arguments_invalid)" in model.read[1].text, model.read
    assert alone.status == "error" and alone.text == model.read[0].text, alone


async def two_servers_serve_one_agent():
    async with governed_tools(common.server(), common.server(), tool_name_prefix=True) as tools:
        assert len(tools) == 4, tools


async def a_stop_is_read_as_a_refusal():
    model = Scripted(turns=[[ORDER], [common.stop]])
    async with governed_tools(common.server()) as tools:
        await agent(model, tools).ainvoke({"messages": [("user", "go")]}, THREAD)
    assert model.read[1].status == "error" and "(stopped)" in model.read[1].text, model.read


common.main(
    the_example,
    too_early_a_resume_waits_on_and_nothing_is_done_twice,
    what_a_person_denies_is_read_with_the_reason,
    whoever_does_not_want_to_wait_lets_the_model_know,
    a_graph_that_cannot_pause_reads_that_the_call_waits,
    two_servers_serve_one_agent,
    a_stop_is_read_as_a_refusal,
)
