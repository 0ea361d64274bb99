"""Approvals turn a role's draft into something that a person answers for."""

from engine.domains.approvals.errors import AlreadyValidated, DraftNotFound, NotAnApprover
from engine.domains.approvals.models import Draft, DraftDecided, DraftsOpened, DraftStatus, Verdict
from engine.domains.approvals.service import (
    count_drafts,
    decide,
    drafts_of,
    expire_overdue,
    get_draft,
    list_drafts,
    open_drafts,
    people_to_ask,
)

__all__ = [
    "AlreadyValidated",
    "Draft",
    "DraftDecided",
    "DraftNotFound",
    "DraftStatus",
    "DraftsOpened",
    "NotAnApprover",
    "Verdict",
    "count_drafts",
    "decide",
    "drafts_of",
    "expire_overdue",
    "get_draft",
    "list_drafts",
    "open_drafts",
    "people_to_ask",
]
