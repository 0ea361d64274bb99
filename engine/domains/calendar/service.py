"""Planning: what people do with events before and after they come round."""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from uuid import UUID, uuid4

from engine.core.database import Database, Transaction
from engine.domains import audit, chats, users
from engine.domains.calendar import repository
from engine.domains.calendar.errors import (
    EventHasEnded,
    EventInvalid,
    EventNotFound,
    FeedNotFound,
    NotYourEvent,
    TooManyEvents,
    TooManyOccurrences,
)
from engine.domains.calendar.models import (
    CalendarChanged,
    CalendarEvent,
    EventStatus,
    Firing,
    Occurrence,
    Plan,
)
from engine.domains.calendar.planning import check_plan, first_occurrence
from engine.domains.calendar.recurrence import next_occurrence, occurrences
from engine.domains.calendar.working_days import WorkingCalendar
from engine.domains.users import Actor

MOST_EVENTS = 1000  # of one person, that are not over
MOST_OCCURRENCES = 1000  # in one preview
FARTHEST_PREVIEW = timedelta(days=5 * 366)
MOST_DAYS = 366


async def create_event(
    tx: Transaction,
    actor: Actor,
    plan: Plan,
    *,
    known_roles: chats.RoleNames,
    uid: str | None = None,
    event_id: UUID | None = None,
) -> CalendarEvent:
    """Plan something. With an `event_id` of the caller's, planning it again changes nothing."""
    if event_id is not None:
        existing = await repository.find_event(tx, event_id=event_id, user_id=actor.user_id)
        if existing is not None:
            return existing
    if await repository.count_events(tx, user_id=actor.user_id) >= MOST_EVENTS:
        raise TooManyEvents(f"A person has {MOST_EVENTS} events at most.", limit=MOST_EVENTS)
    plan = await _checked(tx, actor, plan, known_roles)
    working = await working_calendar(tx, plan.schedule.country)
    event_id = event_id or uuid4()
    await repository.insert_event(
        tx,
        event_id=event_id,
        owner_id=actor.user_id,
        plan=plan,
        following=first_occurrence(plan.schedule, working, now=datetime.now(UTC)),
        uid=uid or f"{event_id}@rugpt",
    )
    await audit.record(tx, actor_id=actor.user_id, action="event.created", subject_id=event_id)
    return await _changed(tx, actor, event_id, "created")


async def change_event(
    tx: Transaction, actor: Actor, *, event_id: UUID, plan: Plan, known_roles: chats.RoleNames
) -> CalendarEvent:
    """Give an event another plan; one that was over or paused goes on."""
    await own_event(tx, actor, event_id)
    plan = await _checked(tx, actor, plan, known_roles)
    working = await working_calendar(tx, plan.schedule.country)
    following = first_occurrence(plan.schedule, working, now=datetime.now(UTC))
    await repository.replace_event(tx, event_id=event_id, plan=plan, following=following, status="active")
    await audit.record(tx, actor_id=actor.user_id, action="event.changed", subject_id=event_id)
    return await _changed(tx, actor, event_id, "updated")


async def delete_event(tx: Transaction, actor: Actor, *, event_id: UUID) -> None:
    """Let an event come no more; what happened stays."""
    event = await own_event(tx, actor, event_id)
    await repository.set_status(tx, event_id=event_id, status="deleted", because=None, following=None)
    await audit.record(tx, actor_id=actor.user_id, action="event.deleted", subject_id=event_id)
    _announce(tx, event, "deleted")


async def pause_event(tx: Transaction, actor: Actor, *, event_id: UUID) -> CalendarEvent:
    """Let an event rest until it is resumed."""
    event = await own_event(tx, actor, event_id)
    if event.status == "ended":
        raise EventHasEnded("The event is over.", event_id=event_id)
    if event.status == "paused":
        return event
    await repository.set_status(
        tx, event_id=event_id, status="paused", because="a person", following=event.next
    )
    await audit.record(tx, actor_id=actor.user_id, action="event.paused", subject_id=event_id)
    return await _changed(tx, actor, event_id, "updated")


