"""Firing: what happens when an event comes round, once for each occurrence, whoever looks."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from engine.core.database import Transaction
from engine.core.errors import Refusal
from engine.domains import approvals, chats, runs, users
from engine.domains.calendar import repository, service
from engine.domains.calendar.errors import OwnerAway
from engine.domains.calendar.misfires import what_is_due
from engine.domains.calendar.models import CalendarEvent, EventFired, Firing, FiringFailed, Occurrence
from engine.domains.users import Actor

MOST_ATTEMPTS = 4
FIRST_RETRY_SECONDS = 30.0
MOST_FAILURES = 3  # in a row; then the event is paused
VIA = "calendar"


@dataclass(frozen=True, slots=True)
class Started:
    """What a firing said in its chat, and the run that it began."""

    message: chats.Message | None
    run: runs.Run | None


async def fire_due(tx: Transaction, event_ids: list[UUID], *, known_roles: chats.RoleNames) -> int:
    """Fire those of one organization's events that are due; return how many firings there were.

    Firing, message, run and notifications become true together, with when the event comes next. Events
    that somebody else has in hand are left to them.
    """
    # Chats are locked first and in order, as everywhere.
    await chats.lock_existing(tx, await repository.chats_of_events(tx, event_ids=event_ids))
    fired = 0
    events = await repository.take_due(tx, event_ids=event_ids)
    countries = {event.plan.schedule.country for event, _ in events}
    days = {country: await service.working_calendar(tx, country) for country in countries}
    for event, now in events:
        assert event.next is not None
        working = days[event.plan.schedule.country]
        due = what_is_due(event.plan, event.next, now=now, working=working)
        if due.skipped is not None:
            occurrence, missed = due.skipped
            await repository.insert_firing(
                tx, event_id=event.id, occurrence=occurrence, status="skipped", missed=missed
            )
        for occurrence, missed in due.fire:
            fired += await _fire(tx, event, occurrence, missed=missed, known_roles=known_roles)
        await repository.set_next(tx, event_id=event.id, following=due.next)
    return fired


async def fire_now(tx: Transaction, actor: Actor, *, event_id: UUID, known_roles: chats.RoleNames) -> Firing:
    """Let an event happen now, besides its schedule."""
    event = await service.get_event(tx, actor, event_id=event_id)
    if event.plan.chat_id is not None:
        await chats.lock_existing(tx, [event.plan.chat_id])
    event = await service.own_event(tx, actor, event_id)
    moment = datetime.now(UTC)
    await _fire(tx, event, Occurrence(moment, moment), missed=0, known_roles=known_roles, is_manual=True)
    (firing,) = await repository.firings_of_event(
        tx, event_id=event_id, before_at=None, before_id=None, count=1
    )
    return firing


async def pause_broken(tx: Transaction, event_id: UUID) -> None:
    """Pause an event that the engine itself cannot fire, so that it holds up no others; tell its owner."""
    event = await repository.event_of_firing(tx, event_id=event_id)
    await repository.set_status(
        tx, event_id=event_id, status="paused", because="internal_error", following=event.next
    )
    detail = "The engine failed here; the error is in its log."
    plan = event.plan
    await tx.emit(
        FiringFailed(
            event_id,
            event_id,
            plan.title,
            event.owner_id,
            plan.chat_id,
            "internal_error",
            detail,
            is_paused=True,
        )
    )


async def try_again(tx: Transaction, firing_id: UUID, *, known_roles: chats.RoleNames) -> bool:
    """Let a firing's failed run be worked once more, or begin the run that could not begin.

    False when there was nothing to try, or somebody else has it in hand.
    """
    if chat_ids := await repository.chats_of_firing(tx, firing_id=firing_id):
        await chats.lock_existing(tx, chat_ids)
    row = await repository.take_retry(tx, firing_id=firing_id)
    if row is None:
        return False
    event = await repository.event_of_firing(tx, event_id=row["event_id"])
    await repository.count_attempt(tx, firing_id=firing_id)
    try:
        async with tx.attempt():
            actor = await _owner(tx, event)
            if row["run_id"] is not None:
                await runs.retry(tx, actor, run_id=row["run_id"])
                return True
            started = await _start(tx, actor, event, firing_id, known_roles)
    except Refusal as refusal:
        await _not_done(tx, event, firing_id, row["attempts"] + 1, refusal.code, refusal.message)
        return True
    await _keep_start(
        tx, event, firing_id, started, attempts=row["attempts"] + 1, occurs_at=row["occurrence"]
    )
    return True


async def hear_ends(tx: Transaction, ended: runs.RunsEnded) -> None:
    """Go on with the firings whose runs ended; listens to RunsEnded."""
    firings = await repository.firings_of_runs(tx, run_ids=[end.run_id for end in ended.ends])
    for end in ended.ends:
        if (firing := firings.get(end.run_id)) is None:
            continue
        event = await repository.event_of_firing(tx, event_id=firing["event_id"])
        if end.status == "failed":
            code, detail = end.error_code or "run_failed", end.error_detail or ""
            await _not_done(tx, event, firing["id"], firing["attempts"], code, detail)
        elif end.status == "cancelled":
            await repository.end_firing(
                tx, firing_id=firing["id"], status="cancelled", error_code="cancelled"
            )
        elif end.approvers is not None:
            await repository.end_firing(tx, firing_id=firing["id"], status="waiting", answer_id=end.answer_id)
        else:
            message = (await chats.messages_by_ids(tx, [end.answer_id]))[end.answer_id]
            await _done(tx, event, firing["id"], message)


async def hear_verdict(tx: Transaction, decided: approvals.DraftDecided) -> None:
    """Go on with the firing whose answer was signed, or was not; listens to DraftDecided."""
    draft = decided.draft
    firing = await repository.firing_of_answer(tx, run_id=draft.run_id)
    if firing is None:
        return
    event = await repository.event_of_firing(tx, event_id=firing["event_id"])
    if draft.status in ("approved", "edited"):
        await _done(tx, event, firing["id"], decided.message)
    elif draft.status == "expired":
        await _failed(tx, event, firing["id"], "draft_expired", "Nobody signed the answer in time.")
    else:
        await repository.end_firing(
            tx, firing_id=firing["id"], status="cancelled", error_code=f"draft_{draft.status}"
        )


async def _fire(
    tx: Transaction,
    event: CalendarEvent,
    occurrence: Occurrence,
    *,
    missed: int,
    known_roles: chats.RoleNames,
    is_manual: bool = False,
) -> bool:
    firing_id = await repository.insert_firing(
        tx, event_id=event.id, occurrence=occurrence, status="running", missed=missed, is_manual=is_manual
    )
    if firing_id is None:
        return False
    try:
        async with tx.attempt():
            started = await _start(tx, await _owner(tx, event), event, firing_id, known_roles)
    except Refusal as refusal:
        await _not_done(
            tx, event, firing_id, 1, refusal.code, refusal.message, is_fatal=not _may_pass(refusal)
        )
    else:
        await _keep_start(tx, event, firing_id, started, attempts=1, occurs_at=occurrence.at)
    return True


async def _start(
    tx: Transaction, actor: Actor, event: CalendarEvent, firing_id: UUID, known_roles: chats.RoleNames
) -> Started:
    plan = event.plan
    if plan.chat_id is None:
        return Started(None, None)
    role = plan.role_code
    text = "\n\n".join(filter(None, (plan.title, plan.description)))
    posted = await chats.post_message(
        tx,
        actor,
        chat_id=plan.chat_id,
        content=text if role is None else f"@@{role} {plan.instruction or text}",
        known_roles=known_roles,
        client_message_id=f"firing:{firing_id}",
        calls=[role] if role else [],
        via=VIA,
    )
    started = runs.among(posted)
    if role is not None and not started:
        raise runs.RunNotRetryable("This role may not be called in this chat.", role=role)
    return Started(posted.message, started[0] if started else None)


async def _keep_start(
    tx: Transaction,
    event: CalendarEvent,
    firing_id: UUID,
    started: Started,
    *,
    attempts: int,
    occurs_at: datetime,
) -> None:
    message, run = started.message, started.run
    await repository.set_firing(
        tx,
        firing_id=firing_id,
        status="running" if run else "done",
        message_id=message.id if message else None,
        run_id=run.id if run else None,
        attempts=attempts,
    )
    _announce(tx, event, firing_id, "running" if run else "done")
    if run is None:
        await repository.forgive(tx, event_id=event.id)
        await _tell(tx, event, firing_id, message, occurs_at)


async def _done(tx: Transaction, event: CalendarEvent, firing_id: UUID, answer: chats.Message) -> None:
    due_at = await repository.end_firing(tx, firing_id=firing_id, status="done", answer_id=answer.id)
    await repository.forgive(tx, event_id=event.id)
    _announce(tx, event, firing_id, "done")
    await _tell(tx, event, firing_id, answer, due_at)


async def _not_done(
    tx: Transaction,
    event: CalendarEvent,
    firing_id: UUID,
    attempts: int,
    code: str,
    detail: str,
    *,
    is_fatal: bool = False,
) -> None:
    if is_fatal or attempts >= MOST_ATTEMPTS:
        await _failed(tx, event, firing_id, code, detail)
        return
    await repository.retry_later(
        tx,
        firing_id=firing_id,
        seconds=FIRST_RETRY_SECONDS * 4 ** (attempts - 1),
        error_code=code,
        error_detail=detail,
    )


async def _failed(tx: Transaction, event: CalendarEvent, firing_id: UUID, code: str, detail: str) -> None:
    await repository.end_firing(
        tx, firing_id=firing_id, status="failed", error_code=code, error_detail=detail
    )
    is_paused = await repository.count_failure(tx, event_id=event.id, most=MOST_FAILURES)
    _announce(tx, event, firing_id, "failed")
    plan = event.plan
    await tx.emit(
        FiringFailed(event.id, firing_id, plan.title, event.owner_id, plan.chat_id, code, detail, is_paused)
    )


async def _tell(
    tx: Transaction, event: CalendarEvent, firing_id: UUID, message: chats.Message | None, occurs_at: datetime
) -> None:
    plan = event.plan
    notify = plan.notify
    if plan.chat_id is not None and notify:
        # Who has left the chat since is told nothing of it any more.
        members = await chats.members_of(tx, chat_id=plan.chat_id)
        notify = tuple(user_id for user_id in notify if user_id in members)
    await tx.emit(
        EventFired(
            event_id=event.id,
            firing_id=firing_id,
            title=plan.title,
            text=message.content if message and message.role_code else plan.description,
            chat_id=plan.chat_id,
            message_id=message.id if message else None,
            role_code=plan.role_code,
            owner_id=event.owner_id,
            notify=notify,
            occurs_at=occurs_at,
            timezone=plan.schedule.timezone,
        )
    )


async def _owner(tx: Transaction, event: CalendarEvent) -> Actor:
    """Return who planned it, in whose name everything happens."""
    (owner,) = await users.by_ids(tx, [event.owner_id])
    if not owner.is_active:
        raise OwnerAway("Who planned this event has no account any more.")
    assert tx.org_id is not None
    return Actor(tx.org_id, owner.id, owner.role)


def _may_pass(refusal: Refusal) -> bool:
    """Whether a later attempt may succeed: a full queue empties, a chat that is gone does not return."""
    return isinstance(refusal, runs.TooManyRuns)


def _announce(tx: Transaction, event: CalendarEvent, firing_id: UUID, status: str) -> None:
    tx.announce(
        event.plan.chat_id or event.owner_id,
        "calendar.fired",
        {"event_id": event.id, "firing_id": firing_id, "status": status},
    )
