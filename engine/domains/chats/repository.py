"""The tables of chats, their members and messages."""

from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from asyncpg import Record

from engine.core.database import Transaction
from engine.core.sql import load
from engine.domains.chats.errors import PostedMeanwhile
from engine.domains.chats.models import Addressed, Answer, Chat, Found, LastLine, Message

SQL = load(__file__)
MOST_BYTES = 4_000_000  # that one search reads: some two million letters of Russian


async def insert_chat(
    tx: Transaction, *, title: str, kind: str, role_codes: list[str], created_by: UUID, member_ids: list[UUID]
) -> UUID:
    """Add a chat with its members and return its id."""
    row = await tx.one(
        SQL.insert_chat,
        title=title,
        kind=kind,
        role_codes=role_codes,
        created_by=created_by,
        member_ids=member_ids,
    )
    chat_id: UUID = row["id"]
    return chat_id


async def find_chat(tx: Transaction, *, chat_id: UUID, user_id: UUID) -> Chat | None:
    """Return the chat as this member sees it, or None."""
    row = await tx.maybe(SQL.chat_of_member, chat_id=chat_id, user_id=user_id)
    return _chat(row) if row else None


async def list_chats(
    tx: Transaction, *, user_id: UUID, before_at: datetime | None, before_id: UUID | None, count: int
) -> list[Chat]:
    """Return a page of a member's chats, the most recently used first."""
    rows = await tx.all(
        SQL.chats_of_member, user_id=user_id, before_at=before_at, before_id=before_id, count=count
    )
    return [_chat(row) for row in rows]


async def titles_of(tx: Transaction, *, chat_ids: list[UUID]) -> dict[UUID, str]:
    """Return the titles of chats that are still there."""
    return {row["id"]: row["title"] for row in await tx.all(SQL.titles_of, chat_ids=chat_ids)}


