"""Roles plan for people: "remind everyone on Friday at ten", in the name and with the rights of who asked."""

from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest

from engine.core.database import Database
from engine.domains import calendar
from engine.domains.runs import ToolCall
from engine.tools import Toolbox, ToolContext, Workplace, every_tool
from tests.unit.scripted_model import SHIPPED
from tests.unit.test_tools import nothing_found
from tests.world import Person, World

WEDNESDAY = datetime.fromisoformat("2026-11-25T15:00+03:00")
TOOLS = ("create_event", "list_events", "update_event", "cancel_event")


def desk(
    database: Database,
    person: Person,
    chat_id: object,
    run_id: object = None,
    locale: str = "ru",
    said_at: datetime = WEDNESDAY,
) -> Toolbox:
    place = Workplace(
        transaction=partial(database.as_organization, person.org_id),
        actor=person.actor,
        chat_id=chat_id,  # type: ignore[arg-type]
        run_id=run_id or uuid4(),  # type: ignore[arg-type]
        roles=SHIPPED,
        said_at=said_at,
    )
    context = ToolContext(
        now=WEDNESDAY,
        timezone="Europe/Moscow",
        search_messages=nothing_found,
        record=lambda _: None,
        lineage=("hr",),
        locale=locale,
        workplace=place,
    )
    return every_tool().open(TOOLS, context)


async def use(box: Toolbox, name: str, **arguments: str) -> tuple[str, str]:
    result = await box.call(ToolCall("call", name, arguments), step=1)
    return result.outcome, result.text


async def planned(world: World, person: Person) -> list[calendar.CalendarEvent]:
    async with world.database.as_organization(person.org_id) as tx:
        return await calendar.list_events(tx, person.actor, status="active")


@pytest.fixture(autouse=True)
def _it_is_still_wednesday(monkeypatch: pytest.MonkeyPatch) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Then":
            return cls.fromisoformat(WEDNESDAY.astimezone(tz).isoformat())  # type: ignore[arg-type]

    monkeypatch.setattr("engine.domains.calendar.service.datetime", Then)


async def test_everyone_is_reminded_on_friday_at_ten(world: World, database: Database) -> None:
    firm = await world.organization()
    bob = await world.user(firm)
    chat_id = await world.chat(firm.admin, bob)
    outcome, told = await use(
        desk(database, bob, chat_id),
        "create_event",
        title="Сдать табель",
        when="в пятницу в 10",
        who="everyone",
    )

    (event,) = await planned(world, bob)
    assert outcome == "ok"
    assert "пятница, 27 ноября 2026 г., 10:00 (Europe/Moscow, UTC+03:00)" in told
    assert str(event.id)[:8] in told
    assert event.owner_id == bob.id
    assert set(event.plan.notify) == {firm.admin.id, bob.id}
    assert (event.plan.chat_id, event.plan.role_code) == (chat_id, None)


async def test_an_english_speaker_is_told_in_english(world: World, database: Database) -> None:
    firm = await world.organization()
    box = desk(database, firm.admin, await world.chat(firm.admin), locale="en")

    _, planned = await use(box, "create_event", title="Timesheet", when="every Friday at 10 am")
    code = planned.partition("code ")[2][:8]
    _, cancelled = await use(box, "cancel_event", code=code)

    assert planned.startswith(
        f"Planned: code {code}, «Timesheet», repeats, next times: Friday, 27 November 2026, "
    )
    assert "10:00 (Europe/Moscow, UTC+03:00); Friday, 4 December 2026" in planned
    assert cancelled == "Cancelled: «Timesheet»."


async def test_a_role_plans_work_for_itself(world: World, database: Database) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    box = desk(database, firm.admin, chat_id)

    await use(
        box, "create_event", title="Сводка", when="каждый вторник в 9:00", task="Собери сводку по отпускам"
    )

    (event,) = await planned(world, firm.admin)
    assert (event.plan.role_code, event.plan.instruction) == ("hr", "Собери сводку по отпускам")
    assert event.plan.schedule.rrule == "FREQ=WEEKLY;BYDAY=TU"


