"""Why a signature is refused."""

from uuid import UUID

from engine.core.errors import Conflict, Forbidden, Invalid, NotFound
from engine.domains.approvals.models import Draft


class DraftNotFound(NotFound):
    code = "draft_not_found"

    def __init__(self, message_id: UUID) -> None:
        super().__init__("There is no draft under this message, or you cannot see it.", message_id=message_id)


class NotAnApprover(Forbidden):
    code = "not_an_approver"


class AlreadyValidated(Conflict):
    code = "already_validated"

    def __init__(self, draft: Draft) -> None:
        super().__init__(
            "Somebody has decided on this draft already.",
            status_now=draft.status,
            decided_by=draft.decided_by,
            decided_at=draft.decided_at.isoformat() if draft.decided_at else None,
        )


class EditNeedsText(Invalid):
    code = "edit_needs_text"
