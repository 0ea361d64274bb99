"""An organization, and what it says about the roles it uses."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Organization:
    """Those who share everything here; `slug` is its name at the sign-in."""

    id: UUID
    name: str
    slug: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RoleSetting:
    """Whether a role may be called, and what it is told besides its own prompt."""

    enabled: bool = True
    instruction: str = ""
