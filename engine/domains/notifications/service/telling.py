"""What happens elsewhere becomes notifications, in the transaction in which it happens."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from engine.core.database import Transaction
from engine.core.events import Bus
from engine.domains import approvals, chats
from engine.domains.approvals import DraftDecided, DraftsOpened
from engine.domains.calendar import EventFired, FiringFailed
from engine.domains.chats import ChatRead, Message, MessagesPosted
from engine.domains.notifications import repository
from engine.domains.notifications.models import Happening, Stirred
from engine.domains.runs import RunsEnded


def listen(bus: Bus) -> None:
    """Hear of what people are to be told, and of what they need not be told any more."""
    bus.on(MessagesPosted, tell_mentioned)
    bus.on(DraftsOpened, tell_signers)
    bus.on(DraftDecided, settle_draft)
    bus.on(ChatRead, read_with_chat)
    bus.on(RunsEnded, tell_of_failed_runs)
    bus.on(EventFired, tell_of_event)
    bus.on(FiringFailed, tell_of_failed_firing)


async def tell(tx: Transaction, user_ids: Iterable[UUID], happening: Happening) -> None:
    """Tell people of something: in the client at the commit, by their other channels in their turn."""
    await _tell_all(tx, [(user_id, happening) for user_id in dict.fromkeys(user_ids)])


async def tell_mentioned(tx: Transaction, posted: MessagesPosted) -> None:
    """Tell people that they were named; listens to MessagesPosted."""
    await _tell_all(tx, [told for message in posted.messages for told in _mentions(message)])


async def tell_signers(tx: Transaction, opened: DraftsOpened) -> None:
    """Tell people that a draft waits for them; listens to DraftsOpened."""
    asked = await approvals.people_to_ask(tx, opened.drafts)
    happenings = [
        Happening("draft", f"draft:{draft.message_id}", draft.chat_id, draft.message_id)
        for draft in opened.drafts
    ]
    # All drafts of a moment together: those who finish runs do it in one transaction, and others wait for it.
    await _tell_all(
        tx,
        [
            (person, happening)
            for people, happening in zip(asked, happenings, strict=True)
            for person in sorted(people)
        ],
    )


async def tell_of_failed_runs(tx: Transaction, ended: RunsEnded) -> None:
    """Tell who asked that there will be no answer; listens to RunsEnded."""
    failed = [end for end in ended.ends if end.status == "failed"]
    if not failed:
        return
    questions = await chats.messages_by_ids(tx, [end.message_id for end in failed])
    for end in failed:
        facts = {"role": f"@@{end.role_code}", "code": end.error_code, "text": end.error_detail}
        happening = Happening(
            "run_failed",
            f"run_failed:{end.run_id}",
            end.chat_id,
            end.message_id,
            questions[end.message_id].no,
            end.run_id,
            facts,
        )
        await tell(tx, [end.asker_id], happening)


async def tell_of_event(tx: Transaction, fired: EventFired) -> None:
    """Tell an event's people that it came round; listens to EventFired."""
    facts = {
        "title": fired.title,
        "occurs_at": fired.occurs_at.isoformat(),
        "timezone": fired.timezone,
        # What stands in a message is read there, by those who may.
        "text": None if fired.message_id else fired.text,
    }
    happening = Happening(
        "event",
        f"event:{fired.firing_id}",
        fired.chat_id,
        fired.message_id,
        subject_id=fired.event_id,
        facts=facts,
    )
    await tell(tx, fired.notify, happening)


async def tell_of_failed_firing(tx: Transaction, failed: FiringFailed) -> None:
    """Tell an event's owner that it did not do what it should; listens to FiringFailed."""
    facts = {"title": failed.title, "code": failed.code, "text": failed.detail, "is_paused": failed.is_paused}
    happening = Happening(
        "firing_failed",
        f"firing_failed:{failed.firing_id}",
        failed.chat_id,
        subject_id=failed.event_id,
        facts=facts,
    )
    await tell(tx, [failed.owner_id], happening)


async def settle_draft(tx: Transaction, decided: DraftDecided) -> None:
    """Ask nobody any more for a draft that was decided on; listens to DraftDecided."""
    for notification_id, user_id in await repository.settle_draft(tx, message_id=decided.draft.message_id):
        announce_read(tx, user_id, [notification_id])


async def read_with_chat(tx: Transaction, read: ChatRead) -> None:
    """Count as told what was read in the chat itself; listens to ChatRead."""
    ids = await repository.read_with_chat(
        tx, user_id=read.user_id, chat_id=read.chat_id, up_to_no=read.up_to_no
    )
    announce_read(tx, read.user_id, ids)


def _mentions(message: Message) -> list[tuple[UUID, Happening]]:
    happening = Happening("mention", f"mention:{message.id}", message.chat_id, message.id, message.no)
    named = [UUID(one["id"]) for one in message.mentions if one["kind"] == "user" and one["id"] is not None]
    return [(user_id, happening) for user_id in dict.fromkeys(named) if user_id != message.author_id]


async def _tell_all(tx: Transaction, told: list[tuple[UUID, Happening]]) -> None:
    if not told:
        return
    for new in await repository.insert_notifications(tx, told):
        _announce(
            tx,
            new["user_id"],
            "notification.created",
            notification_id=new["id"],
            kind=new["kind"],
            chat_id=new["chat_id"],
            message_id=new["message_id"],
        )
    tx.after_commit(Stirred())


def announce_read(tx: Transaction, user_id: UUID, ids: list[UUID]) -> None:
    """Let every open client of a person know what is read."""
    if ids:
        _announce(tx, user_id, "notification.read", notification_ids=ids)


def _announce(tx: Transaction, user_id: UUID, event: str, **data: Any) -> None:
    tx.announce(user_id, event, data)