async def those_in(tx: Transaction, places: list[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
    """Return which of some people are in which of some chats."""
    rows = await tx.all(
        SQL.those_in, chat_ids=[chat_id for chat_id, _ in places], user_ids=[user_id for _, user_id in places]
    )
    return {(row["chat_id"], row["user_id"]) for row in rows}


async def chat_ids_of(tx: Transaction, *, user_id: UUID) -> list[UUID]:
    """Return the ids of all the chats that a person is in."""
    return [row["chat_id"] for row in await tx.all(SQL.chat_ids_of_member, user_id=user_id)]


async def members_of(tx: Transaction, *, chat_id: UUID) -> set[UUID]:
    """Return who is in a chat."""
    return {row["user_id"] for row in await tx.all(SQL.members_of_chat, chat_id=chat_id)}


async def update_chat(
    tx: Transaction, *, chat_id: UUID, title: str | None, role_codes: list[str] | None
) -> None:
    """Change what is given."""
    await tx.run(SQL.update_chat, chat_id=chat_id, title=title, role_codes=role_codes)


async def delete_chat(tx: Transaction, *, chat_id: UUID) -> None:
    """Let a chat disappear."""
    await tx.run(SQL.delete_chat, chat_id=chat_id)


async def insert_members(tx: Transaction, *, chat_id: UUID, member_ids: list[UUID]) -> list[UUID]:
    """Add people to a chat and return those who were not in it."""
    rows = await tx.all(SQL.insert_members, chat_id=chat_id, member_ids=member_ids)
    return [row["user_id"] for row in rows]


async def delete_member(tx: Transaction, *, chat_id: UUID, user_id: UUID) -> bool:
    """Take a person out of a chat; False when they were not in it."""
    return await tx.run(SQL.delete_member, chat_id=chat_id, user_id=user_id) > 0


async def enter_chat(tx: Transaction, *, chat_id: UUID, user_id: UUID, role_code: str) -> bool | None:
    """Lock the chat and return whether a role may be called in it; None to those who are not in it."""
    row = await tx.maybe(SQL.enter_chat, chat_id=chat_id, user_id=user_id, role_code=role_code)
    return row["lets_call"] if row else None


async def insert_messages(tx: Transaction, new: list[Addressed]) -> dict[UUID, Message]:
    """Add the next message of some chats, one in each, with those of its mentions that count there.

    Returns them by their chats; none for an author who is not in the chat, or has used this
    client_message_id before. Raises PostedMeanwhile when one was posted by another transaction just now.
    """
    named = [(place, *person) for place, one in enumerate(new, 1) for person in one.named.items()]
    called = [(place, code) for place, one in enumerate(new, 1) for code in one.role_codes]
    try:
        rows = await tx.all(
            SQL.insert_messages,
            chat_ids=[one.message.chat_id for one in new],
            author_ids=[one.message.actor.user_id for one in new],
            contents=[one.message.content for one in new],
            reply_tos=[one.message.reply_to for one in new],
            client_message_ids=[one.message.client_message_id for one in new],
            vias=[one.message.via for one in new],
            named_places=[place for place, _, _ in named],
            named_codes=[code for _, code, _ in named],
            named_ids=[user_id for _, _, user_id in named],
            called_places=[place for place, _ in called],
            called_codes=[code for _, code in called],
        )
    except asyncpg.UniqueViolationError as error:
        # It waited for the chat's lock, and what was posted meanwhile is not what the statement looked at.
        if error.constraint_name == "messages_client_id":
            raise PostedMeanwhile from error
        raise
    return {row["chat_id"]: Message(**row) for row in rows}


async def message_by_client_id(
    tx: Transaction, *, chat_id: UUID, author_id: UUID, client_message_id: str | None
) -> Message | None:
    """Return the message that was posted under this client_message_id."""
    row = await tx.maybe(
        SQL.message_by_client_id, chat_id=chat_id, author_id=author_id, client_message_id=client_message_id
    )
    return Message(**row) if row else None


async def lock_existing(tx: Transaction, *, chat_ids: list[UUID]) -> set[UUID]:
    """Lock chats and return those that are not deleted."""
    rows = await tx.all(SQL.lock_chats, chat_ids=chat_ids)
    return {row["id"] for row in rows if not row["is_deleted"]}


async def insert_answers(tx: Transaction, answers: list[Answer]) -> list[Message]:
    """Add what roles said, numbered chat by chat."""
    rows = await tx.all(
        SQL.insert_answers,
        message_ids=[answer.message_id for answer in answers],
        chat_ids=[answer.chat_id for answer in answers],
        role_codes=[answer.role_code for answer in answers],
        reply_tos=[answer.reply_to for answer in answers],
        contents=[answer.content for answer in answers],
    )
    return [Message(**row) for row in rows]


async def find_message(tx: Transaction, *, message_id: UUID, user_id: UUID) -> Message | None:
    """Return a message to a member of its chat."""
    row = await tx.maybe(SQL.message_of_member, message_id=message_id, user_id=user_id)
    return Message(**row) if row else None


async def messages_by_ids(tx: Transaction, *, message_ids: list[UUID]) -> list[Message]:
    """Return messages whoever asks."""
    return [Message(**row) for row in await tx.all(SQL.messages_by_ids, message_ids=message_ids)]


async def messages_before(tx: Transaction, *, chat_id: UUID, before_no: int, count: int) -> list[Message]:
    """Return a page of history, newest first."""
    rows = await tx.all(SQL.messages_before, chat_id=chat_id, before_no=before_no, count=count)
    return [Message(**row) for row in rows]


async def edit_message(tx: Transaction, *, message_id: UUID, author_id: UUID, content: str) -> Message | None:
    """Change a text; None when it is not this author's, or deleted."""
    row = await tx.maybe(SQL.edit_message, message_id=message_id, author_id=author_id, content=content)
    return Message(**row) if row else None


async def delete_message(tx: Transaction, *, message_id: UUID, author_id: UUID) -> Message | None:
    """Empty a message; None when it is not this author's, or deleted."""
    row = await tx.maybe(SQL.delete_message, message_id=message_id, author_id=author_id)
    return Message(**row) if row else None


async def settle_draft(tx: Transaction, *, message_id: UUID, content: str | None, withdraw: bool) -> Message:
    """Give a role's message its new text, or withdraw it."""
    return Message(
        **await tx.one(SQL.settle_draft, message_id=message_id, content=content, withdraw=withdraw)
    )


async def mark_read(tx: Transaction, *, chat_id: UUID, user_id: UUID, up_to_no: int) -> int | None:
    """Move the reader's mark; None when it did not move."""
    row = await tx.maybe(SQL.mark_read, chat_id=chat_id, user_id=user_id, up_to_no=up_to_no)
    return row["last_read_no"] if row else None


async def conversations(tx: Transaction, *, question_ids: list[UUID], depth: int) -> list[Record]:
    """Return the lines that led to each question, question by question, oldest first."""
    return await tx.all(SQL.conversations, question_ids=question_ids, depth=depth)


async def search(tx: Transaction, *, chat_id: UUID, query: str, count: int) -> list[Record]:
    """Return the newest matching lines of a chat."""
    return await tx.all(SQL.search_messages, chat_id=chat_id, query=query, count=count)


async def search_chat(
    tx: Transaction, *, chat_id: UUID, query: str, before_no: int, count: int, window: int
) -> Found:
    """Return the newest matches among so many messages of a chat, and the number to look on from."""
    rows = await tx.all(
        SQL.search_chat,
        chat_id=chat_id,
        query=query,
        before_no=before_no,
        count=count,
        window=window,
        most_bytes=MOST_BYTES,
    )
    found = [_message(row) for row in rows if row["id"] is not None]
    edge = found[-1].no if len(found) == count else rows[0]["edge_no"]
    return Found(found, edge if edge is not None and edge > 1 else None)


async def search_chats(
    tx: Transaction,
    *,
    chat_ids: list[UUID],
    query: str,
    before: tuple[datetime, UUID] | None,
    count: int,
    window: int,
) -> Found:
    """Return the newest matches in some chats among so many messages, and the moment to look on from."""
    before_at, before_id = before or (None, None)
    rows = await tx.all(
        SQL.search_chats,
        chat_ids=chat_ids,
        query=query,
        before_at=before_at,
        before_id=before_id,
        count=count,
        window=window,
        most_bytes=MOST_BYTES,
    )
    found = [_message(row) for row in rows if row["id"] is not None]
    if len(found) == count:
        return Found(found, (found[-1].created_at, found[-1].id))
    if not rows or not rows[0]["has_more"]:
        return Found(found, None)
    return Found(found, (rows[0]["edge_at"], rows[0]["edge_id"]))


def _chat(row: Record) -> Chat:
    last = row["last_message"]
    return Chat(**{**row, "last_message": LastLine(**_last(last)) if last else None})


def _last(told: dict[str, Any]) -> dict[str, Any]:
    return {**told, "author_id": UUID(told["author_id"]) if told["author_id"] else None}


def _message(row: Record) -> Message:
    return Message(**{field.name: row[field.name] for field in fields(Message)})
