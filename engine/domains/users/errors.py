"""Why this room says no."""

from uuid import UUID

from engine.core.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable


class UserNotFound(NotFound):
    code = "user_not_found"

    def __init__(self, user_id: UUID) -> None:
        super().__init__("There is no such person in your organization.", user_id=user_id)


class AdminsOnly(Forbidden):
    code = "admins_only"

    def __init__(self) -> None:
        super().__init__("Only an admin of your organization can do this.")


class UsernameInvalid(Invalid):
    code = "username_invalid"

    def __init__(self) -> None:
        super().__init__(
            "A username has 2 to 64 letters or digits; . _ and - may stand between them."
            " It is not asker, members or admins."
        )


class EmailInvalid(Invalid):
    code = "email_invalid"

    def __init__(self) -> None:
        super().__init__("This does not look like an e-mail address.")


class DisplayNameInvalid(Invalid):
    code = "display_name_invalid"

    def __init__(self) -> None:
        super().__init__("A display name is one line of 1 to 100 characters that does not begin with @.")


class LocaleUnknown(Invalid):
    code = "locale_unknown"

    def __init__(self) -> None:
        super().__init__("The locale is ru or en.")


class TimezoneUnknown(Invalid):
    code = "timezone_unknown"

    def __init__(self) -> None:
        super().__init__("The time zone is an IANA name, such as Europe/Moscow.")


class PasswordUnfit(Invalid):
    code = "password_unfit"


class UsernameTaken(Conflict):
    code = "username_taken"

    def __init__(self) -> None:
        super().__init__("Somebody in your organization has this username.")


class EmailTaken(Conflict):
    code = "email_taken"

    def __init__(self) -> None:
        super().__init__("Somebody in your organization has this e-mail address.")


class OwnPassword(Conflict):
    code = "own_password"

    def __init__(self) -> None:
        super().__init__("This is your own account. Change your password: POST /api/v1/auth/password.")


class LastAdmin(Conflict):
    code = "last_admin"

    def __init__(self) -> None:
        super().__init__("This is the last active admin. Make somebody else an admin first.")


class TooManySignIns(Unavailable):
    code = "too_many_sign_ins"

    def __init__(self) -> None:
        super().__init__("Too many passwords are being checked at once. Try again in a few seconds.")
