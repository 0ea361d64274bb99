"""Why this room says no."""

from engine.core.errors import Conflict, Forbidden, Invalid, NotFound


class OrganizationNotFound(NotFound):
    code = "organization_not_found"

    def __init__(self) -> None:
        super().__init__("There is no such organization.")


class RegistrationClosed(Forbidden):
    code = "registration_closed"

    def __init__(self) -> None:
        super().__init__("New organizations cannot be made here. Ask an admin of yours for an account.")


class OrganizationNameInvalid(Invalid):
    code = "organization_name_invalid"

    def __init__(self) -> None:
        super().__init__("An organization's name is one line of 1 to 200 characters.")


class SlugTaken(Conflict):
    code = "slug_taken"

    def __init__(self) -> None:
        super().__init__("Too many organizations have a name like this. Choose another.")


class RoleUnknown(NotFound):
    code = "role_unknown"

    def __init__(self, code: str) -> None:
        super().__init__("There is no such role.", role=code[:64])


class InstructionInvalid(Invalid):
    code = "instruction_invalid"

    def __init__(self) -> None:
        super().__init__("An instruction to a role is a text of at most 8000 characters.")
