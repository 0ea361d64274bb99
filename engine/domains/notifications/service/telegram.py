"""What people do in Telegram: bind a chat, press a button under a draft, reply with a corrected text."""

from typing import Any, Literal
from uuid import UUID

from engine.core.database import Transaction
from engine.domains import approvals, users
from engine.domains.approvals import Verdict
from engine.domains.notifications import repository
from engine.domains.notifications.errors import DeliveryUnderway
from engine.domains.notifications.models import Bound
from engine.domains.notifications.service.composing import Locale, locale_of
from engine.domains.users import Actor

_NUMBERS = range(2**63)
Said = Literal["approved", "edited", "rejected", "decided_before", "not_yours", "not_signer", "gone"]


async def press(
    tx: Transaction, bound: Bound, *, delivery_id: UUID, message_no: str, verdict: Verdict
) -> tuple[Said | Literal["ask_edit"], UUID | None]:
    """Let the owner of a chat approve or reject the draft that a message of the bot shows.

    For an edit it returns `ask_edit`: the reply to the bot's question will be the new text. The button has
    to hang under the very message that was sent to this chat; that of any other does nothing. Raises
    DeliveryUnderway while it is not known whether the message has arrived.
    """
    delivery = await repository.find_delivery(tx, delivery_id=delivery_id)
    if delivery is None or delivery["channel_id"] != bound.channel_id or delivery["user_id"] != bound.user_id:
        return "not_yours", None
    if delivery["status"] == "sending":
        raise DeliveryUnderway(delivery_id)  # Who is quick presses before its number is stored.
    if delivery["provider_id"] != message_no:
        return "not_yours", None
    told = await repository.told_by(tx, delivery_id=delivery_id, count=1)
    draft_id = told[0].message_id if told else None
    actor = await actor_of(tx, bound)
    if draft_id is None or actor is None:
        return "gone", None
    if verdict is not Verdict.EDIT:
        return await _decide(tx, actor, draft_id, verdict), draft_id
    try:
        draft, may_sign = await approvals.get_draft(tx, actor, message_id=draft_id)
    except approvals.DraftNotFound:
        return "gone", draft_id
    if not may_sign:
        return "not_signer", draft_id
    return ("ask_edit" if draft.status == "draft" else "decided_before"), draft_id


async def ask_edit(tx: Transaction, bound: Bound, *, message_no: int, draft_id: UUID) -> None:
    """Keep which draft the reply to a question of the bot corrects."""
    await repository.insert_question(
        tx, channel_id=bound.channel_id, message_no=message_no, draft_id=draft_id
    )


async def reply(tx: Transaction, bound: Bound, *, message_no: int, text: str) -> Said | None:
    """Take a reply as the corrected text of a draft; None when the bot asked nothing there."""
    draft_id = await repository.find_question(tx, channel_id=bound.channel_id, message_no=message_no)
    actor = await actor_of(tx, bound)
    if draft_id is None:
        return None
    return "gone" if actor is None else await _decide(tx, actor, draft_id, Verdict.EDIT, content=text)


async def unbind(tx: Transaction, bound: Bound) -> None:
    """Forget a chat, as its owner wishes."""
    await repository.remove_channel(tx, channel_id=bound.channel_id)


async def language_of(tx: Transaction, bound: Bound) -> Locale:
    """Return the language of a chat's owner."""
    return locale_of(await users.get_user(tx, user_id=bound.user_id))


async def actor_of(tx: Transaction, bound: Bound) -> Actor | None:
    """Return a chat's owner as somebody who acts; None for one who may not sign in any more."""
    owner = await users.active_user(tx, user_id=bound.user_id)
    return Actor(bound.org_id, owner.id, owner.role) if owner else None


async def _decide(
    tx: Transaction, actor: Actor, draft_id: UUID, verdict: Verdict, *, content: str | None = None
) -> Said:
    try:
        draft = await approvals.decide(tx, actor, message_id=draft_id, verdict=verdict, content=content)
    except approvals.NotAnApprover:
        return "not_signer"
    except approvals.DraftNotFound:
        return "gone"
    except approvals.AlreadyValidated:
        return "decided_before"
    said: dict[str, Said] = {"approved": "approved", "edited": "edited", "rejected": "rejected"}
    return said[draft.status]


# What Telegram told is kept before it is acknowledged, and worked on after that.


async def keep_updates(across: Transaction, *, bot_id: int, contents: list[dict[str, Any]]) -> int:
    """Keep what Telegram told, each once; return how much of it is new."""
    sound = [_storable(content) for content in contents if _is_number(content.get("update_id"))]
    return await repository.keep_updates(across, bot_id=bot_id, contents=sound) if sound else 0


async def last_update(across: Transaction, *, bot_id: int) -> int | None:
    """Return the number of the newest thing told."""
    return await repository.last_update(across, bot_id=bot_id)


async def waiting_updates(
    across: Transaction, *, bot_id: int, count: int = 50
) -> list[tuple[int, dict[str, Any], int]]:
    """Return what waits to be worked on, in order: its number, what it says, how often it was tried."""
    return await repository.waiting_updates(across, bot_id=bot_id, count=count)


async def begin_update(across: Transaction, *, bot_id: int, update_id: int) -> None:
    """Count a try."""
    await repository.begin_update(across, bot_id=bot_id, update_id=update_id)


async def finish_update(across: Transaction, *, bot_id: int, update_id: int) -> None:
    """Forget what was worked on, but for its number."""
    await repository.finish_update(across, bot_id=bot_id, update_id=update_id)


async def forget_old_updates(across: Transaction, *, keep_hours: int) -> int:
    """Forget numbers that Telegram does not repeat any more; return how many."""
    return await repository.forget_old_updates(across, keep_hours=max(keep_hours, 48))


async def take_lease(across: Transaction, *, name: str, holder: str, seconds: float) -> bool:
    """Take or prolong the right to do something that only one process may do."""
    return await repository.take_lease(across, name=name, holder=holder, seconds=seconds)


async def leave_lease(across: Transaction, *, name: str, holder: str) -> None:
    """Let another process take over at once."""
    await repository.leave_lease(across, name=name, holder=holder)


def _is_number(value: object) -> bool:
    return type(value) is int and value in _NUMBERS


def _storable(value: Any) -> Any:
    """Return what was told without what no database keeps: NUL, and halves of characters."""
    if isinstance(value, str):
        return value.encode(errors="ignore").decode().replace("\0", "")
    if isinstance(value, dict):
        return {_storable(name): _storable(each) for name, each in value.items()}
    return [_storable(each) for each in value] if isinstance(value, list) else value
