"""The tables of the calendar."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import date, datetime
from typing import Any
from uuid import UUID

from asyncpg import Record

from engine.core.database import Transaction
from engine.core.sql import load
from engine.domains.calendar.models import CalendarEvent, Firing, Occurrence, Plan, Schedule

SQL = load(__file__)
_SCHEDULE = (
    "kind", "starts_at", "timezone", "cron", "rrule", "every_seconds", "ends_at", "count", "working_days",
    "country",
)  # fmt: skip


async def insert_event(
    tx: Transaction, *, event_id: UUID, owner_id: UUID, plan: Plan, following: Occurrence, uid: str
) -> None:
    """Add an event with the people to tell."""
    await tx.run(
        SQL.insert_event,
        event_id=event_id,
        owner_id=owner_id,
        uid=uid,
        next_nominal=following.nominal,
        next_at=following.at,
        **_columns(plan),
    )
    await tx.run(SQL.set_guests, event_id=event_id, user_ids=list(plan.notify))


async def replace_event(
    tx: Transaction, *, event_id: UUID, plan: Plan, following: Occurrence, status: str
) -> None:
    """Give an event a new plan."""
    await tx.run(
        SQL.replace_event,
        event_id=event_id,
        status=status,
        next_nominal=following.nominal,
        next_at=following.at,
        **_columns(plan),
    )
    await tx.run(SQL.set_guests, event_id=event_id, user_ids=list(plan.notify))


async def find_event(tx: Transaction, *, event_id: UUID, user_id: UUID) -> CalendarEvent | None:
    """Return an event to a person who may see it."""
    row = await tx.maybe(SQL.visible_event, event_id=event_id, user_id=user_id)
    return _event(row) if row else None


async def list_events(
    tx: Transaction,
    *,
    user_id: UUID,
    mine: bool,
    chat_id: UUID | None,
    status: str | None,
    after_id: UUID | None,
    count: int,
) -> list[CalendarEvent]:
    """Return a page of the events that a person may see."""
    rows = await tx.all(
        SQL.visible_events,
        user_id=user_id,
        mine=mine,
        chat_id=chat_id,
        status=status,
        after_id=after_id,
        count=count,
    )
    return [_event(row) for row in rows]


async def event_of_uid(tx: Transaction, *, user_id: UUID, uid: str) -> CalendarEvent | None:
    """Return the event that a person's calendar program knows by a name."""
    row = await tx.maybe(SQL.event_of_uid, user_id=user_id, uid=uid)
    return _event(row) if row else None


async def count_events(tx: Transaction, *, user_id: UUID) -> int:
    """Count a person's events that are not over."""
    count: int = (await tx.one(SQL.count_events, user_id=user_id))["count"]
    return count


async def lock_event(tx: Transaction, *, event_id: UUID) -> None:
    """Hold an event until the commit."""
    await tx.maybe(SQL.lock_event, event_id=event_id)


async def set_status(
    tx: Transaction, *, event_id: UUID, status: str, because: str | None, following: Occurrence | None
) -> None:
    """Pause an event, let it go on, or end it."""
    await tx.run(SQL.set_status, event_id=event_id, status=status, because=because, **_next(following))


async def due(tx: Transaction, *, count: int) -> tuple[list[Record], list[Record]]:
    """Return the (org_id, id) of events that are due, and of firings to be tried again."""
    return await tx.all(SQL.due_events, count=count), await tx.all(SQL.due_retries, count=count)


async def seconds_to_next(tx: Transaction) -> float | None:
    """Return how long nothing is due, in any organization."""
    seconds: float | None = (await tx.one(SQL.seconds_to_next))["seconds"]
    return seconds


async def chats_of_events(tx: Transaction, *, event_ids: list[UUID]) -> list[UUID]:
    """Return the chats of some events."""
    return [row["chat_id"] for row in await tx.all(SQL.chats_of_events, event_ids=event_ids)]


