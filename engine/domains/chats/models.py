"""Chats, who is in them, and what is said there."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from engine.domains.users import Actor, User

ChatKind = Literal["group", "direct"]


@dataclass(frozen=True, slots=True)
class LastLine:
    """How the last message of a chat begins; a rejected draft's words are not told."""

    author_id: UUID | None
    role_code: str | None
    text: str
    is_deleted: bool
    is_withdrawn: bool


@dataclass(frozen=True, slots=True)
class Chat:
    """A place where people and roles talk; `roles` empty means that every role may be called."""

    id: UUID
    title: str
    kind: ChatKind
    roles: list[str]
    members: list[UUID]
    created_by: UUID
    created_at: datetime
    last_message_no: int
    last_message_at: datetime
    unread: int
    read_up_to_no: int
    last_message: LastLine | None


@dataclass(frozen=True, slots=True)
class Mention:
    """Somebody named in a message and found: a member of the chat, or a role."""

    kind: Literal["user", "role"]
    code: str
    id: UUID | None


@dataclass(frozen=True, slots=True)
class Message:
    """Something said; by a person (`author_id`) or by a role (`role_code`), never by both."""

    id: UUID
    chat_id: UUID
    no: int
    author_id: UUID | None
    role_code: str | None
    content: str
    mentions: list[dict[str, Any]]
    reply_to: UUID | None
    client_message_id: str | None
    created_at: datetime
    edited_at: datetime | None
    deleted_at: datetime | None
    withdrawn_at: datetime | None
    via: str | None  # how it came, such as `calendar`; None: somebody typed it, or a role wrote it

    @property
    def calls(self) -> list[str]:
        """The codes of the roles that it calls."""
        return [mention["code"] for mention in self.mentions if mention["kind"] == "role"]


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What somebody says in a chat.

    The same `client_message_id` of the same author posts once. Where `calls` is given, just these roles are
    called, whatever the text says; `via` tells how the message came.
    """

    actor: Actor
    chat_id: UUID
    content: str
    client_message_id: str | None = None
    reply_to: UUID | None = None
    calls: tuple[str, ...] | None = None
    via: str | None = None


@dataclass(frozen=True, slots=True)
class Addressed:
    """A new message with whom it names, by username, and which roles it calls, be they in its chat or not."""

    message: NewMessage
    named: dict[str, UUID]
    role_codes: tuple[str, ...]
    unknown_roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Posted:
    """The outcome of posting; `is_new` is false when this client_message_id had been posted before.

    `reactions` holds what the rooms that heard of it made of all messages that were posted together.
    """

    message: Message
    mentions: list[Mention]
    unknown_roles: list[str]
    is_new: bool
    reactions: list[object] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a role says at the end of a run; the message's id was given when the run was queued."""

    message_id: UUID
    chat_id: UUID
    role_code: str
    reply_to: UUID
    content: str


@dataclass(frozen=True, slots=True)
class Found:
    """Messages that match a search, newest first, and from where to look further back, if there is more."""

    messages: list[Message]
    look_on_from: tuple[datetime, UUID] | int | None  # in one chat a message's number


@dataclass(frozen=True, slots=True)
class MessagesPosted:
    """People said something, each in another chat; emitted in the transaction that posts it."""

    messages: list[Message]


@dataclass(frozen=True, slots=True)
class ChatDeleted:
    """A chat is no more; emitted in the transaction that deletes it, while the chat is locked."""

    chat_id: UUID


@dataclass(frozen=True, slots=True)
class ChatRead:
    """A person has read a chat further than before."""

    chat_id: UUID
    user_id: UUID
    up_to_no: int


@dataclass(frozen=True, slots=True)
class Line:
    """A message as a role reads it: `speaker` is a person's name, `role_code` the role that spoke."""

    no: int
    speaker: str | None
    role_code: str | None
    content: str
    said_at: datetime


@dataclass(frozen=True, slots=True)
class Conversation:
    """The lines that led to a question, oldest first; the last one is the question."""

    chat_title: str
    asker: User
    lines: list[Line]
