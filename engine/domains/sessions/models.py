"""A session: one sign-in of one person, kept alive by refreshing."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from engine.domains.organizations import Organization
from engine.domains.users import User, UserRole


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What a person gets who proved who they are."""

    access_token: str
    refresh_token: str
    expires_in: int  # seconds
    session_id: UUID
    user: User
    organization: Organization


@dataclass(frozen=True, slots=True)
class Claims:
    """What an access token says."""

    org_id: UUID
    user_id: UUID
    role: UserRole
    session_id: UUID
    must_change_password: bool


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """Where a refresh token belongs, as the cross-organization role sees it."""

    org_id: UUID
    session_id: UUID


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in of one person."""

    id: UUID
    user_id: UUID
    expires_at: datetime
    ended_at: datetime | None
    is_expired: bool


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """Sent to the feed after the commit: nothing may be done with this session any more."""

    session_id: UUID
