"""Calendar programs: what they subscribe to, and what they bring."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from engine.core.database import Transaction
from engine.core.errors import Refusal
from engine.domains import chats
from engine.domains.calendar import ics, repository, service
from engine.domains.calendar.models import CalendarEvent
from engine.domains.calendar.working_days import WorkingCalendar
from engine.domains.users import Actor

MOST_IN_A_FEED = 1000


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file; `refused` are titles with reasons."""

    created: int
    updated: int
    refused: list[tuple[str, str]]


async def write_feed(tx: Transaction, reader: Actor, *, now: datetime) -> bytes:
    """Return what a person may see of the calendar, for calendar programs."""
    events = await service.list_events(tx, reader, limit=MOST_IN_A_FEED)
    calendars: dict[str, WorkingCalendar] = {}
    for country in {event.plan.schedule.country for event in events}:
        calendars[country] = await service.working_calendar(tx, country)
    return ics.write(
        ((event, calendars[event.plan.schedule.country]) for event in events if event.status != "ended"),
        now=now,
    )


async def import_ics(
    tx: Transaction,
    actor: Actor,
    text: str,
    *,
    timezone: str,
    chat_id: UUID | None,
    known_roles: chats.RoleNames,
) -> Imported:
    """Plan what a file holds, in the actor's name; what has a known UID is changed, and no role is called."""
    found = ics.read(text, timezone=timezone, now=datetime.now(UTC))
    created = updated = 0
    for uid, plan in found.plans.items():
        before: CalendarEvent | None = await repository.event_of_uid(tx, user_id=actor.user_id, uid=uid)
        if before is None:
            plan = replace(plan, chat_id=chat_id, notify=(actor.user_id,))
        else:  # A program knows what and when; the rest is as it was.
            plan = replace(
                before.plan, title=plan.title, description=plan.description, schedule=plan.schedule
            )
        try:
            async with tx.attempt():
                if before is None:
                    await service.create_event(tx, actor, plan, known_roles=known_roles, uid=uid)
                    created += 1
                else:
                    await service.change_event(
                        tx, actor, event_id=before.id, plan=plan, known_roles=known_roles
                    )
                    updated += 1
        except chats.ChatNotFound:
            raise
        except Refusal as refusal:
            found.refused.append((plan.title, refusal.message))
    return Imported(created, updated, found.refused)
