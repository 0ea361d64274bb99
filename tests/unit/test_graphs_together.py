"""Roles that work with others: chains, councils, and questions to a colleague."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.errors import Conflict
from engine.domains.runs import ModelGarbled, ModelRequest, ModelUnavailable
from engine.graphs import answer
from engine.graphs.multi_agent import read_choice
from engine.roles import Localized, Role, Step
from tests.unit.scripted_model import (
    SHIPPED,
    Reply,
    Scene,
    limits,
    plain_prompt,
    say,
    shipped,
    stage,
    until,
    use,
)

CHIEF = replace(shipped("chu"), limits=limits(steps=20, tokens=6000))
LAWYER = replace(shipped("lawyer"), limits=limits())
CODES = ["lawyer", "accountant", "hr"]


def chain(*names: str, **more: object) -> Role:
    steps = tuple(Step(name, Localized(name, name), plain_prompt(f"Задание {name}.")) for name in names)
    return replace(LAWYER, agent_type="chain", tools=(), steps=steps, **more)  # type: ignore[arg-type]


def speaker(request: ModelRequest) -> str:
    """Say whose words a request asks for."""
    system = request.messages[0].content
    if system.startswith("Ты распределяешь"):
        return "supervisor"
    names = {"Ты — юрист": "lawyer", "Ты — бухгалтер": "accountant", "Ты — кадровик": "hr", "Ты — нач": "chu"}
    return next(code for start, code in names.items() if system.startswith(start))


def cast(**parts: Reply) -> Callable[[ModelRequest], Reply]:
    """Give everybody their words."""
    return lambda request: parts.get(speaker(request)) or say(f"Мнение: {speaker(request)}.")


def asked(scene: Scene) -> list[str]:
    return [speaker(request) for request in scene.model.requests]


def request_of(scene: Scene, code: str) -> ModelRequest:
    return next(request for request in scene.model.requests if speaker(request) == code)


async def test_a_chain_passes_on_what_each_step_said_and_only_the_last_speaks() -> None:
    scene = stage(chain("facts", "law", "reply"), [say("Факты."), say("Нормы."), say("От", "вет.")])

    result = await answer(scene.context)

    assert (result.text, result.limit) == ("Ответ.", None)
    assert scene.said == ["От", "вет."]
    tasks = [request.messages[-1].content for request in scene.model.requests]
    assert all("можно ли уволить" in task for task in tasks)
    assert "шаг 1 из 3: facts" in tasks[0]
    assert "Задание facts." in tasks[0]
    assert "Факты." not in tasks[0]
    assert "Факты." in tasks[1]
    assert "Нормы." not in tasks[1]
    assert "Факты." in tasks[2]
    assert "Нормы." in tasks[2]
    assert scene.progress() == [
        ("step", name, status) for name in ("facts", "law", "reply") for status in ("started", "done")
    ]


async def test_a_chain_may_use_tools_in_any_step() -> None:
    role = replace(chain("facts", "reply"), tools=("current_time",))
    scene = stage(role, [use("current_time"), say("Суббота."), say("Сегодня суббота.")])

    assert (await answer(scene.context)).text == "Сегодня суббота."
    assert ("tool", "current_time", "done") in scene.progress()


async def test_a_silent_step_is_garbled_and_reported_before_the_end() -> None:
    scene = stage(chain("facts", "reply"), [say(" "), say("Ответ.")])

    with pytest.raises(ModelGarbled, match="facts"):
        await answer(scene.context)

    assert scene.said == []


async def test_a_chain_stops_at_the_limit_of_steps() -> None:
    role = replace(chain("one", "two", "three"), limits=limits(steps=2))
    scene = stage(role, [say("Раз."), say("Два.")])

    result = await answer(scene.context)

    assert result.limit == "steps"
    assert result.text == "".join(scene.said)
    assert "Два." not in result.text
    assert scene.progress()[-1] == ("step", "three", "failed")


async def test_a_council_hears_those_it_picked_and_writes_one_draft() -> None:
    scene = stage(CHIEF, cast(supervisor=say('{"members": ["hr", "lawyer"]}'), chu=say("Одно ", "решение.")))

    result = await answer(scene.context)

    assert (result.text, result.limit) == ("Одно решение.", None)
    assert scene.said == ["Одно ", "решение."]
    assert sorted(asked(scene)) == ["chu", "hr", "lawyer", "supervisor"]
    choice = request_of(scene, "supervisor")
    assert choice.json_schema
    assert choice.max_tokens == 200
    assert choice.temperature == 0
    task = request_of(scene, "chu").messages[-1].content
    assert task.index("Мнение: lawyer.") < task.index("Мнение: hr.")  # in the order of the role file
    assert "ответили все" in task
    assert "Разногласия" in task
    assert ("member", "hr", "done") in scene.progress()
    assert {item.role for item in scene.uses} == {"chu", "lawyer", "hr"}
    assert len({item.step for item in scene.uses}) == 4


async def test_members_work_at_the_same_time_and_do_not_hear_each_other() -> None:
    slow = {code: say(f"Я {code}.", pause=0.05) for code in CODES}
    scene = stage(CHIEF, cast(supervisor=say("всех"), **slow))

    await answer(scene.context)

    assert scene.model.most_open == 3
    for code in CODES:
        told = "".join(message.content for message in request_of(scene, code).messages)
        assert not any(f"Я {other}." in told for other in CODES)


@pytest.mark.parametrize(
    "choice", ["", "не знаю", '{"members": []}', '{"members": ["кот"]}', '{"members": 7}', "[[[", '{"a": {']
)
async def test_a_supervisor_that_makes_no_sense_picks_everybody(choice: str) -> None:
    scene = stage(CHIEF, cast(supervisor=say(choice) if choice else say(tokens=0)))

    await answer(scene.context)

    assert sorted(asked(scene)) == ["accountant", "chu", "hr", "lawyer", "supervisor"]


async def test_a_supervisor_that_never_stops_is_stopped_and_picks_everybody() -> None:
    scene = stage(CHIEF, cast(supervisor=say("хм ", forever=True)))

    result = await answer(scene.context)

    assert result.limit is None
    assert len(scene.model.requests) == 5


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ('{"members": ["hr"]}', ["hr"]),
        ('```json\n{"members": ["HR ", "lawyer"]}\n```', ["lawyer", "hr"]),
        ('Думаю, {не это}, а ["hr", "кот"]', ["hr"]),
        ('["hr", {"x": 1}, null]', ["hr"]),
        ('{"members": ["hr", "hr"]}', ["hr"]),
        ('{"roles": ["hr"]}', CODES),
    ],
)
def test_a_choice_is_found_in_what_small_models_write(text: str, chosen: list[str]) -> None:
    assert read_choice(text, CODES) == chosen


@given(text=st.text() | st.text(alphabet='{}[]":,hrlawye members'))
def test_any_text_is_a_choice_of_somebody(text: str) -> None:
    chosen = read_choice(text, CODES)

    assert chosen
    assert set(chosen) <= set(CODES)


async def test_no_more_than_five_are_heard() -> None:
    others = tuple(replace(LAWYER, code=f"lawyer{number}") for number in range(8))
    chief = replace(CHIEF, members=tuple(role.code for role in others))
    scene = stage(chief, cast(), roles=others)

    await answer(scene.context)

    assert asked(scene).count("lawyer") == 5


async def test_a_member_that_fails_is_told_and_does_not_end_the_run() -> None:
    broken = say("Полмнения", error=ModelUnavailable("Нет связи."))
    scene = stage(
        CHIEF, cast(supervisor=say("все"), lawyer=say(error=ModelUnavailable("Нет связи.")), hr=broken)
    )

    result = await answer(scene.context)

    assert result.text == "Мнение: chu."
    task = request_of(scene, "chu").messages[-1].content
    assert "Не ответили: Юрист (lawyer)" in task
    assert "Полмнения\n\n(Мнение оборвалось" in task
    assert ("member", "lawyer", "failed") in scene.progress()


async def test_a_council_of_which_nobody_answers_fails_as_its_members_did() -> None:
    down = say(error=ModelUnavailable("Нет связи."))
    scene = stage(CHIEF, cast(supervisor=say("все"), lawyer=down, hr=down, accountant=down))

    with pytest.raises(ModelUnavailable):
        await answer(scene.context)

    assert scene.said == []


async def test_a_member_that_never_stops_leaves_enough_for_the_draft() -> None:
    endless = say("ля ", forever=True)
    scene = stage(replace(CHIEF, limits=limits(steps=20, tokens=900)), cast(lawyer=endless, hr=endless))

    result = await answer(scene.context)

    assert (result.text, result.limit) == ("Мнение: chu.", None)
    task = request_of(scene, "chu").messages[-1].content
    assert task.count("достигнут предел") == 2
    assert request_of(scene, "chu").max_tokens > 200


async def test_a_member_that_takes_forever_leaves_time_for_the_draft() -> None:
    chief = replace(CHIEF, limits=limits(steps=20, tokens=6000, seconds=3))
    scene = stage(chief, cast(supervisor=say("все"), hr=say("эээ ", forever=True, pause=0.1)))

    result = await answer(scene.context)

    assert (result.text, result.limit) == ("Мнение: chu.", None)
    assert "секунд работы" in request_of(scene, "chu").messages[-1].content


async def test_a_draft_without_end_hits_the_limit_of_the_council() -> None:
    chief = replace(CHIEF, limits=limits(steps=20, tokens=400))
    scene = stage(chief, cast(supervisor=say("все"), chu=say("ля ", forever=True)))

    result = await answer(scene.context)

    assert (result.limit, result.text) == ("tokens", "".join(scene.said))
    assert "400" in result.text


async def test_members_the_organization_switched_off_are_not_heard() -> None:
    scene = stage(CHIEF, cast(), roles=[shipped("hr")])

    await answer(scene.context)

    assert asked(scene) == ["hr", "chu"]  # Of one there is nothing to pick.


async def test_a_council_without_members_says_so() -> None:
    with pytest.raises(Conflict):
        await answer(stage(CHIEF, cast(), roles=[]).context)


async def test_members_follow_the_instruction_the_organization_gave_them() -> None:
    scene = stage(CHIEF, cast(), instruction="Пиши кратко.", instructions={"hr": "Мы на удалёнке."})

    await answer(scene.context)

    told = {code: request_of(scene, code).messages[0].content for code in ("chu", "hr", "lawyer")}
    assert "Пиши кратко." in told["chu"]
    assert "Мы на удалёнке." in told["hr"]
    assert "Указание организации" not in told["lawyer"]


async def test_a_role_asks_a_colleague_quietly() -> None:
    answers = iter([use("ask_role", code="accountant", question="Сколько платить?"), say("Платить 5.")])
    scene = stage(LAWYER, lambda request: say("Пять.") if speaker(request) == "accountant" else next(answers))

    result = await answer(scene.context)

    assert result.text == "Платить 5."
    assert scene.said == ["Платить 5."]
    assert asked(scene) == ["lawyer", "accountant", "lawyer"]
    question = request_of(scene, "accountant").messages
    assert len(question) == 2
    assert "Сколько платить?" in question[1].content
    assert "можно ли уволить" in question[1].content
    assert scene.model.requests[2].messages[-1].content == "Пять."
    assert [item.role for item in scene.uses] == ["lawyer", "accountant", "lawyer"]
    assert ("member", "accountant", "done") in scene.progress()


async def test_roles_that_ask_each_other_do_not_go_round() -> None:
    turns = {"lawyer": 0, "accountant": 0}

    def script(request: ModelRequest) -> Reply:
        code = speaker(request)
        turns[code] += 1
        other = "accountant" if code == "lawyer" else "lawyer"
        return use("ask_role", code=other, question="А ты?") if turns[code] == 1 else say(f"Сам: {code}.")

    scene = stage(LAWYER, script)

    result = await answer(scene.context)

    assert result.text == "Сам: lawyer."
    assert asked(scene) == ["lawyer", "accountant", "accountant", "lawyer"]
    assert [(record.role, record.outcome) for record in scene.records] == [
        ("accountant", "refused"),
        ("lawyer", "ok"),
    ]
    assert "уже участвует" in scene.model.requests[2].messages[-1].content


async def test_a_question_is_handed_on_twice_at_most() -> None:
    order = ["lawyer", "accountant", "hr", "assistant"]
    roles = {code: replace(shipped(code), limits=limits(), prompt=plain_prompt(code)) for code in order}

    def script(request: ModelRequest) -> Reply:
        code = request.messages[0].content.split()[0]
        if request.messages[-1].role == "tool" or code == "assistant":
            return say(f"{code}.")
        return use("ask_role", code=order[order.index(code) + 1], question="?")

    scene = stage(roles["lawyer"], script, roles=roles.values())

    assert (await answer(scene.context)).text == "lawyer."
    assert [request.messages[0].content.split()[0] for request in scene.model.requests] == [
        "lawyer", "accountant", "hr", "hr", "accountant", "lawyer",
    ]  # fmt: skip
    assert scene.records[0].outcome == "refused"


async def test_a_colleague_that_is_not_there_or_fails_is_told_to_the_model() -> None:
    answers = iter(
        [
            use("ask_role", code="wizard", question="?"),
            use("ask_role", code="hr", question="?"),
            say("Обошёлся."),
        ]
    )
    down = say(error=ModelUnavailable("Модель не отвечает."))
    scene = stage(LAWYER, lambda request: down if speaker(request) == "hr" else next(answers))

    assert (await answer(scene.context)).text == "Обошёлся."
    assert "wizard" in scene.model.requests[1].messages[-1].content
    assert "accountant" in scene.model.requests[1].messages[-1].content
    assert "Модель не отвечает." in scene.model.requests[-1].messages[-1].content


async def test_a_colleague_without_end_leaves_the_asker_enough_to_answer() -> None:
    answers = iter([use("ask_role", code="hr", question="?"), say("Хватит.")])
    endless = say("ля ", forever=True)
    scene = stage(LAWYER, lambda request: endless if speaker(request) == "hr" else next(answers))

    result = await answer(scene.context)

    assert (result.text, result.limit) == ("Хватит.", None)
    assert "достигнут предел" in scene.model.requests[-1].messages[-1].content


async def test_colleagues_draw_on_the_limit_of_steps() -> None:
    scene = stage(
        replace(LAWYER, limits=limits(steps=3)),
        lambda request: (
            use("current_time") if speaker(request) == "hr" else use("ask_role", code="hr", question="?")
        ),
    )

    result = await answer(scene.context)

    assert result.limit == "steps"
    assert len(scene.model.requests) == 3


async def test_a_role_may_convene_a_council_that_leaves_it_out() -> None:
    answers = iter([use("ask_role", code="chu", question="Что скажете?"), say("Сказали.")])
    lawyer = replace(LAWYER, limits=limits(steps=20, tokens=6000))
    scene = stage(lawyer, lambda request: next(answers) if speaker(request) == "lawyer" else cast()(request))

    assert (await answer(scene.context)).text == "Сказали."
    assert sorted(asked(scene)) == ["accountant", "chu", "hr", "lawyer", "lawyer", "supervisor"]


async def test_cancelling_a_council_stops_every_model() -> None:
    endless = {code: say("ля ", forever=True, pause=0.01) for code in CODES}
    scene = stage(CHIEF, cast(supervisor=say("все"), **endless))
    task = asyncio.create_task(answer(scene.context))
    await until(lambda: scene.model.open == 3)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.model.open == 0


def test_the_council_that_ships_can_be_heard_out_within_its_limits() -> None:
    chief = SHIPPED.get("chu")

    assert chief
    assert chief.limits.steps >= 2 + 2 * len(chief.members)
    assert chief.limits.seconds > max(shipped(code).limits.seconds for code in chief.members)
