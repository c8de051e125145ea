"""OpenAI Agents through Bailiwick: the example of the README, and what else may happen."""

import json

import common
from agents import Agent, Runner, RunState, set_tracing_disabled
from agents.testing import ModelStep, ScriptedModel, assistant_message, function_call
from common import DENIED, MORE, ORDER, REINDEX, SEALED, WAITING

from bailiwick.openai_agents import GovernedServer

set_tracing_disabled(True)


def scripted(*turns):
    """A model that calls tools turn by turn."""
    said = [
        [function_call(name, arguments, call_id=f"{turn}-{at}") for at, (name, arguments) in enumerate(calls)]
        for turn, calls in enumerate(turns)
    ]
    return ScriptedModel([*said, [assistant_message("done")]])


def read(model):
    """What the model read of its calls, by their ids."""
    outputs = [item for item in model.last_call.input if item.get("type") == "function_call_output"]
    return {item["call_id"]: common.flat(item["output"]) for item in outputs}


async def the_example():
    model = scripted([ORDER], [SEALED], [REINDEX])
    last = await common.example("OpenAI Agents", common.approve)(model, common.PROMPT)
    common.check(*read(model).values(), last)


async def a_state_that_was_kept_goes_on_elsewhere_and_nothing_is_done_twice():
    model = scripted([ORDER, REINDEX])
    async with GovernedServer(common.server()) as server:
        bot = Agent(name="bot", model=model, mcp_servers=[server])
        result = await Runner.run(bot, "go")
        (item,) = result.interruptions
        approval = server.refusal(item).approval
        kept = json.dumps(result.to_state().to_json())
    common.approve(approval)
    async with GovernedServer(common.server()) as server:
        bot = Agent(name="bot", model=model, mcp_servers=[server])
        state = await RunState.from_json(bot, json.loads(kept))
        (item,) = state.get_interruptions()
        assert server.refusal(item) is None
        state.approve(item)
        result = await Runner.run(bot, state)
    assert result.final_output == "done"
    order, index = read(model)["0-0"], read(model)["0-1"]
    assert "Desk lamp" in order and "orders" in index, (order, index)


async def to_approve_only_in_the_framework_approves_nothing():
    model = scripted([WAITING])
    async with GovernedServer(common.server()) as server:
        bot = Agent(name="bot", model=model, mcp_servers=[server])
        state = (await Runner.run(bot, "go")).to_state()
        state.approve(state.get_interruptions()[0])
        await Runner.run(bot, state)
    assert read(model)["0-0"].startswith(common.HELD)


async def what_a_person_denies_is_read_with_the_reason():
    model = scripted([DENIED])
    async with GovernedServer(common.server()) as server:
        bot = Agent(name="bot", model=model, mcp_servers=[server])
        state = (await Runner.run(bot, "go")).to_state()
        (item,) = state.get_interruptions()
        common.deny(server.refusal(item).approval)
        state.approve(item)
        await Runner.run(bot, state)
    assert read(model)["0-0"].startswith(common.NOT_NOW), read(model)


async def whoever_rejects_calls_nothing():
    model = scripted([WAITING])
    async with GovernedServer(common.server()) as server:
        bot = Agent(name="bot", model=model, mcp_servers=[server])
        state = (await Runner.run(bot, "go")).to_state()
        state.reject(state.get_interruptions()[0])
        await Runner.run(bot, state)
    assert "not approved" in read(model)["0-0"], read(model)


async def a_run_that_shall_not_pause_reads_that_the_call_waits():
    model = scripted([WAITING, MORE])
    async with GovernedServer(common.server(), on_hold="tell") as server:
        result = await Runner.run(Agent(name="bot", model=model, mcp_servers=[server]), "go")
    assert result.interruptions == []
    waits, wrong = read(model).values()
    assert waits.startswith(common.HELD) and "(arguments_invalid)" in wrong, (waits, wrong)


async def an_approval_of_the_program_itself_comes_first():
    model = scripted([ORDER])
    async with GovernedServer(common.server(), require_approval="always") as server:
        bot = Agent(name="bot", model=model, mcp_servers=[server])
        result = await Runner.run(bot, "go")
        (item,) = result.interruptions
        assert server.refusal(item) is None
        state = result.to_state()
        state.reject(item)
        await Runner.run(bot, state)


async def what_would_be_asked_too_late_is_refused():
    for option in ("tool_input_guardrails", "tool_meta_resolver"):
        common.refused(ValueError, option, lambda option=option: GovernedServer(common.server(), **{option: [print]}))


async def a_stop_is_read_as_a_refusal():
    def stops(_):
        return [function_call(*common.stop(), call_id="1-0")]

    model = ScriptedModel([[function_call(*ORDER, call_id="0-0")], ModelStep.respond(stops), [assistant_message("done")]])
    async with GovernedServer(common.server()) as server:
        await Runner.run(Agent(name="bot", model=model, mcp_servers=[server]), "go")
    assert "(stopped)" in read(model)["1-0"], read(model)


common.main(
    the_example,
    a_state_that_was_kept_goes_on_elsewhere_and_nothing_is_done_twice,
    to_approve_only_in_the_framework_approves_nothing,
    what_a_person_denies_is_read_with_the_reason,
    whoever_rejects_calls_nothing,
    a_run_that_shall_not_pause_reads_that_the_call_waits,
    an_approval_of_the_program_itself_comes_first,
    what_would_be_asked_too_late_is_refused,
    a_stop_is_read_as_a_refusal,
)