async def resume_event(tx: Transaction, actor: Actor, *, event_id: UUID) -> CalendarEvent:
    """Let a paused event go on with what is still to come; what it missed is not made good."""
    event = await own_event(tx, actor, event_id)
    if event.status == "active":
        return event
    working = await working_calendar(tx, event.plan.schedule.country)
    following = next_occurrence(event.plan.schedule, after=datetime.now(UTC), working=working)
    if following is None:
        raise EventHasEnded("The event is over.", event_id=event_id)
    await repository.set_status(tx, event_id=event_id, status="active", because=None, following=following)
    await audit.record(tx, actor_id=actor.user_id, action="event.resumed", subject_id=event_id)
    return await _changed(tx, actor, event_id, "updated")


async def get_event(tx: Transaction, actor: Actor, *, event_id: UUID) -> CalendarEvent:
    """Return an event to its owner, to whom it tells, and to those who are in its chat."""
    event = await repository.find_event(tx, event_id=event_id, user_id=actor.user_id)
    if event is None:
        raise EventNotFound(event_id)
    return event


async def own_event(tx: Transaction, actor: Actor, event_id: UUID) -> CalendarEvent:
    """Hold an event for whoever may change it: its owner, or an administrator who sees it."""
    event = await get_event(tx, actor, event_id=event_id)
    if event.owner_id != actor.user_id and not actor.is_admin:
        raise NotYourEvent("Only who planned it, or an administrator who sees it, can do this.")
    await repository.lock_event(tx, event_id=event_id)
    return await get_event(tx, actor, event_id=event_id)


async def list_events(
    tx: Transaction,
    actor: Actor,
    *,
    mine: bool = False,
    chat_id: UUID | None = None,
    status: EventStatus | None = None,
    after_id: UUID | None = None,
    limit: int = 50,
) -> list[CalendarEvent]:
    """Return a page of the events that one may see, by id."""
    return await repository.list_events(
        tx, user_id=actor.user_id, mine=mine, chat_id=chat_id, status=status, after_id=after_id, count=limit
    )


async def preview(
    tx: Transaction, plan: Plan, *, since: datetime, until: datetime, limit: int = MOST_OCCURRENCES
) -> list[Occurrence]:
    """Return the first `limit` occurrences of a plan between two moments; refuses more than 1,000."""
    if not since < until <= since + FARTHEST_PREVIEW:
        raise TooManyOccurrences("A preview reaches from a moment to a later one, five years at most.")
    working = await working_calendar(tx, plan.schedule.country)
    coming = occurrences(plan.schedule, after=since - timedelta(microseconds=1), working=working)
    found: list[Occurrence] = []
    for occurrence in takewhile(lambda one: one.at < until, coming):
        if len(found) == limit:
            if limit < MOST_OCCURRENCES:
                break
            raise TooManyOccurrences(
                f"There are more than {MOST_OCCURRENCES}; ask for less time.", limit=MOST_OCCURRENCES
            )
        found.append(occurrence)
    return found


async def check(tx: Transaction, actor: Actor, plan: Plan, *, known_roles: chats.RoleNames) -> Plan:
    """Return the plan as it would be kept, or refuse it; nothing is kept."""
    plan = await _checked(tx, actor, plan, known_roles)
    first_occurrence(plan.schedule, await working_calendar(tx, plan.schedule.country), now=datetime.now(UTC))
    return plan


async def list_firings(
    tx: Transaction, actor: Actor, *, event_id: UUID, before: tuple[datetime, UUID] | None, limit: int
) -> list[Firing]:
    """Return a page of what happened with an event, newest first."""
    await get_event(tx, actor, event_id=event_id)
    before_at, before_id = before or (None, None)
    return await repository.firings_of_event(
        tx, event_id=event_id, before_at=before_at, before_id=before_id, count=limit
    )