async def take_due(tx: Transaction, *, event_ids: list[UUID]) -> list[tuple[CalendarEvent, datetime]]:
    """Hold events that are still due; return them with the database's time."""
    return [(_event(row), row["at"]) for row in await tx.all(SQL.take_due, event_ids=event_ids)]


async def event_of_firing(tx: Transaction, *, event_id: UUID) -> CalendarEvent:
    """Return an event, whoever asks."""
    return _event(await tx.one(SQL.event_of_firing, event_id=event_id))


async def insert_firing(
    tx: Transaction,
    *,
    event_id: UUID,
    occurrence: Occurrence,
    status: str,
    missed: int,
    is_manual: bool = False,
) -> UUID | None:
    """Add the firing of an occurrence, or return None when it has fired before."""
    row = await tx.maybe(
        SQL.insert_firing,
        event_id=event_id,
        occurrence=occurrence.nominal,
        due_at=occurrence.at,
        status=status,
        missed=missed,
        is_manual=is_manual,
    )
    return row["id"] if row else None


async def set_firing(
    tx: Transaction,
    *,
    firing_id: UUID,
    status: str,
    message_id: UUID | None = None,
    run_id: UUID | None = None,
    answer_id: UUID | None = None,
    error_code: str | None = None,
    error_detail: str | None = None,
    attempts: int = 1,
    retry_seconds: float | None = None,
) -> None:
    """Keep what became of a firing at its start."""
    await tx.run(
        SQL.set_firing,
        firing_id=firing_id,
        status=status,
        message_id=message_id,
        run_id=run_id,
        answer_id=answer_id,
        error_code=error_code,
        error_detail=error_detail,
        attempts=attempts,
        retry_seconds=retry_seconds,
    )


async def set_next(tx: Transaction, *, event_id: UUID, following: Occurrence | None) -> None:
    """Say when an event comes next."""
    await tx.run(SQL.set_next, event_id=event_id, **_next(following))


async def chats_of_firing(tx: Transaction, *, firing_id: UUID) -> list[UUID]:
    """Return the chat of a firing's event, if it has one."""
    return [row["chat_id"] for row in await tx.all(SQL.chats_of_firing, firing_id=firing_id)]


async def take_retry(tx: Transaction, *, firing_id: UUID) -> Record | None:
    """Hold a firing that is to be tried again, unless somebody else does."""
    return await tx.maybe(SQL.take_retry, firing_id=firing_id)


async def firings_of_runs(tx: Transaction, *, run_ids: list[UUID]) -> dict[UUID, Record]:
    """Return the firings that wait for some runs, by run."""
    return {row["run_id"]: row for row in await tx.all(SQL.firings_of_runs, run_ids=run_ids)}


async def firing_of_answer(tx: Transaction, *, run_id: UUID) -> Record | None:
    """Return the firing whose answer waits for a signature."""
    return await tx.maybe(SQL.firing_of_answer, run_id=run_id)


async def end_firing(
    tx: Transaction,
    *,
    firing_id: UUID,
    status: str,
    answer_id: UUID | None = None,
    error_code: str | None = None,
    error_detail: str | None = None,
) -> datetime:
    """Move a firing on; return when it was due."""
    row = await tx.one(
        SQL.end_firing,
        firing_id=firing_id,
        status=status,
        answer_id=answer_id,
        error_code=error_code,
        error_detail=error_detail,
    )
    due_at: datetime = row["due_at"]
    return due_at


async def retry_later(
    tx: Transaction, *, firing_id: UUID, seconds: float, error_code: str | None, error_detail: str | None
) -> None:
    """Let a failed run be tried again in a while."""
    await tx.run(
        SQL.retry_later,
        firing_id=firing_id,
        seconds=seconds,
        error_code=error_code,
        error_detail=error_detail,
    )


