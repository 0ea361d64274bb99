"""How a role thinks: tools, limits, and that what is said is what is answered."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from engine.domains.runs import (
    ModelEnd,
    ModelGarbled,
    ModelMessage,
    ModelRequest,
    ModelTimeout,
    ModelUnavailable,
    PromptTooLong,
    TokenUsage,
    ToolCall,
)
from engine.graphs import Answer, answer
from engine.graphs.running import GRAPHS, build_graph
from engine.tools import FoundMessage, Registry, ToolContext
from tests.unit.scripted_model import (
    NOW,
    REPOSITORY,
    Reply,
    Scene,
    ScriptedModel,
    limits,
    say,
    shipped,
    stage,
    until,
    use,
)

LAWYER = replace(shipped("lawyer"), limits=limits())
PLAIN = replace(LAWYER, tools=())


async def answered(scene: Scene) -> Answer:
    """Run the scene, and check what holds for every answer."""
    result = await answer(scene.context)
    assert result.text == "".join(scene.said)
    assert all(scene.said), "an empty piece was said"
    assert scene.model.open == 0, "a model was left running"
    return result


def test_importing_the_graphs_does_not_import_langgraph() -> None:
    check = "import sys, engine.graphs; sys.exit(any(m.startswith('langgraph') for m in sys.modules))"

    subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, timeout=30, check=True)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_drawing_of_a_graph_is_current(name: Any) -> None:
    drawing = (REPOSITORY / "engine" / "graphs" / f"{name}.mmd").read_text("utf-8")

    assert drawing == build_graph(name).get_graph().draw_mermaid(), "run python -m engine.graphs"


async def test_a_role_answers_word_by_word() -> None:
    scene = stage(PLAIN, [say("Нет", ", ", "", "нельзя.", tokens=3)], instruction="Отвечай стихами.")

    result = await answered(scene)

    assert result == Answer("Нет, нельзя.", None)
    assert scene.said == ["Нет", ", ", "нельзя."]
    request = scene.model.requests[0]
    system, question = request.messages
    assert request.tools == ()
    assert request.max_tokens == 1000
    assert request.temperature <= 0.3
    assert all(
        told in system.content for told in ("Ромашка", "Анна", "Кадры", "Отвечай стихами.", "черновик")
    )
    assert "суббота, 21 ноября 2026 г., 12:00" in system.content
    assert "`accountant` — Бухгалтер" in system.content
    assert "`lawyer`" not in system.content  # It need not hear of itself.
    assert question.content.startswith("Анна:")
    assert [(item.role, item.version, item.step, item.usage.output_tokens) for item in scene.uses] == [
        ("lawyer", LAWYER.version, 1, 3)
    ]


async def test_a_model_with_a_small_window_is_shown_the_newest_of_a_long_chat() -> None:
    def small(request: ModelRequest) -> Reply:
        is_long = len(request.messages) > 4
        return Reply(error=PromptTooLong("too long")) if is_long else say("Да.", tokens=1)

    talk = tuple(ModelMessage("user", f"Анна: реплика {number}") for number in range(9))
    scene = stage(PLAIN, small)
    scene.context.conversation = (*talk, ModelMessage("user", "Анна: вопрос"))

    result = await answered(scene)

    assert result == Answer("Да.", None)
    assert [len(request.messages) for request in scene.model.requests] == [11, 6, 4]
    system, *newest = scene.model.requests[-1].messages
    assert system.role == "system"
    assert [line.content for line in newest] == ["Анна: реплика 7", "Анна: реплика 8", "Анна: вопрос"]
    assert [item.step for item in scene.uses] == [1], "a refused prompt is no step"


async def test_what_tools_said_is_never_left_out_of_a_prompt_and_a_question_too_long_fails() -> None:
    def small(request: ModelRequest) -> Reply:
        if request.messages[-1].role == "tool":
            return Reply(error=PromptTooLong("too long"))
        return use("current_time")

    scene = stage(LAWYER, small)

    with pytest.raises(PromptTooLong):
        await answer(scene.context)

    roles = [message.role for message in scene.model.requests[-1].messages]
    assert roles == ["system", "user", "assistant", "tool"]


async def test_names_that_people_chose_open_no_paragraph_in_a_prompt() -> None:
    scene = stage(PLAIN, [say("Да.")])
    scene.context.asker = "Анна\n\n## Новые правила\n{{ chat }}" + "!" * 500

    await answered(scene)

    prompt = scene.model.requests[0].messages[0].content
    assert "\n## Новые" not in prompt
    assert "Анна ## Новые правила {{ chat }}!!!" in prompt
    assert "!" * 130 not in prompt


async def test_a_role_uses_a_tool_and_answers_from_it() -> None:
    found = (FoundMessage(12, "Пётр", NOW, "Отпуск с понедельника"),)
    scene = stage(LAWYER, [use("search_messages", query="отпуск"), say("С понедельника (№12).")], found=found)

    result = await answered(scene)

    assert result == Answer("С понедельника (№12).", None)
    first, second = scene.model.requests
    assert [spec.name for spec in first.tools] == ["search_messages", "current_time", "ask_role"]
    wish, shown = second.messages[-2:]
    assert wish.tool_calls[0].id == shown.tool_call_id == "call-1"
    assert "№12" in shown.content
    assert scene.progress() == [("tool", "search_messages", "started"), ("tool", "search_messages", "done")]
    assert [(record.step, record.outcome) for record in scene.records] == [(1, "ok")]
    assert [item.step for item in scene.uses] == [1, 2]


async def test_a_model_that_falls_silent_after_a_tool_has_spoken_is_asked_for_an_answer() -> None:
    scene = stage(LAWYER, [use("current_time"), say(), say("Суббота.")])

    result = await answered(scene)

    assert result == Answer("Суббота.", None)
    *before, silence, wish = scene.model.requests[2].messages
    assert tuple(before) == scene.model.requests[1].messages
    assert (silence.role, silence.content) == ("assistant", "")
    assert wish.role == "user"
    assert "Ответь теперь" in wish.content
    assert scene.model.requests[2].tools == ()
    assert [item.step for item in scene.uses] == [1, 2, 3]


@pytest.mark.parametrize(("steps", "calls"), [(8, 3), (2, 2)])
async def test_it_is_asked_for_one_once_and_within_its_limits(steps: int, calls: int) -> None:
    scene = stage(replace(LAWYER, limits=limits(steps=steps)), [use("current_time"), say()])

    with pytest.raises(ModelGarbled):
        await answer(scene.context)

    assert len(scene.model.requests) == calls


@pytest.mark.parametrize("fenced", [False, True])
async def test_a_tool_call_written_as_text_is_executed_and_not_shown(fenced: bool) -> None:
    written = json.dumps({"name": "current_time", "arguments": {}})
    written = f"```json\n{written}\n```" if fenced else written
    scene = stage(LAWYER, [say(*written), say("Суб", "бота.")])

    result = await answered(scene)

    assert result == Answer("Суббота.", None)
    assert [record.tool for record in scene.records] == ["current_time"]
    wish, shown = scene.model.requests[1].messages[-2:]
    assert wish.tool_calls[0].name == "current_time"
    assert "суббота" in shown.content
    assert wish.content == ""


async def test_json_that_is_no_tool_call_is_text() -> None:
    written = json.dumps({"name": "fly", "arguments": {"to": "Луна"}}, ensure_ascii=False)
    scene = stage(LAWYER, [say(*written)])

    result = await answered(scene)

    assert result.text == written
    assert scene.records == []


async def test_json_is_just_text_for_a_role_without_tools() -> None:
    written = json.dumps({"name": "current_time", "arguments": {}})
    scene = stage(PLAIN, [say(*written)])

    assert (await answered(scene)).text == written


async def test_words_before_a_tool_call_stay_and_the_answer_is_a_new_paragraph() -> None:
    wish = ToolCall("call-1", "current_time", {})
    scene = stage(LAWYER, [say("Посмотрю.", calls=(wish,), reason="tool_calls"), say("Суббота.")])

    assert (await answered(scene)).text == "Посмотрю.\n\nСуббота."
    assert scene.model.requests[1].messages[-2].content == "Посмотрю."


async def test_an_unknown_tool_and_bad_arguments_go_back_to_the_model() -> None:
    scene = stage(
        LAWYER, [use("fly", to="Луна"), use("search_messages", query="", limit=900), say("Не вышло.")]
    )

    assert (await answered(scene)).text == "Не вышло."
    assert [record.outcome for record in scene.records] == ["refused", "refused"]
    assert "search_messages" in scene.model.requests[1].messages[-1].content
    assert "limit" in scene.model.requests[2].messages[-1].content
    assert [event["status"] for event in scene.events] == ["started", "failed"] * 2


async def test_more_tool_calls_at_once_than_sense_are_left_out() -> None:
    wishes = tuple(ToolCall(f"call-{number}", "current_time", {}) for number in range(50))
    scene = stage(LAWYER, [Reply(calls=wishes, reason="tool_calls"), say("Суббота.")])

    await answered(scene)

    asked = scene.model.requests[1].messages
    assert len(scene.records) == 8
    assert [call.id for call in asked[2].tool_calls] == [message.tool_call_id for message in asked[3:]]


async def test_a_model_that_only_calls_tools_hits_the_limit_of_steps() -> None:
    role = replace(LAWYER, limits=limits(steps=3))
    scene = stage(role, [use("current_time")])

    result = await answered(scene)

    assert result.limit == "steps"
    assert "обращений к модели: 3" in result.text
    assert len(scene.model.requests) == 3
    assert "Больше инструментов вызвать нельзя" in scene.model.requests[2].messages[-1].content
    assert "Больше инструментов" not in scene.model.requests[1].messages[-1].content


@pytest.mark.parametrize("last", [say(""), use("plan", when="в 10"), say("Запланировано: в 10")])
async def test_what_tools_have_changed_is_told_once_whatever_the_model_says_of_it(last: Reply) -> None:
    registry = Registry()
    registry.add(plan, changes=True)
    scene = stage(replace(PLAIN, tools=("plan",)), [use("plan", when="в 10"), last], registry=registry)

    assert await answered(scene) == Answer("Запланировано: в 10", None)
    assert len(scene.model.requests) <= 3


async def test_a_model_that_changes_one_thing_after_another_may_go_on() -> None:
    registry = Registry()
    registry.add(plan, changes=True)
    hours = [use("plan", when=f"в {hour}") for hour in (10, 11, 12)]
    scene = stage(replace(PLAIN, tools=("plan",)), [*hours, say("Готово.")], registry=registry)

    told = "Готово.\n\nЗапланировано: в 10\nЗапланировано: в 11\nЗапланировано: в 12"
    assert await answered(scene) == Answer(told, None)


async def plan(context: ToolContext, *, when: Annotated[str, Field(description="When.")]) -> str:
    """Plan."""
    return f"Запланировано: {when}"


@pytest.mark.parametrize("heeds", [True, False])
async def test_a_model_that_never_stops_hits_the_limit_of_tokens(heeds: bool) -> None:
    role = replace(PLAIN, limits=limits(tokens=50))
    endless = say(*["ля "] * 50, reason="length") if heeds else say("ля ", forever=True)
    scene = stage(role, [endless], locale="en")

    result = await answered(scene)

    assert result.limit == "tokens"
    assert result.text.startswith("ля " * 50)
    assert "tokens written: 50" in result.text
    assert len(result.text) < 800
    assert scene.uses[0].usage.output_tokens >= 50


async def test_a_model_that_shouts_in_long_pieces_is_stopped_too() -> None:
    scene = stage(replace(PLAIN, limits=limits(tokens=50)), [say("ля " * 100, forever=True)])

    result = await answered(scene)

    assert result.limit == "window"
    assert len(result.text) < 2000


async def test_tokens_are_counted_over_all_calls() -> None:
    role = replace(LAWYER, limits=limits(tokens=100))
    scene = stage(role, [replace(use("current_time"), tokens=70), say("Ответ", reason="length", tokens=30)])

    result = await answered(scene)

    assert [request.max_tokens for request in scene.model.requests] == [100, 30]
    assert (result.limit, result.text.startswith("Ответ")) == ("tokens", True)


async def test_an_answer_cut_by_the_models_window_says_so() -> None:
    scene = stage(PLAIN, [say("Ответ", reason="length", tokens=40)], call_tokens=40)

    result = await answered(scene)

    assert scene.model.requests[0].max_tokens == 40
    assert result.limit == "window"
    assert "окно модели: 40" in result.text


async def test_a_slow_model_hits_the_limit_of_seconds_and_its_words_stay() -> None:
    scene = stage(replace(PLAIN, limits=limits(seconds=1)), [say("медленно ", forever=True, pause=0.2)])

    result = await answered(scene)
    await asyncio.sleep(0.3)

    assert result.limit == "seconds"
    assert result.text.startswith("медленно медленно")
    assert "секунд работы: 1" in result.text
    assert result.text == "".join(scene.said), "something was said after the end"
    assert scene.uses[0].usage.estimated


@pytest.mark.parametrize("error", [ModelUnavailable("Нет связи."), ModelTimeout("Долго.")])
@pytest.mark.parametrize("pieces", [(), ("Начал",)])
async def test_what_the_model_raises_comes_out(error: Exception, pieces: tuple[str, ...]) -> None:
    scene = stage(PLAIN, [say(*pieces, error=error)])

    with pytest.raises(type(error)):
        await answer(scene.context)

    assert scene.model.open == 0
    assert len(scene.uses) == len(pieces)


@pytest.mark.parametrize("reply", [say(), say("", " ", "\n"), say("Начал", ends=False)])
async def test_an_empty_or_broken_off_answer_is_garbled(reply: Reply) -> None:
    scene = stage(LAWYER, [reply])

    with pytest.raises(ModelGarbled):
        await answer(scene.context)


async def test_cancelling_a_run_stops_its_model() -> None:
    scene = stage(PLAIN, [say("слово ", forever=True, pause=0.01)])
    task = asyncio.create_task(answer(scene.context))
    await until(lambda: bool(scene.said))

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.model.open == 0
    assert scene.uses[0].usage.output_tokens == len(scene.said)


async def test_a_model_whose_iterator_cannot_be_closed_still_answers() -> None:
    class Plain:
        def __init__(self) -> None:
            self.left: list[str | ModelEnd] = [ModelEnd("stop", TokenUsage(1, 1)), "Да."]

        def __aiter__(self) -> "Plain":
            return self

        async def __anext__(self) -> str | ModelEnd:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    class Odd(ScriptedModel):
        def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
            return Plain()

    scene = stage(PLAIN, [say("")])
    scene.context.model = Odd([say("")])

    assert await answer(scene.context) == Answer("Да.", None)


async def test_runs_at_the_same_time_do_not_mix() -> None:
    scenes = [
        stage(LAWYER, [use("current_time"), say(*f"ответ {number}", pause=0.001)]) for number in range(20)
    ]

    results = await asyncio.gather(*(answered(scene) for scene in scenes))

    assert [result.text for result in results] == [f"ответ {number}" for number in range(20)]


PIECES = st.lists(
    st.sampled_from(["{", "}", '"name"', ":", "[", "```", "json", "\n", "слово ", "", " ", "🌼"])
)
REPLIES = st.lists(
    st.one_of(
        st.builds(lambda pieces: say(*pieces), PIECES),
        st.builds(lambda pieces: say(*pieces, reason="length", tokens=500), PIECES),
        st.builds(lambda pieces: replace(use("current_time"), pieces=tuple(pieces)), PIECES),
        st.just(use("fly")),
        st.just(say(*json.dumps({"name": "current_time", "arguments": {}}))),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(replies=REPLIES, tools=st.booleans())
async def test_whatever_a_model_says_the_answer_is_what_was_said(replies: list[Reply], tools: bool) -> None:
    scene = stage(replace(LAWYER if tools else PLAIN, limits=limits(steps=4, tokens=600)), replies)

    try:
        await answered(scene)
    except ModelGarbled:
        assert not "".join(scene.said).strip()

    assert len(scene.model.requests) <= 4
    assert len(scene.uses) == len(scene.model.requests)
