"""A council that was killed goes on from its last finished step, and nothing else keeps steps."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from engine.core.errors import Conflict, Unavailable
from engine.domains.runs import ModelGarbled, ModelRequest, ModelTimeout, ModelUnavailable
from engine.graphs import Checkpoints, answer
from engine.graphs.failures import as_data, as_error
from engine.graphs.limits import LimitReached
from engine.roles import Role
from tests.unit.scripted_model import Reply, Scene, limits, say, shipped, stage, until, use

CHIEF = replace(shipped("chu"), limits=limits(steps=20, tokens=6000))
RUN = UUID("0b0c0d0e-0000-4000-8000-000000000001")
ENDLESS = say("ля ", forever=True, pause=0.01)


class Disk:
    """Keeps steps in memory, as strictly as the real saver; `image` is what a killed process leaves."""

    def __init__(self) -> None:
        self.saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=()))

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(RUN, self._open)

    @property
    def threads(self) -> list[tuple[str, str]]:
        """Say of which threads and graphs within them anything is kept."""
        return [(thread, graph) for thread, graphs in self.saver.storage.items() for graph in graphs]

    def image(self) -> "Disk":
        copy = Disk()
        for part in ("storage", "writes", "blobs"):
            setattr(copy.saver, part, deepcopy(getattr(self.saver, part)))
        return copy

    def has_heard(self, code: str) -> bool:
        kept = [write for writes in self.saver.writes.values() for write in writes.values()]
        values = [
            self.saver.serde.loads_typed(typed) for _, channel, typed, _ in kept if channel == "opinions"
        ]
        return code in {opinion["role"] for opinions in values for opinion in opinions}

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[InMemorySaver]:
        yield self.saver


def speaker(request: ModelRequest) -> str:
    """Say whose words a request asks for."""
    system = request.messages[0].content
    if system.startswith("Ты распределяешь"):
        return "supervisor"
    names = {"Ты — юрист": "lawyer", "Ты — бухгалтер": "accountant", "Ты — кадровик": "hr", "Ты — нач": "chu"}
    return next(code for start, code in names.items() if system.startswith(start))


def asked(scene: Scene) -> list[str]:
    return sorted(speaker(request) for request in scene.model.requests)


def council(disk: Disk | None, role: Role = CHIEF, *, meanwhile: Callable[[str], None] = lambda _: None,
            roles: list[Role] | None = None, **parts: Any) -> Scene:  # fmt: skip
    """Set a council up; `meanwhile` is called whenever somebody is asked."""

    def script(request: ModelRequest) -> Reply:
        meanwhile(speaker(request))
        return parts.get(speaker(request)) or say("Мнение: ", f"{speaker(request)}.")

    return stage(role, script, roles=roles, checkpoints=disk.checkpoints if disk else None)


async def killed_when(code: str, **parts: Any) -> tuple[Disk, Scene]:
    """Let a council sit until somebody is asked, and return the disk as it was then; the rest is lost."""
    disk, images = Disk(), []
    scene = council(
        disk, meanwhile=lambda speaks: images.append(disk.image()) if speaks == code else None, **parts
    )
    await answer(scene.context)
    return images[0], scene


async def handed_back_when(disk: Disk, scene: Scene, holds: Callable[[], bool]) -> None:
    """Let a council sit until something holds, and take its run away."""
    task = asyncio.create_task(answer(scene.context))
    await until(holds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_council_killed_while_it_drafts_asks_only_for_the_draft_again() -> None:
    disk, before = await killed_when("chu", supervisor=say('{"members": ["hr", "lawyer"]}'))
    assert asked(before) == ["chu", "hr", "lawyer", "supervisor"]

    again = council(disk, chu=say("Решение."))
    result = await answer(again.context)

    assert (result.text, again.said) == ("Решение.", ["Решение."])
    assert asked(again) == ["chu"]
    task = again.model.requests[0].messages[-1].content
    assert task == before.model.requests[-1].messages[-1].content
    assert "Мнение: lawyer." in task


async def test_what_was_used_up_before_counts() -> None:
    disk, before = await killed_when("chu")

    again = council(disk)
    await answer(again.context)

    assert [use.step for use in again.uses] == [5]
    assert again.model.requests[0].max_tokens == before.model.requests[-1].max_tokens
    assert again.context.budget.steps_left == before.context.budget.steps_left


async def test_a_budget_that_was_used_up_before_ends_the_run() -> None:
    short = replace(CHIEF, limits=limits(steps=20, tokens=30))
    disk, images = Disk(), []
    scene = council(
        disk,
        short,
        meanwhile=lambda speaks: images.append(disk.image()) if speaks == "chu" else None,
        supervisor=say("все", tokens=9),
        hr=say("Да.", tokens=20),
    )
    assert (await answer(scene.context)).limit == "tokens"
    assert images == []

    result = await answer(council(disk, short).context)

    assert result.limit == "tokens"


async def test_only_those_who_had_not_finished_are_asked_again() -> None:
    disk = Disk()
    scene = council(disk, supervisor=say("все"), hr=ENDLESS, accountant=ENDLESS)
    await handed_back_when(disk, scene, lambda: disk.has_heard("lawyer") and scene.model.open == 2)

    again = council(disk)
    result = await answer(again.context)

    assert result.text == "Мнение: chu."
    assert asked(again) == ["accountant", "chu", "hr"]
    assert [use.step for use in again.uses] == [3, 4, 5]  # after the choice and the lawyer
    task = again.model.requests[-1].messages[-1].content
    assert [f"Мнение: {code}." in task for code in ("lawyer", "accountant", "hr")] == [True] * 3


async def test_a_council_killed_while_it_picks_begins_anew() -> None:
    disk, _ = await killed_when("supervisor")

    again = council(disk)

    assert (await answer(again.context)).text == "Мнение: chu."
    assert asked(again) == ["accountant", "chu", "hr", "lawyer", "supervisor"]


async def test_a_council_may_be_killed_again_and_again() -> None:
    disk, _ = await killed_when("chu")
    for _ in range(2):
        scene = council(disk, chu=ENDLESS)
        await handed_back_when(disk, scene, lambda scene=scene: bool(scene.said))  # type: ignore[misc]

    last = council(disk)

    assert (await answer(last.context)).text == "Мнение: chu."
    assert asked(last) == ["chu"]


async def test_an_answer_whose_end_was_not_recorded_is_said_again_and_asks_nobody() -> None:
    disk = Disk()
    await answer(council(disk, chu=say("Одно ", "решение.")).context)

    again = council(disk)
    result = await answer(again.context)

    assert (result.text, again.said) == ("Одно решение.", ["Одно решение."])
    assert again.model.requests == []


async def test_a_role_that_was_changed_meanwhile_begins_anew() -> None:
    disk, _ = await killed_when("chu")

    again = council(disk, replace(CHIEF, version="another"))
    await answer(again.context)

    assert asked(again) == ["accountant", "chu", "hr", "lawyer", "supervisor"]


async def test_a_member_that_was_switched_off_meanwhile_is_told_as_missing() -> None:
    disk = Disk()
    scene = council(disk, supervisor=say("все"), hr=ENDLESS)
    await handed_back_when(
        disk,
        scene,
        lambda: disk.has_heard("lawyer") and disk.has_heard("accountant") and scene.model.open == 1,
    )

    again = council(disk, roles=[shipped("lawyer"), shipped("accountant")])
    await answer(again.context)

    assert asked(again) == ["chu"]
    assert "Не ответили: hr" in again.model.requests[0].messages[-1].content


async def test_a_council_of_which_nobody_answered_fails_alike_after_a_kill() -> None:
    down = say(error=ModelTimeout("Модель молчит."))
    scene = council(Disk(), lawyer=down, hr=down, accountant=down)

    with pytest.raises(ModelTimeout, match=r"Модель молчит\."):
        await answer(scene.context)


async def test_without_a_place_to_keep_them_steps_are_not_kept() -> None:
    @asynccontextmanager
    async def nowhere() -> AsyncIterator[None]:
        yield None

    scene = council(None)
    scene.context.checkpoints = Checkpoints(RUN, nowhere)

    assert (await answer(scene.context)).text == "Мнение: chu."


async def test_one_thread_is_kept_and_only_plain_data_in_it() -> None:
    disk = Disk()
    await answer(council(disk, hr=use("current_time")).context)  # The members' own graphs keep nothing.

    assert disk.threads == [(f"{RUN}/{CHIEF.version}", "")]
    state = await disk.saver.aget({"configurable": {"thread_id": f"{RUN}/{CHIEF.version}"}})
    assert state
    assert kinds_in(state["channel_values"]) <= {dict, list, str, int, type(None)}


async def test_other_graphs_keep_nothing_even_when_they_convene_a_council() -> None:
    disk = Disk()
    turns = iter([use("ask_role", code="chu", question="Что скажете?"), say("Сказали.")])
    lawyer = replace(shipped("lawyer"), limits=limits(steps=20, tokens=6000))
    scene = stage(
        lawyer,
        lambda request: next(turns) if speaker(request) == "lawyer" else say("Мнение."),
        checkpoints=disk.checkpoints,
    )

    assert (await answer(scene.context)).text == "Сказали."
    assert disk.threads == []


@pytest.mark.parametrize(
    "failure", [ModelUnavailable("а"), ModelTimeout("б"), ModelGarbled("в"), LimitReached("tokens", 400)]
)
def test_failures_of_models_and_limits_are_the_same_after_a_rest_on_disk(
    failure: ModelUnavailable | LimitReached,
) -> None:
    again = as_error(as_data(failure))

    assert (type(again), again.args) == (type(failure), failure.args)


def test_other_refusals_keep_their_words() -> None:
    again = as_error(as_data(Conflict("Некого спросить.")))

    assert isinstance(again, Unavailable)
    assert again.message == "Некого спросить."


def kinds_in(value: Any) -> set[type]:
    """Say of which types a value and everything in it is."""
    inside = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    inside = inside if isinstance(inside, list) else []
    return {type(value)}.union(*(kinds_in(item) for item in inside))