async def count_attempt(tx: Transaction, *, firing_id: UUID) -> None:
    """Begin one more attempt."""
    await tx.run(SQL.count_attempt, firing_id=firing_id)


async def forgive(tx: Transaction, *, event_id: UUID) -> None:
    """Count failures anew."""
    await tx.run(SQL.forgive, event_id=event_id)


async def count_failure(tx: Transaction, *, event_id: UUID, most: int) -> bool:
    """Count a failed firing; return whether the event is paused now."""
    is_paused: bool = (await tx.one(SQL.count_failure, event_id=event_id, most=most))["is_paused"]
    return is_paused


async def firings_of_event(
    tx: Transaction, *, event_id: UUID, before_at: datetime | None, before_id: UUID | None, count: int
) -> list[Firing]:
    """Return a page of what happened, newest first."""
    rows = await tx.all(
        SQL.firings_of_event, event_id=event_id, before_at=before_at, before_id=before_id, count=count
    )
    return [Firing(**row) for row in rows]


async def changed_days(tx: Transaction, *, country: str) -> dict[date, bool]:
    """Return what the organization says of single days."""
    return {row["day"]: row["is_working"] for row in await tx.all(SQL.changed_days, country=country)}


async def set_days(tx: Transaction, *, country: str, year: int, days: dict[date, bool]) -> None:
    """Keep what the organization says of a year's days."""
    await tx.run(SQL.set_days, country=country, year=year, days=list(days), are_working=list(days.values()))


async def events_of_country(tx: Transaction, *, country: str) -> list[CalendarEvent]:
    """Hold the active events whose days are a country's."""
    return [_event(row) for row in await tx.all(SQL.events_of_country, country=country)]


async def set_feed(tx: Transaction, *, user_id: UUID, token_hash: bytes) -> None:
    """Give a person's feed a new address."""
    await tx.run(SQL.set_feed, user_id=user_id, token_hash=token_hash)


async def delete_feed(tx: Transaction, *, user_id: UUID) -> None:
    """Take the address of a person's feed away."""
    await tx.run(SQL.delete_feed, user_id=user_id)


async def feed_of_token(tx: Transaction, *, token_hash: bytes) -> tuple[UUID, UUID] | None:
    """Return the organization and the person whose feed an address is."""
    row = await tx.maybe(SQL.feed_of_token, token_hash=token_hash)
    return (row["org_id"], row["user_id"]) if row else None


def _columns(plan: Plan) -> dict[str, Any]:
    columns: dict[str, Any] = asdict(plan)
    schedule: dict[str, Any] = columns.pop("schedule")
    del columns["notify"]
    return columns | schedule | {"exdates": list(plan.schedule.exdates)}


def _next(following: Occurrence | None) -> dict[str, datetime | None]:
    return {
        "next_nominal": following.nominal if following else None,
        "next_at": following.at if following else None,
    }


def _event(row: Record) -> CalendarEvent:
    schedule = Schedule(**{name: row[name] for name in _SCHEDULE}, exdates=tuple(row["exdates"]))
    plan = Plan(
        title=row["title"],
        schedule=schedule,
        description=row["description"],
        role_code=row["role_code"],
        instruction=row["instruction"],
        chat_id=row["chat_id"],
        notify=tuple(row["notify"]),
        misfire=row["misfire"],
        grace_seconds=row["grace_seconds"],
    )
    return CalendarEvent(
        id=row["id"],
        owner_id=row["owner_id"],
        plan=plan,
        status=row["status"],
        paused_because=row["paused_because"],
        failures=row["failures"],
        next=Occurrence(row["next_nominal"], row["next_at"]) if row["next_at"] else None,
        version=row["version"],
        uid=row["uid"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def ids(rows: Iterable[Record]) -> dict[UUID, list[UUID]]:
    """Group the ids of rows by organization."""
    found: dict[UUID, list[UUID]] = {}
    for row in rows:
        found.setdefault(row["org_id"], []).append(row["id"])
    return found
