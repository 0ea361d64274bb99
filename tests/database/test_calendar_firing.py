"""Events come round: once for each occurrence, in the name of who planned them, whoever looks."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from engine.core.database import Database
from engine.domains import approvals, calendar, chats, runs
from engine.domains.calendar import Firing, Plan, Schedule, Scheduler
from tests.database.planning import (
    DAILY,
    NOW,
    ONCE,
    Told,
    as_owner,
    event_of,
    firings,
    make_due,
    make_retries_due,
    plan,
)
from tests.unit.scripted_model import SHIPPED
from tests.world import World, completed, failed


@pytest.fixture
def told(database: Database) -> Told:
    return Told(database)


@pytest.fixture
def scheduler(database: Database) -> Scheduler:
    return Scheduler(database, SHIPPED)


async def test_a_reminder_is_said_in_its_chat_once_and_its_people_are_told(
    world: World, scheduler: Scheduler, told: Told, database_url: str
) -> None:
    firm = await world.organization()
    bob = await world.user(firm)
    chat_id = await world.chat(firm.admin, bob)
    event = await plan(
        world,
        firm.admin,
        Plan("Сдать табель", ONCE, "До вечера, @@hr ждёт.", chat_id=chat_id, notify=(bob.id,)),
    )
    assert await scheduler.look() == 0  # It is not due yet.
    await make_due(database_url, event)

    assert await scheduler.look() == 1
    assert await scheduler.look() == 0

    (firing,) = await firings(world, bob, event)
    assert (firing.status, firing.is_manual, firing.missed) == ("done", False, 0)
    async with world.database.as_organization(firm.id) as tx:
        message = await chats.get_message(tx, bob.actor, message_id=firing.message_id or uuid4())
    assert (message.content, message.via) == ("Сдать табель\n\nДо вечера, @@hr ждёт.", "calendar")
    assert message.author_id == firm.admin.id
    (fired,) = told.fired
    assert (fired.notify, fired.message_id, fired.chat_id) == ((bob.id,), message.id, chat_id)
    assert (await event_of(world, bob, event)).status == "ended"
    assert await world.claim() == []  # A role named in a reminder is not called by it.


async def test_a_role_works_on_its_instruction_and_people_are_told_when_its_answer_is_signed(
    world: World, scheduler: Scheduler, told: Told, database_url: str
) -> None:
    firm = await world.organization()
    bob = await world.user(firm)
    chat_id = await world.chat(firm.admin, bob)
    event = await plan(
        world,
        firm.admin,
        Plan(
            "Зарплата",
            DAILY,
            role_code="accountant",
            instruction="Сверь @@hr",
            chat_id=chat_id,
            notify=(bob.id,),
        ),
    )
    await make_due(database_url, event)
    await scheduler.look()

    (claim,) = await world.claim()
    assert (claim.role_code, claim.asker_id) == ("accountant", firm.admin.id)
    await world.finish(completed(claim, "К выплате 100.", approvers=["admins"]))
    (waiting,) = await firings(world, bob, event)
    async with world.database.as_organization(firm.id) as tx:
        await approvals.decide(
            tx, firm.admin.actor, message_id=claim.answer_id, verdict=approvals.Verdict.APPROVE
        )

    assert (waiting.status, told.fired[:-1]) == ("waiting", [])
    (firing,) = await firings(world, bob, event)
    assert (firing.status, firing.answer_id) == ("done", claim.answer_id)
    assert (told.fired[0].message_id, told.fired[0].text) == (claim.answer_id, "К выплате 100.")
    going_on = await event_of(world, bob, event)
    assert going_on.status == "active"
    assert going_on.next is not None
    assert going_on.next.at > NOW


async def test_a_rejected_answer_is_told_to_nobody_and_one_nobody_signs_fails(
    world: World, scheduler: Scheduler, told: Told, database_url: str
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    events = [
        await plan(world, firm.admin, Plan(title, ONCE, role_code=role, chat_id=chat_id))
        for title, role in (("Отчёт", "hr"), ("Сводка", "lawyer"))
    ]
    for event in events:
        await make_due(database_url, event)
    await scheduler.look()
    rejected, forgotten = sorted(await world.claim(), key=lambda claim: claim.role_code)
    await world.finish(
        *[
            replace(completed(claim, approvers=["asker"]), sign_within_hours=1)
            for claim in (rejected, forgotten)
        ]
    )

    async with world.database.as_organization(firm.id) as tx:
        await approvals.decide(
            tx, firm.admin.actor, message_id=rejected.answer_id, verdict=approvals.Verdict.REJECT
        )
    assert await approvals.expire_overdue(world.database) == 0
    await as_owner(database_url, "UPDATE drafts SET expires_at = now() WHERE expires_at IS NOT NULL")
    assert await approvals.expire_overdue(world.database) == 1

    outcomes = [(await firings(world, firm.admin, event))[0] for event in events]
    assert [(one.status, one.error_code) for one in outcomes] == [
        ("cancelled", "draft_rejected"),
        ("failed", "draft_expired"),
    ]
    assert told.fired == []
    assert [one.code for one in told.failed] == ["draft_expired"]
    async with world.database.as_organization(firm.id) as tx:
        with pytest.raises(approvals.AlreadyValidated):
            await approvals.decide(
                tx, firm.admin.actor, message_id=forgotten.answer_id, verdict=approvals.Verdict.APPROVE
            )


async def test_a_failed_run_is_tried_again_in_the_same_message_and_may_yet_succeed(
    world: World, scheduler: Scheduler, told: Told, database_url: str
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    event = await plan(world, firm.admin, Plan("Отчёт", ONCE, role_code="hr", chat_id=chat_id))
    await make_due(database_url, event)
    await scheduler.look()
    (claim,) = await world.claim()
    await world.finish(failed(claim))
    assert await scheduler.look() == 0  # It waits a while.
    await make_retries_due(database_url)

    assert await scheduler.look() == 1
    (again,) = await world.claim()
    await world.finish(completed(again))

    (firing,) = await firings(world, firm.admin, event)
    assert (again.id, firing.attempts, firing.status) == (claim.id, 2, "done")
    assert len(told.fired) == 1
    assert told.failed == []


async def test_a_run_that_keeps_failing_is_told_to_its_owner_and_three_in_a_row_pause_the_event(
    world: World, scheduler: Scheduler, told: Told, database_url: str
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    event = await plan(world, firm.admin, Plan("Отчёт", DAILY, role_code="hr", chat_id=chat_id))
    for number in range(3):
        await make_due(database_url, event, late=timedelta(seconds=3 - number))
        await scheduler.look()
        for _ in range(4):
            (claim,) = await world.claim()
            await world.finish(failed(claim))
            await make_retries_due(database_url)
            await scheduler.look()

    assert [one.is_paused for one in told.failed] == [False, False, True]
    assert {one.status for one in await firings(world, firm.admin, event)} == {"failed"}
    paused = await event_of(world, firm.admin, event)
    assert (paused.status, paused.paused_because, paused.failures) == ("paused", "failures", 3)
    async with world.database.as_organization(firm.id) as tx:
        resumed = await calendar.resume_event(tx, firm.admin.actor, event_id=event.id)
    assert (resumed.status, resumed.failures) == ("active", 0)


async def test_an_event_whose_owner_or_chat_is_gone_fails_at_once_and_others_go_on(
    world: World, scheduler: Scheduler, told: Told, database_url: str
) -> None:
    firm = await world.organization()
    bob = await world.user(firm)
    left, deleted = await world.chat(firm.admin, bob), await world.chat(firm.admin)
    events = [
        await plan(world, bob, Plan("Ушёл", ONCE, chat_id=left)),
        await plan(world, firm.admin, Plan("Удалён", ONCE, chat_id=deleted)),
        await plan(world, firm.admin, Plan("Жив", ONCE)),
    ]
    async with world.database.as_organization(firm.id) as tx:
        await chats.remove_member(tx, bob.actor, chat_id=left, user_id=bob.id)
        await chats.delete_chat(tx, firm.admin.actor, chat_id=deleted)
    for event in events:
        await make_due(database_url, event)

    await scheduler.look()

    assert {(one.title, one.code) for one in told.failed} == {
        ("Ушёл", "chat_not_found"),
        ("Удалён", "chat_not_found"),
    }
    assert [one.title for one in told.fired] == ["Жив"]


async def test_schedulers_that_look_at_once_fire_each_occurrence_once(
    world: World, told: Told, database_url: str
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    events = [
        await plan(world, firm.admin, Plan(f"№{number}", DAILY, chat_id=chat_id)) for number in range(40)
    ]
    for event in events:
        await make_due(database_url, event)

    await asyncio.gather(*[Scheduler(world.database, SHIPPED).look() for _ in range(4)])
    await Scheduler(world.database, SHIPPED).look()

    assert sorted(one.event_id for one in told.fired) == sorted(event.id for event in events)
    async with world.database.as_organization(firm.id) as tx:
        assert (
            len(await chats.history(tx, firm.admin.actor, chat_id=chat_id, before_no=None, limit=100)) == 40
        )


async def test_a_broken_event_is_paused_and_holds_up_no_others(
    world: World, scheduler: Scheduler, told: Told, database_url: str
) -> None:
    firm = await world.organization()
    broken, sound = [await plan(world, firm.admin, Plan(title, DAILY)) for title in ("Сломан", "Цел")]
    await as_owner(database_url, "UPDATE calendar_events SET cron = 'broken' WHERE id = $1", broken.id)
    for event in (broken, sound):
        await make_due(database_url, event)

    await scheduler.look()

    assert [one.event_id for one in told.fired] == [sound.id]
    assert [(one.event_id, one.code) for one in told.failed] == [(broken.id, "internal_error")]


@pytest.mark.parametrize(
    ("misfire", "fired", "missed", "skipped"),
    [("run_once", 1, 2, 0), ("run_all", 3, 0, 0), ("skip", 0, 0, 3)],
)
async def test_what_was_missed_follows_the_events_policy(
    world: World,
    scheduler: Scheduler,
    told: Told,
    database_url: str,
    misfire: calendar.Misfire,
    fired: int,
    missed: int,
    skipped: int,
) -> None:
    """The engine was down for two and a half hours; the event comes every hour."""
    firm = await world.organization()
    hourly = Schedule("interval", datetime.now(UTC) - timedelta(hours=5.5), "UTC", every_seconds=3600)
    event = await plan(world, firm.admin, Plan("Час", hourly, misfire=misfire, grace_seconds=60))
    await as_owner(
        database_url,
        "UPDATE calendar_events SET next_at = starts_at + interval '3 hours',"
        " next_nominal = starts_at + interval '3 hours'",
    )

    await scheduler.look()

    done = await firings(world, firm.admin, event)
    assert len(told.fired) == fired
    assert [one.missed for one in done if one.status == "done"] == [missed] * fired
    assert sum(one.missed for one in done if one.status == "skipped") == skipped
    after = await event_of(world, firm.admin, event)
    assert after.next is not None
    assert after.next.at == hourly.starts_at + timedelta(hours=6)


async def test_what_is_late_but_within_its_grace_is_on_time(
    world: World, scheduler: Scheduler, told: Told, database_url: str
) -> None:
    firm = await world.organization()
    event = await plan(world, firm.admin, Plan("Табель", DAILY, misfire="skip", grace_seconds=3600))
    await make_due(database_url, event, late=timedelta(minutes=30))

    await scheduler.look()

    assert [one.event_id for one in told.fired] == [event.id]


async def test_firing_now_leaves_the_schedule_alone(world: World, told: Told) -> None:
    firm = await world.organization()
    event = await plan(world, firm.admin, Plan("Табель", DAILY))
    async with world.database.as_organization(firm.id) as tx:
        firing = await calendar.fire_now(tx, firm.admin.actor, event_id=event.id, known_roles=SHIPPED)

    assert (firing.status, firing.is_manual) == ("done", True)
    assert len(told.fired) == 1
    assert (await event_of(world, firm.admin, event)).next == event.next


async def test_pay_day_follows_the_days_that_an_admin_moves(world: World) -> None:
    firm = await world.organization()
    monthly = Schedule(
        "recurring", NOW - timedelta(days=1), "Europe/Moscow", cron="0 9 * * *", working_days="skip"
    )
    event = await plan(world, firm.admin, Plan("Зарплата", monthly))
    assert event.next is not None
    day = event.next.at.date()

    async with world.database.as_organization(firm.id) as tx:
        await calendar.set_working_days(tx, firm.admin.actor, country="RU", year=day.year, days={day: False})
    moved = await event_of(world, firm.admin, event)

    assert moved.next is not None
    assert moved.next.at.date() > day


async def test_the_scheduler_wakes_for_what_was_planned_just_now(world: World, told: Told) -> None:
    firm = await world.organization()
    running = asyncio.create_task(Scheduler(world.database, SHIPPED).run())
    await asyncio.sleep(0.3)
    due = datetime.now(UTC) + timedelta(seconds=1)
    await plan(world, firm.admin, Plan("Сейчас", Schedule("one_time", due, "UTC")))

    async with asyncio.timeout(10):
        await told.something.wait()
    late = datetime.now(UTC) - due
    running.cancel()

    assert timedelta() <= late < timedelta(seconds=2)


def run_of(firing: Firing) -> UUID:
    assert firing.run_id is not None
    return firing.run_id


async def test_a_cancelled_run_ends_its_firing_and_counts_as_no_failure(
    world: World, scheduler: Scheduler, told: Told, database_url: str
) -> None:
    firm = await world.organization()
    chat_id = await world.chat(firm.admin)
    event = await plan(world, firm.admin, Plan("Отчёт", DAILY, role_code="hr", chat_id=chat_id))
    await make_due(database_url, event)
    await scheduler.look()
    (firing,) = await firings(world, firm.admin, event)
    async with world.database.as_organization(firm.id) as tx:
        await runs.cancel(tx, firm.admin.actor, run_id=run_of(firing))

    (ended,) = await firings(world, firm.admin, event)
    assert ended.status == "cancelled"
    assert told.failed == []
    assert (await event_of(world, firm.admin, event)).failures == 0
