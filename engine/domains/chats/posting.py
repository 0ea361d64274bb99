"""People say something in chats: one at a time, or several at the same moment together."""

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from engine.core.database import Transaction
from engine.core.errors import Refusal
from engine.domains import users
from engine.domains.chats import repository
from engine.domains.chats.errors import ChatNotFound, MessageNotFound, TooManyMentions, TooManyRoles
from engine.domains.chats.mentions import Called, find_mentions
from engine.domains.chats.models import Addressed, Mention, Message, MessagesPosted, NewMessage, Posted
from engine.domains.chats.ports import RoleNames
from engine.domains.chats.service import get_chat, get_message
from engine.domains.users import Actor

MAX_ROLES = 10
MAX_USERS_NAMED = 50


async def post_message(
    tx: Transaction,
    actor: Actor,
    *,
    chat_id: UUID,
    content: str,
    known_roles: RoleNames,
    client_message_id: str | None = None,
    reply_to: UUID | None = None,
    calls: list[str] | None = None,
    via: str | None = None,
) -> Posted:
    """Say something in a chat; its members, and every role it calls, will hear of it.

    The same `client_message_id` of the same author posts once: later calls return the first message. Where
    `calls` is given, just these roles are called, whatever the text says; `via` tells how the message came.
    """
    codes = None if calls is None else tuple(calls)
    new = NewMessage(actor, chat_id, content, client_message_id, reply_to, codes, via)
    (posted,) = await post_messages(tx, [new], known_roles=known_roles)
    if isinstance(posted, Refusal):
        raise posted
    return posted


async def post_messages(
    tx: Transaction, new: list[NewMessage], *, known_roles: RoleNames
) -> list[Posted | Refusal]:
    """Say something in each of some chats, as `post_message` does; no chat may be among them twice.

    Returns for each what came of it, or why it alone was refused; what is raised refuses all.
    """
    role_names = known_roles.names()
    outcomes: dict[UUID, Posted | Refusal] = {}
    addressed: list[Addressed] = []
    for one in new:
        try:
            addressed.append(await _addressed(tx, one, role_names))
        except Refusal as refusal:
            outcomes[one.chat_id] = refusal
    messages = await repository.insert_messages(tx, addressed) if addressed else {}
    for message in messages.values():
        _announce(tx, message)
    reactions = await tx.emit(MessagesPosted(list(messages.values()))) if messages else []
    for letter in addressed:
        chat_id = letter.message.chat_id
        if chat_id in messages:
            outcomes[chat_id] = _posted(messages[chat_id], letter, reactions)
        else:
            outcomes[chat_id] = await _posted_before(tx, letter.message)
    return [outcomes[one.chat_id] for one in new]


async def _addressed(tx: Transaction, new: NewMessage, role_names: Mapping[str, str]) -> Addressed:
    """Find whom a message names and calls; raises what is wrong with it."""
    called = find_mentions(new.content, role_names)
    if new.calls is not None:
        called = replace(called, roles=new.calls, unknown_roles=())
    if len(called.roles) > MAX_ROLES:
        raise TooManyRoles(f"A message can call {MAX_ROLES} roles at most.", limit=MAX_ROLES)
    if len(called.users) > MAX_USERS_NAMED:
        raise TooManyMentions(f"A message can name {MAX_USERS_NAMED} people at most.", limit=MAX_USERS_NAMED)
    if new.reply_to is not None:
        await _require_in_chat(tx, new.actor, message_id=new.reply_to, chat_id=new.chat_id)
    named = {user.username: user.id for user in await _people_named(tx, called)}
    return Addressed(new, named, called.roles, called.unknown_roles)


async def _people_named(tx: Transaction, called: Called) -> list[users.User]:
    """Return the people named, each once: for every mention its longest reading that is somebody."""
    if not called.users:
        return []
    readings = {reading for options in called.users for reading in options}
    found = {user.username.casefold(): user for user in await users.by_usernames(tx, sorted(readings))}
    named: dict[UUID, users.User] = {}
    for options in called.users:
        user = next((found[reading] for reading in options if reading in found), None)
        if user is not None and user.is_active:
            named[user.id] = user
    return list(named.values())


async def _require_in_chat(tx: Transaction, actor: Actor, *, message_id: UUID, chat_id: UUID) -> None:
    await get_chat(tx, actor, chat_id=chat_id)  # Outsiders must not learn that the chat exists.
    if (await get_message(tx, actor, message_id=message_id)).chat_id != chat_id:
        raise MessageNotFound(message_id)


def _announce(tx: Transaction, message: Message) -> None:
    place = {"message_id": message.id, "chat_id": message.chat_id}
    tx.announce(message.chat_id, "message.created", place, live=message)
    for mention in _mentions_of(message):
        if mention.id is not None and mention.id != message.author_id:
            tx.announce(mention.id, "mention", {**place, "by": message.author_id})


def _posted(message: Message, addressed: Addressed, reactions: list[object]) -> Posted:
    refused = [code for code in addressed.role_codes if code not in message.calls]
    ignored = [*addressed.unknown_roles, *refused]
    return Posted(message, _mentions_of(message), ignored, is_new=True, reactions=reactions)


async def _posted_before(tx: Transaction, new: NewMessage) -> Posted | Refusal:
    """Return what was posted under this client_message_id; to an outsider the chat does not exist."""
    try:
        await get_chat(tx, new.actor, chat_id=new.chat_id)
    except ChatNotFound as outsider:
        return outsider
    first = await repository.message_by_client_id(
        tx, chat_id=new.chat_id, author_id=new.actor.user_id, client_message_id=new.client_message_id
    )
    if first is None:
        return ChatNotFound(new.chat_id)  # The author has come into it only just now.
    return Posted(first, _mentions_of(first), [], is_new=False)


def _mentions_of(message: Message) -> list[Mention]:
    return [
        Mention(one["kind"], one["code"], None if one["id"] is None else UUID(one["id"]))
        for one in message.mentions
    ]
