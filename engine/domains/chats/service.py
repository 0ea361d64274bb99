"""What people do in chats, and what roles answer there."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from asyncpg import Record

from engine.core.database import Transaction
from engine.core.text import one_line
from engine.domains import audit, users
from engine.domains.chats import repository
from engine.domains.chats.errors import (
    ChatNotFound,
    DirectChatIsForTwo,
    MemberNotFound,
    MessageNotFound,
    NotTheAuthor,
    NotTheChatOwner,
    TitleInvalid,
    TooManyMentions,
    UnknownRole,
)
from engine.domains.chats.models import (
    Answer,
    Chat,
    ChatDeleted,
    ChatKind,
    ChatRead,
    Conversation,
    Found,
    Line,
    Message,
)
from engine.domains.chats.ports import RoleNames
from engine.domains.users import Actor

LONGEST_TITLE = 200
MAX_MEMBERS = 500
CHAT_CHANGED = "chat.updated"
# A search reads this much at once, and looks on a few times; then whoever searches is asked.
_WINDOW = 5_000
_MOST_WINDOWS = 4


async def create_chat(
    tx: Transaction,
    actor: Actor,
    *,
    title: str,
    kind: ChatKind,
    members: Iterable[UUID],
    roles: Iterable[str],
    known_roles: RoleNames,
) -> Chat:
    """Open a chat; whoever opens it is in it. `roles` limits who may be called, empty means everybody."""
    member_ids = list({actor.user_id, *members})
    if kind == "direct" and len(member_ids) > 2:
        raise DirectChatIsForTwo("A direct chat is for two people at most. Make a group chat.")
    await _require_people(tx, member_ids)
    chat_id = await repository.insert_chat(
        tx,
        title=_a_title(title),
        kind=kind,
        role_codes=_role_codes(roles, known_roles),
        created_by=actor.user_id,
        member_ids=member_ids,
    )
    _tell_members(tx, member_ids, chat_id, "chat.joined")
    return await get_chat(tx, actor, chat_id=chat_id)


async def get_chat(tx: Transaction, actor: Actor, *, chat_id: UUID) -> Chat:
    """Return a chat to one of its members; to anybody else it does not exist."""
    chat = await repository.find_chat(tx, chat_id=chat_id, user_id=actor.user_id)
    if chat is None:
        raise ChatNotFound(chat_id)
    return chat


async def list_chats(
    tx: Transaction, actor: Actor, *, before: tuple[datetime, UUID] | None, limit: int
) -> list[Chat]:
    """Return a page of the actor's chats, the most recently used first."""
    before_at, before_id = before or (None, None)
    return await repository.list_chats(
        tx, user_id=actor.user_id, before_at=before_at, before_id=before_id, count=limit
    )


async def chat_ids_of(tx: Transaction, actor: Actor) -> list[UUID]:
    """Return the ids of all the chats that the actor is in."""
    return await repository.chat_ids_of(tx, user_id=actor.user_id)


async def titles_of(tx: Transaction, chat_ids: list[UUID]) -> dict[UUID, str]:
    """Return the titles of those of some chats that are still there, whoever is in them."""
    return await repository.titles_of(tx, chat_ids=chat_ids) if chat_ids else {}


