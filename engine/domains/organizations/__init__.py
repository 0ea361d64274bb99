"""Organizations are the fences: who shares everything, and which roles they let in."""

from engine.domains.organizations.errors import (
    InstructionInvalid,
    OrganizationNameInvalid,
    OrganizationNotFound,
    RegistrationClosed,
    RoleUnknown,
    SlugTaken,
)
from engine.domains.organizations.models import Organization, RoleSetting
from engine.domains.organizations.registration import Registration, RegistrationMode
from engine.domains.organizations.service import (
    current,
    current_with_roles,
    register,
    rename,
    role_settings,
    set_role,
)

__all__ = [
    "InstructionInvalid",
    "Organization",
    "OrganizationNameInvalid",
    "OrganizationNotFound",
    "Registration",
    "RegistrationClosed",
    "RegistrationMode",
    "RoleSetting",
    "RoleUnknown",
    "SlugTaken",
    "current",
    "current_with_roles",
    "register",
    "rename",
    "role_settings",
    "set_role",
]