async def test_tomorrow_is_reckoned_from_when_it_was_said(world: World, database: Database) -> None:
    firm = await world.organization()
    before_midnight = WEDNESDAY - timedelta(hours=15, minutes=1)  # The run waited and began on Wednesday.
    box = desk(database, firm.admin, await world.chat(firm.admin), said_at=before_midnight)

    await use(box, "create_event", title="Табель", when="завтра в 18:00")

    (event,) = await planned(world, firm.admin)
    assert event.plan.schedule.starts_at == WEDNESDAY.replace(hour=18)


async def test_the_same_wish_of_a_run_is_one_event_however_often_it_is_told(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id, run_id = await world.chat(firm.admin), uuid4()
    for box in (desk(database, firm.admin, chat_id, run_id), desk(database, firm.admin, chat_id, run_id)):
        for _ in range(2):
            await use(box, "create_event", title="Табель", when="завтра в 10")

    assert len(await planned(world, firm.admin)) == 1


async def test_the_same_thing_at_the_same_time_is_one_event_in_whatever_words(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    told = [
        await use(desk(database, firm.admin, chat_id), "create_event", title="Табель", when=when)
        for when in ("в пятницу в 10", "27 ноября в 10:00", "on Friday at 10 am")
    ]

    assert len(await planned(world, firm.admin)) == len(set(told)) == 1


async def test_what_is_ambiguous_is_asked_and_nothing_is_planned(world: World, database: Database) -> None:
    firm = await world.organization()
    box = desk(database, firm.admin, await world.chat(firm.admin))

    outcome, told = await use(box, "create_event", title="Табель", when="в следующую пятницу в 10")
    often = await use(box, "create_event", title="Табель", when="каждую минуту")

    assert (outcome, "27.11.2026 10:00 или пятница 04.12.2026 10:00?" in told) == ("refused", True)
    assert often[0] == "refused"
    assert await planned(world, firm.admin) == []


async def test_events_of_the_chat_are_listed_moved_and_cancelled_by_their_code(
    world: World, database: Database
) -> None:
    firm = await world.organization()
    chat_id, other = await world.chat(firm.admin), await world.chat(firm.admin)
    box = desk(database, firm.admin, chat_id)
    await use(box, "create_event", title="Табель", when="завтра в 10")
    await use(desk(database, firm.admin, other), "create_event", title="Чужой чат", when="завтра в 10")
    (event,) = [one for one in await planned(world, firm.admin) if one.plan.chat_id == chat_id]
    code = str(event.id)[:8]

    _, listed = await use(box, "list_events")
    _, moved = await use(
        box, "update_event", code=code, when="в понедельник в 12:00", title="Табель за ноябрь"
    )
    unknown = await use(box, "cancel_event", code="00000000")
    cancelled = await use(box, "cancel_event", code=code)

    assert code in listed
    assert "Чужой чат" not in listed
    assert "понедельник, 30 ноября 2026 г., 12:00" in moved
    assert unknown[0] == "refused"
    assert cancelled == ("ok", "Отменено: «Табель за ноябрь».")
    assert [one.plan.title for one in await planned(world, firm.admin)] == ["Чужой чат"]


async def test_another_persons_event_is_not_changed_for_who_may_not(world: World, database: Database) -> None:
    firm = await world.organization()
    bob = await world.user(firm)
    chat_id = await world.chat(firm.admin, bob)
    await use(desk(database, firm.admin, chat_id), "create_event", title="Табель", when="завтра в 10")
    (event,) = await planned(world, bob)

    outcome, _ = await use(desk(database, bob, chat_id), "cancel_event", code=str(event.id)[:8])

    assert outcome == "refused"
    assert len(await planned(world, bob)) == 1
