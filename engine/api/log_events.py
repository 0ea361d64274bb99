"""What the events of the log tell: ids and states from it, and the texts as they are now."""

from typing import Any
from uuid import UUID

from engine.api.events import Event, encode
from engine.api.messages import answer_view, as_json, message_view
from engine.core.database import Transaction, events_after
from engine.core.events import Announcement
from engine.domains import approvals, chats, runs
from engine.domains.approvals import DraftDecided
from engine.domains.chats import Message
from engine.domains.runs import Answered


async def read_events(
    tx: Transaction, *, after: int, channels: list[UUID] | None, limit: int
) -> list[tuple[Event, Announcement]]:
    """Read numbered events from the log, with the messages that they speak of as these are now.

    A message comes with the last event that speaks of it: it would be the same text with each.
    """
    rows = await events_after(tx, after=after, channels=channels, limit=limit)
    ids = {UUID(row["data"]["message_id"]) for row in rows if row["kind"].startswith("message.")}
    messages = await chats.messages_by_ids(tx, list(ids)) if ids else {}
    drafts = await approvals.drafts_of(tx, list(ids)) if ids else {}
    unsigned = [each for each in messages.values() if each.role_code is not None and each.id not in drafts]
    run_ids = await runs.runs_of_answers(tx, unsigned) if unsigned else {}
    last_of = {row["data"]["message_id"]: row["no"] for row in rows if row["kind"].startswith("message.")}
    events = []
    for row in rows:
        data: dict[str, Any] = row["data"]
        is_last = last_of.get(data.get("message_id")) == row["no"]
        if is_last and (message := messages.get(UUID(data["message_id"]))):
            view = message_view(message, drafts.get(message.id), run_id=run_ids.get(message.id))
            data = {**data, "message": as_json(view)}
        announcement = Announcement(row["channel"], row["kind"], data)
        events.append(
            (Event(row["no"], row["kind"], data, encode(row["kind"], data, row["no"])), announcement)
        )
    return events


def payload(announcement: Announcement) -> dict[str, Any]:
    """Return what an event tells those who hear it right now."""
    live, data = announcement.live, announcement.data
    if isinstance(live, Message):
        return {**data, "message": as_json(message_view(live, None))}
    if isinstance(live, Answered):
        return {**data, "message": as_json(answer_view(live))}
    if isinstance(live, DraftDecided):
        return {**data, "message": as_json(message_view(live.message, live.draft))}
    return data
