"""PydanticAI through Bailiwick: the example of the README, and what else may happen."""

import common
from common import DENIED, MORE, ORDER, REINDEX, SEALED, WAITING
from pydantic_ai import Agent, DeferredToolRequests, ToolDenied
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel

from bailiwick.pydantic_ai import GovernedToolset


class Scripted(FunctionModel):
    """Calls tools turn by turn, and remembers what it read of them."""

    def __init__(self, *turns):
        self.turns, self.read = turns, []
        super().__init__(self.say)

    def say(self, messages, _):
        parts = [part for message in messages for part in message.parts]
        self.read[:] = [part for part in parts if isinstance(part, ToolReturnPart)]
        turn = sum(isinstance(message, ModelResponse) for message in messages)
        if turn == len(self.turns):
            return ModelResponse([TextPart("done")])
        calls = enumerate(call() if callable(call) else call for call in self.turns[turn])
        return ModelResponse([ToolCallPart(name, arguments, f"{turn}-{at}") for at, (name, arguments) in calls])


def agent(model, **options):
    toolset = GovernedToolset(common.server(), **options)
    return Agent(model, toolsets=[toolset], output_type=[str, DeferredToolRequests])


async def the_example():
    model = Scripted([ORDER], [SEALED], [REINDEX])
    last = await common.example("PydanticAI", common.approve)(model, common.PROMPT)
    common.check(*(common.flat(part.content) for part in model.read), last)
    assert [part.outcome for part in model.read] == ["success", "failed", "success"], model.read


async def too_early_a_resume_waits_on_and_nothing_is_done_twice():
    model = Scripted([ORDER, REINDEX])
    async with agent(model) as bot:
        result = await bot.run("go")
        (call,) = result.output.approvals
        approval = result.output.metadata[call.tool_call_id]["approval"]
        again = result.output.build_results(approve_all=True)
        result = await bot.run(message_history=result.all_messages(), deferred_tool_results=again)
        (call,) = result.output.approvals
        assert result.output.metadata[call.tool_call_id]["approval"] == approval
        common.approve(approval)
        again = result.output.build_results(approve_all=True)
        result = await bot.run(message_history=result.all_messages(), deferred_tool_results=again)
    assert result.output == "done", result
    assert [part.outcome for part in model.read] == ["success", "success"], model.read


async def what_a_person_denies_is_read_with_the_reason():
    model = Scripted([DENIED])
    async with agent(model) as bot:
        result = await bot.run("go")
        (held,) = result.output.metadata.values()
        common.deny(held["approval"])
        again = result.output.build_results(approve_all=True)
        await bot.run(message_history=result.all_messages(), deferred_tool_results=again)
    assert model.read[0].outcome == "failed" and model.read[0].content.startswith(common.NOT_NOW), model.read


async def whoever_rejects_calls_nothing():
    model = Scripted([WAITING])
    async with agent(model) as bot:
        result = await bot.run("go")
        (call,) = result.output.approvals
        no = result.output.build_results(approvals={call.tool_call_id: ToolDenied("not today")})
        await bot.run(message_history=result.all_messages(), deferred_tool_results=no)
    assert model.read[0].content == "not today", model.read


async def a_run_that_shall_not_pause_reads_that_the_call_waits():
    model = Scripted([WAITING])
    async with agent(model, on_hold="tell") as bot:
        assert (await bot.run("go")).output == "done"
    assert model.read[0].content.startswith(common.HELD) and model.read[0].outcome == "failed", model.read


async def only_what_another_try_may_mend_is_a_retry():
    model = Scripted([MORE], [SEALED])
    async with agent(model) as bot:
        await bot.run("go")
    wrong, sealed = model.read
    assert wrong.outcome == "retried" and "(arguments_invalid)" in wrong.content, wrong
    assert sealed.outcome == "failed", sealed


async def a_stop_is_read_as_a_refusal():
    model = Scripted([ORDER], [common.stop])
    async with agent(model) as bot:
        await bot.run("go")
    assert model.read[1].outcome == "failed" and "(stopped)" in model.read[1].content, model.read


common.main(
    the_example,
    too_early_a_resume_waits_on_and_nothing_is_done_twice,
    what_a_person_denies_is_read_with_the_reason,
    whoever_rejects_calls_nothing,
    a_run_that_shall_not_pause_reads_that_the_call_waits,
    only_what_another_try_may_mend_is_a_retry,
    a_stop_is_read_as_a_refusal,
)