async def working_calendar(tx: Transaction, country: str) -> WorkingCalendar:
    """Return the working days of a country as the organization sees them."""
    return WorkingCalendar(country, await repository.changed_days(tx, country=country))


async def set_working_days(
    tx: Transaction, actor: Actor, *, country: str, year: int, days: Mapping[date, bool]
) -> None:
    """Say which days of a year are worked where the country's calendar says otherwise; replaces the year's.

    Events that keep to working days come by the new ones from here on.
    """
    users.require_admin(actor)
    WorkingCalendar(country)
    if len(days) > MOST_DAYS or any(day.year != year for day in days):
        raise EventInvalid("The days are all of one year.", field="days")
    await repository.set_days(tx, country=country, year=year, days=dict(days))
    working = await working_calendar(tx, country)
    for event in await repository.events_of_country(tx, country=country):
        following = next_occurrence(event.plan.schedule, after=datetime.now(UTC), working=working)
        await repository.set_next(tx, event_id=event.id, following=following)
    tx.after_commit(CalendarChanged())
    await audit.record(tx, actor_id=actor.user_id, action="working_days.set", country=country, year=year)


async def open_feed(tx: Transaction, actor: Actor) -> str:
    """Give the actor's calendar feed a new secret address and return its secret; the old one ends."""
    token = secrets.token_urlsafe(32)
    await repository.set_feed(tx, user_id=actor.user_id, token_hash=_hash(token))
    await audit.record(tx, actor_id=actor.user_id, action="calendar_feed.opened")
    return token


async def close_feed(tx: Transaction, actor: Actor) -> None:
    """Take the address of the actor's calendar feed away."""
    await repository.delete_feed(tx, user_id=actor.user_id)
    await audit.record(tx, actor_id=actor.user_id, action="calendar_feed.closed")


async def feed_reader(database: Database, token: str) -> Actor:
    """Return whose feed a secret address is; raises FeedNotFound for any other, and for inactive people."""
    async with database.across_organizations(reason="read a calendar feed") as tx:
        found = await repository.feed_of_token(tx, token_hash=_hash(token))
    if found is None:
        raise FeedNotFound
    org_id, user_id = found
    async with database.as_organization(org_id) as tx:
        (user,) = await users.by_ids(tx, [user_id])
    if not user.is_active:
        raise FeedNotFound
    return Actor(org_id, user_id, user.role)


async def _checked(tx: Transaction, actor: Actor, plan: Plan, known_roles: chats.RoleNames) -> Plan:
    plan = check_plan(plan)
    if plan.role_code is not None and plan.role_code not in set(known_roles.names().values()):
        raise EventInvalid("There is no such role. GET /roles lists them.", field="role")
    active = {user.id for user in await users.by_ids(tx, list(plan.notify)) if user.is_active}
    for user_id in plan.notify:
        if user_id not in active:
            raise users.UserNotFound(user_id)
    if plan.chat_id is not None:
        chat = await chats.get_chat(tx, actor, chat_id=plan.chat_id)
        if not set(plan.notify) <= set(chat.members):
            # What is said in a chat is told to nobody else.
            raise EventInvalid("Only people of the event's chat can be told.", field="notify")
    return plan


async def _changed(tx: Transaction, actor: Actor, event_id: UUID, what: str) -> CalendarEvent:
    event = await get_event(tx, actor, event_id=event_id)
    _announce(tx, event, what)
    tx.after_commit(CalendarChanged())
    return event


def _announce(tx: Transaction, event: CalendarEvent, what: str) -> None:
    channels = {event.owner_id, *event.plan.notify}
    if event.plan.chat_id is not None:
        channels = {event.plan.chat_id, event.owner_id}
    for channel in channels:
        tx.announce(channel, f"calendar.{what}", {"event_id": event.id})


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