async def those_in(tx: Transaction, places: list[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
    """Return of some chats and people those where the chat is still there and the person in it."""
    return await repository.those_in(tx, places)


async def change_chat(
    tx: Transaction,
    actor: Actor,
    *,
    chat_id: UUID,
    title: str | None = None,
    roles: Iterable[str] | None = None,
    known_roles: RoleNames,
) -> Chat:
    """Rename a chat or change which roles may be called in it."""
    await _owned_chat(tx, actor, chat_id)
    codes = None if roles is None else _role_codes(roles, known_roles)
    new_title = None if title is None else _a_title(title)
    await repository.update_chat(tx, chat_id=chat_id, title=new_title, role_codes=codes)
    tx.announce(chat_id, CHAT_CHANGED, {"chat_id": chat_id})
    return await get_chat(tx, actor, chat_id=chat_id)


async def delete_chat(tx: Transaction, actor: Actor, *, chat_id: UUID) -> None:
    """Let a chat disappear for everybody in it."""
    chat = await _owned_chat(tx, actor, chat_id)
    # On their own channels: who was away then finds it there, although the chat is no longer theirs.
    _tell_members(tx, chat.members, chat_id, "chat.deleted")
    await repository.delete_chat(tx, chat_id=chat_id)
    await tx.emit(ChatDeleted(chat_id))
    await audit.record(tx, actor_id=actor.user_id, action="chat.deleted", subject_id=chat_id)


async def members_of(tx: Transaction, *, chat_id: UUID) -> set[UUID]:
    """Return who is in a chat; for rooms that have something to tell them."""
    return await repository.members_of(tx, chat_id=chat_id)


async def add_members(tx: Transaction, actor: Actor, *, chat_id: UUID, members: Iterable[UUID]) -> Chat:
    """Bring people of the organization into a group chat; any member may."""
    chat = await get_chat(tx, actor, chat_id=chat_id)
    member_ids = list(set(members))
    if chat.kind == "direct" and len({*chat.members, *member_ids}) > 2:
        raise DirectChatIsForTwo("A direct chat is for two people at most. Make a group chat.")
    await _require_people(tx, member_ids, already=len(chat.members))
    added = await repository.insert_members(tx, chat_id=chat_id, member_ids=member_ids)
    if added:
        _tell_members(tx, added, chat_id, "chat.joined")
        tx.announce(chat_id, CHAT_CHANGED, {"chat_id": chat_id})
    return await get_chat(tx, actor, chat_id=chat_id)


async def remove_member(tx: Transaction, actor: Actor, *, chat_id: UUID, user_id: UUID) -> Chat | None:
    """Leave a chat, or take somebody out of one's own chat; None when the actor has left."""
    chat = await get_chat(tx, actor, chat_id=chat_id)
    if user_id != actor.user_id:
        await _owned_chat(tx, actor, chat_id)
    if user_id not in chat.members:
        raise MemberNotFound("This person is not in the chat.", user_id=user_id)
    await repository.delete_member(tx, chat_id=chat_id, user_id=user_id)
    _tell_members(tx, [user_id], chat_id, "chat.left")
    tx.announce(chat_id, CHAT_CHANGED, {"chat_id": chat_id})
    return None if user_id == actor.user_id else await get_chat(tx, actor, chat_id=chat_id)


async def history(
    tx: Transaction,
    actor: Actor,
    *,
    chat_id: UUID,
    before_no: int | None,
    after_no: int | None = None,
    limit: int,
) -> list[Message]:
    """Return a page of a chat's messages, newest first: the last before a number, or those next after one."""
    chat = await get_chat(tx, actor, chat_id=chat_id)
    before = chat.last_message_no + 1 if before_no is None else before_no
    if after_no is not None:
        before = after_no + limit + 1  # A chat's numbers have no gaps.
    page = await repository.messages_before(tx, chat_id=chat_id, before_no=before, count=limit)
    return [message for message in page if after_no is None or message.no > after_no]


async def search(
    tx: Transaction,
    actor: Actor,
    *,
    query: str,
    chat_id: UUID | None = None,
    before: tuple[datetime, UUID] | int | None = None,
    limit: int,
) -> Found:
    """Look for words in a chat of the actor's, or in all of them; newest first, a few windows back at most.

    `before` is where another search said to look on from: a number in one chat, a moment in all.
    """
    found: list[Message] = []
    chat_ids: list[UUID] = []
    if chat_id is None:
        chat_ids = await chat_ids_of(tx, actor)
    else:
        chat = await get_chat(tx, actor, chat_id=chat_id)
        before = chat.last_message_no + 1 if before is None else before
    for _ in range(_MOST_WINDOWS):
        wanted = limit - len(found)
        if chat_id is None:
            assert not isinstance(before, int)
            part = await repository.search_chats(
                tx, chat_ids=chat_ids, query=query, before=before, count=wanted, window=_WINDOW
            )
        else:
            assert isinstance(before, int)
            part = await repository.search_chat(
                tx, chat_id=chat_id, query=query, before_no=before, count=wanted, window=_WINDOW
            )
        found += part.messages
        before = part.look_on_from
        if before is None or len(found) >= limit:
            break
    return Found(found, before)


async def get_message(tx: Transaction, actor: Actor, *, message_id: UUID) -> Message:
    """Return a message to a member of its chat."""
    message = await repository.find_message(tx, message_id=message_id, user_id=actor.user_id)
    if message is None:
        raise MessageNotFound(message_id)
    return message


async def messages_by_ids(tx: Transaction, message_ids: list[UUID]) -> dict[UUID, Message]:
    """Return messages by their ids; whoever asks has checked that the reader is in their chats."""
    return {message.id: message for message in await repository.messages_by_ids(tx, message_ids=message_ids)}


async def edit_message(tx: Transaction, actor: Actor, *, message_id: UUID, content: str) -> Message:
    """Change what one said. Roles that were called by it are not called again."""
    await get_message(tx, actor, message_id=message_id)
    message = await repository.edit_message(
        tx, message_id=message_id, author_id=actor.user_id, content=content
    )
    if message is None:
        raise NotTheAuthor("Only its author can change a message. A role's draft is changed by signing it.")
    _announce_message(tx, message, "message.updated")
    return message


async def delete_message(tx: Transaction, actor: Actor, *, message_id: UUID) -> Message:
    """Take back what one said: the text is gone, the place in the chat remains."""
    await get_message(tx, actor, message_id=message_id)
    message = await repository.delete_message(tx, message_id=message_id, author_id=actor.user_id)
    if message is None:
        raise NotTheAuthor("Only its author can delete a message.")
    _announce_message(tx, message, "message.deleted")
    return message


async def mark_read(tx: Transaction, actor: Actor, *, chat_id: UUID, up_to_no: int | None) -> Chat:
    """Mark a chat as read up to a message's number, or to its end; the mark never goes back."""
    chat = await get_chat(tx, actor, chat_id=chat_id)
    target = chat.last_message_no if up_to_no is None else up_to_no
    moved = await repository.mark_read(tx, chat_id=chat_id, user_id=actor.user_id, up_to_no=target)
    if moved is None:
        return chat
    tx.announce(chat_id, "read", {"chat_id": chat_id, "user_id": actor.user_id, "up_to_no": moved})
    await tx.emit(ChatRead(chat_id, actor.user_id, moved))
    return await get_chat(tx, actor, chat_id=chat_id)


async def lets_call(tx: Transaction, actor: Actor, *, chat_id: UUID, role_code: str) -> bool:
    """Lock a chat of the actor's and return whether this role may be called in it now."""
    is_allowed = await repository.enter_chat(tx, chat_id=chat_id, user_id=actor.user_id, role_code=role_code)
    if is_allowed is None:
        raise ChatNotFound(chat_id)
    return is_allowed


async def lock_existing(tx: Transaction, chat_ids: list[UUID]) -> set[UUID]:
    """Return which of some chats are still there; they can be neither deleted nor written to by others."""
    return await repository.lock_existing(tx, chat_ids=chat_ids)


async def post_answers(tx: Transaction, answers: list[Answer]) -> list[Message]:
    """Post what roles said at the end of their runs; the caller has locked the chats and announces it."""
    return await repository.insert_answers(tx, answers) if answers else []


async def conversations(
    tx: Transaction, question_ids: list[UUID], *, depth: int = 60
) -> dict[UUID, Conversation]:
    """Return for each question who asked it, and the last lines that led to it, with the speakers' names."""
    rows = await repository.conversations(tx, question_ids=question_ids, depth=depth)
    speakers = await _speakers(tx, rows)
    found: dict[UUID, Conversation] = {}
    for row in rows:
        if (talk := found.get(row["question_id"])) is None:
            talk = found[row["question_id"]] = Conversation(row["chat_title"], speakers[row["asker_id"]], [])
        talk.lines.append(_line(row, speakers))
    return found


async def search_messages(tx: Transaction, *, chat_id: UUID, query: str, limit: int) -> list[Line]:
    """Return the newest lines of a chat that match a query; for a role that was called in it."""
    rows = await repository.search(tx, chat_id=chat_id, query=query, count=limit)
    speakers = await _speakers(tx, rows)
    return [_line(row, speakers) for row in rows]


async def settle_draft(
    tx: Transaction, *, message_id: UUID, content: str | None = None, withdraw: bool = False
) -> Message:
    """Carry out what a signature says of a role's message; the caller has checked who signs."""
    return await repository.settle_draft(tx, message_id=message_id, content=content, withdraw=withdraw)


async def _speakers(tx: Transaction, rows: list[Record]) -> dict[UUID, users.User]:
    author_ids = {row["author_id"] for row in rows if row["author_id"] is not None}
    return {user.id: user for user in await users.by_ids(tx, list(author_ids))}


def _line(row: Record, speakers: dict[UUID, users.User]) -> Line:
    speaker = speakers.get(row["author_id"])
    return Line(
        no=row["no"],
        speaker=speaker.display_name if speaker else None,
        role_code=row["role_code"],
        content=row["content"],
        said_at=row["created_at"],
    )


def _announce_message(tx: Transaction, message: Message, kind: str) -> None:
    tx.announce(message.chat_id, kind, {"message_id": message.id, "chat_id": message.chat_id}, live=message)


def _tell_members(tx: Transaction, member_ids: Iterable[UUID], chat_id: UUID, kind: str) -> None:
    """Tell people, each on their own channel, that a chat is now theirs or no longer."""
    for member_id in member_ids:
        tx.announce(member_id, kind, {"chat_id": chat_id, "user_id": member_id})


def _a_title(text: str) -> str:
    # What was pasted may have line breaks; they become spaces, other controls are refused.
    title = one_line(" ".join(text.split()), longest=LONGEST_TITLE)
    if title is None:
        raise TitleInvalid
    return title


def _role_codes(roles: Iterable[str], known_roles: RoleNames) -> list[str]:
    known = set(known_roles.names().values())
    codes = list(dict.fromkeys(roles))
    for code in codes:
        if code not in known:
            raise UnknownRole("There is no such role. GET /roles lists them.", role=code[:64])
    return codes


async def _owned_chat(tx: Transaction, actor: Actor, chat_id: UUID) -> Chat:
    chat = await get_chat(tx, actor, chat_id=chat_id)
    if chat.created_by != actor.user_id and not actor.is_admin:
        raise NotTheChatOwner("Only who opened the chat, or an administrator in it, can do this.")
    return chat


async def _require_people(tx: Transaction, member_ids: list[UUID], *, already: int = 0) -> None:
    if len(member_ids) + already > MAX_MEMBERS:
        raise TooManyMentions(f"A chat holds {MAX_MEMBERS} people at most.", limit=MAX_MEMBERS)
    active = {user.id for user in await users.by_ids(tx, member_ids) if user.is_active}
    for member_id in member_ids:
        if member_id not in active:
            raise MemberNotFound("There is no such person.", user_id=member_id)
