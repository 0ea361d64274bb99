"""Drafts: what a role wrote, and what a person said of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from engine.domains.chats import Message
from engine.domains.users import Actor


class Verdict(StrEnum):
    """What a person may say of a draft."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"


# What a role's file says instead of a name; somebody may be called so, and is no approver by that.
POLICY_WORDS = frozenset({"asker", "members", "admins"})
DraftStatus = Literal["draft", "approved", "edited", "rejected", "expired", "superseded"]

AFTER: dict[Verdict, DraftStatus] = {
    Verdict.APPROVE: "approved",
    Verdict.EDIT: "edited",
    Verdict.REJECT: "rejected",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A role's answer that waits for a signature or has had its verdict."""

    message_id: UUID
    chat_id: UUID
    run_id: UUID
    role_code: str
    asker_id: UUID
    approvers: list[str]
    status: DraftStatus
    opened_at: datetime
    decided_at: datetime | None
    decided_by: UUID | None
    comment: str | None
    original: str | None
    edited: str | None
    expires_at: datetime | None = None  # until when somebody may sign it; None: for ever

    def may_be_signed_by(self, actor: Actor, *, username: str | None, is_member: bool) -> bool:
        """Whether the role's policy lets this person sign; who may sign may also read what was rejected.

        Who asked signs only while in the chat. Administrators sign for their whole organization, and people
        whom the role's file names sign wherever the role answers, in chats that they are not in as well.
        """
        return (
            ("asker" in self.approvers and actor.user_id == self.asker_id and is_member)
            or ("admins" in self.approvers and actor.is_admin)
            or ("members" in self.approvers and is_member)
            or (username is not None and self._names(username))
        )

    def _names(self, username: str) -> bool:
        name = username.casefold()
        return name not in POLICY_WORDS and name in {approver.casefold() for approver in self.approvers}


@dataclass(frozen=True, slots=True)
class DraftsOpened:
    """Answers of roles now wait for a signature; emitted in the transaction that posts them."""

    drafts: list[Draft]


@dataclass(frozen=True, slots=True)
class DraftDecided:
    """A person signed, changed or rejected a draft, or nobody did so in time."""

    draft: Draft
    message: Message  # as it stands after the verdict
