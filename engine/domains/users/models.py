"""People, and the shape in which they act."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

UserRole = Literal["admin", "user"]
Locale = Literal["ru", "en"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever does something: who they are and what they may, as their access token says."""

    org_id: UUID
    user_id: UUID
    role: UserRole

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


@dataclass(frozen=True, slots=True)
class User:
    """A person of one organization; `username` is what follows the @."""

    id: UUID
    username: str
    email: str
    display_name: str
    role: UserRole
    is_active: bool
    locale: str
    timezone: str
    must_change_password: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class UserChanges:
    """What is to change about a person; None leaves a thing as it is."""

    display_name: str | None = None
    email: str | None = None
    locale: Locale | None = None
    timezone: str | None = None
    role: UserRole | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What a sign-in needs to know of a person before it knows that it is them."""

    org_id: UUID
    user_id: UUID
    password_hash: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class UserAccessChanged:
    """A person was deactivated or may do other things than before: what they hold is out of date."""

    user_id: UUID
