"""The shapes that requests and answers have."""

from typing import Annotated, Generic, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from engine.domains import organizations, sessions
from engine.domains.users import Locale, UserRole

Item = TypeVar("Item")
# Longer than any that fits: the room says what is wrong with it, this only keeps the absurd away.
Word = Annotated[str, Field(min_length=1, max_length=320)]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=1024)]


class Body(BaseModel):
    """What a client sends; a member that we do not know is a mistake and told as one."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """What a client gets, made from a room's dataclass."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class Page(View, Generic[Item]):
    """A piece of a list; `next_cursor` is null at its end."""

    items: list[Item]
    next_cursor: str | None


class Problem(View):
    """Why a request was refused (RFC 9457); some codes add members of their own."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str


# ── people, organizations, sessions ──


class UserView(View):
    id: UUID
    username: str
    email: str
    display_name: str
    role: UserRole
    is_active: bool
    locale: str
    timezone: str


class CreateUser(Body):
    username: Word
    email: Word
    display_name: Word
    role: UserRole = "user"
    locale: Locale = "ru"
    timezone: Word = "Europe/Moscow"


class CreatedUserView(View):
    user: UserView
    temporary_password: str


class ChangeUser(Body):
    display_name: Word | None = None
    email: Word | None = None
    locale: Locale | None = None
    timezone: Word | None = None
    role: UserRole | None = None
    is_active: bool | None = None


class OrganizationRef(View):
    id: UUID
    name: str
    slug: str


class RoleSettingView(View):
    enabled: bool
    instruction: str


class OrganizationView(OrganizationRef):
    roles: dict[str, RoleSettingView]


class ChangeRoleSetting(Body):
    enabled: bool | None = None
    instruction: Annotated[str, Field(max_length=8000)] | None = None


class ChangeOrganization(Body):
    name: Word | None = None
    roles: Annotated[dict[str, ChangeRoleSetting], Field(max_length=100)] = {}


class Register(Body):
    organization: Word
    username: Word
    email: Word
    password: Secret
    display_name: Word
    locale: Locale = "ru"
    timezone: Word = "Europe/Moscow"


class SignIn(Body):
    username: Word | None = None
    email: Word | None = None
    password: Secret
    organization: Word | None = None

    @model_validator(mode="after")
    def _exactly_one_name(self) -> Self:
        if (self.username is None) == (self.email is None):
            raise ValueError("give either username or email")
        return self

    @property
    def login(self) -> str:
        return self.username or self.email or ""


class Refresh(Body):
    """The token to exchange; a browser sends none, but its cookie."""

    refresh_token: Word | None = None


class ChangePassword(Body):
    current_password: Secret
    new_password: Secret


class SignedInView(View):
    access_token: str
    refresh_token: str | None  # null for browsers, which keep it in a cookie
    token_type: str = "bearer"  # noqa: S105 - the kind of token, not one
    expires_in: int
    user: UserView
    organization: OrganizationRef
    password_change_required: bool

    @classmethod
    def of(cls, signed_in: sessions.SignedIn) -> Self:
        return cls(
            access_token=signed_in.access_token,
            refresh_token=signed_in.refresh_token,
            expires_in=signed_in.expires_in,
            user=UserView.model_validate(signed_in.user),
            organization=OrganizationRef.model_validate(signed_in.organization),
            password_change_required=signed_in.user.must_change_password,
        )


class MeView(View):
    user: UserView
    organization: OrganizationRef


def organization_view(
    organization: organizations.Organization,
    settings: dict[str, organizations.RoleSetting],
    codes: list[str],
) -> OrganizationView:
    """Show an organization with what it set about each role there is."""
    unset = organizations.RoleSetting()
    return OrganizationView(
        id=organization.id,
        name=organization.name,
        slug=organization.slug,
        roles={code: RoleSettingView.model_validate(settings.get(code, unset)) for code in codes},
    )
