"""How messages, runs and drafts look to clients, in answers and in events alike."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from engine.api.views import View
from engine.domains.approvals import Draft
from engine.domains.chats import Message
from engine.domains.runs import Answered, Run


class MentionView(BaseModel):
    """Somebody named: a member of the chat (with an id) or a role."""

    kind: str
    code: str
    id: UUID | None = None


class ValidationView(BaseModel):
    """The state of a role's answer: a draft until a person who may sign it signs it."""

    status: str  # draft, approved, edited, rejected, expired, superseded, or not_required
    asker_id: UUID | None = None
    approvers: list[str] = []
    decided_by: UUID | None = None
    decided_at: datetime | None = None
    comment: str | None = None
    original: str | None = None


class MessageView(BaseModel):
    """A message of a chat; `ai_validated` is null for what people write."""

    id: UUID
    chat_id: UUID
    no: int
    author_id: UUID | None
    role: str | None
    content: str
    mentions: list[MentionView] = []
    reply_to: UUID | None = None
    client_message_id: str | None = None
    via: str | None = None  # how it came, such as `calendar`; null: somebody typed it, or a role wrote it
    created_at: datetime
    edited_at: datetime | None = None
    is_deleted: bool = False
    is_withdrawn: bool = False
    ai_validated: bool | None = None
    validation: ValidationView | None = None
    run_id: UUID | None = None  # which run of a role said this


class ToolUseView(View):
    """A tool that a run has used."""

    step: int
    tool: str
    arguments: dict[str, Any]
    outcome: str  # ok, refused, failed
    result: str  # its beginning
    seconds: float


class RunView(BaseModel):
    """One call of a role; `answer_id` is the message that it becomes."""

    id: UUID
    chat_id: UUID
    message_id: UUID
    answer_id: UUID
    role: str
    asker_id: UUID
    status: str
    model: str | None
    role_version: str | None
    limit: str | None
    error: dict[str, str] | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def message_view(
    message: Message, draft: Draft | None, *, may_read_withdrawn: bool = False, run_id: UUID | None = None
) -> MessageView:
    """Show a message; the text of a rejected draft only to those who may still read it."""
    hidden = message.withdrawn_at is not None and not may_read_withdrawn
    validation = _validation(message, draft, hidden=hidden)
    return MessageView(
        id=message.id,
        chat_id=message.chat_id,
        no=message.no,
        author_id=message.author_id,
        role=message.role_code,
        content="" if hidden else message.content,
        mentions=[MentionView(**mention) for mention in message.mentions],
        reply_to=message.reply_to,
        client_message_id=message.client_message_id,
        via=message.via,
        created_at=message.created_at,
        edited_at=message.edited_at,
        is_deleted=message.deleted_at is not None,
        is_withdrawn=message.withdrawn_at is not None,
        ai_validated=_is_validated(validation),
        validation=validation,
        run_id=run_id if draft is None else draft.run_id,
    )


def answer_view(answered: Answered) -> MessageView:
    """Show a role's answer in the moment in which it is posted."""
    view = message_view(answered.message, None, run_id=answered.run_id)
    if answered.approvers is not None:
        view.validation = ValidationView(
            status="draft", approvers=answered.approvers, asker_id=answered.asker_id
        )
        view.ai_validated = False
    return view


def run_view(run: Run) -> RunView:
    """Show a run."""
    error = {"code": run.error_code, "detail": run.error_detail or ""} if run.error_code else None
    return RunView(
        id=run.id,
        chat_id=run.chat_id,
        message_id=run.message_id,
        answer_id=run.answer_id,
        role=run.role_code,
        asker_id=run.asker_id,
        status=run.status,
        model=run.model,
        role_version=run.role_version,
        limit=run.limit_hit,
        error=error,
        queued_at=run.queued_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def as_json(view: BaseModel) -> dict[str, Any]:
    """Return a view as plain JSON values, for an event."""
    return view.model_dump(mode="json")


def _validation(message: Message, draft: Draft | None, *, hidden: bool) -> ValidationView | None:
    if message.role_code is None:
        return None
    if draft is None:
        return ValidationView(status="not_required")
    return ValidationView(
        status=draft.status,
        asker_id=draft.asker_id,
        approvers=draft.approvers,
        decided_by=draft.decided_by,
        decided_at=draft.decided_at,
        comment=None if hidden else draft.comment,
        original=None if hidden else draft.original,
    )


def _is_validated(validation: ValidationView | None) -> bool | None:
    return None if validation is None else validation.status in ("approved", "edited", "not_required")
