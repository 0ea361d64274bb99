"""Why this room says no."""

from engine.core.errors import Conflict, Forbidden, Unavailable


class NotAuthenticated(Forbidden):
    """We do not know who this is. An edge that has its own word for it (401) uses that."""

    code = "not_authenticated"

    def __init__(self, message: str = "Sign in first.") -> None:
        super().__init__(message)


class TokenExpired(NotAuthenticated):
    code = "token_expired"

    def __init__(self) -> None:
        super().__init__("The access token has expired. Refresh it.")


class SessionOver(NotAuthenticated):
    code = "session_ended"

    def __init__(self) -> None:
        super().__init__("This session has ended. Sign in again.")


class InvalidCredentials(NotAuthenticated):
    code = "invalid_credentials"

    def __init__(self) -> None:
        super().__init__(
            "The name, the password or the organization is wrong. Where several organizations use the "
            "name, say which one is meant."
        )


class WrongPassword(Forbidden):
    code = "wrong_password"

    def __init__(self) -> None:
        super().__init__("The current password is wrong.")


class PasswordChangeRequired(Forbidden):
    code = "password_change_required"

    def __init__(self) -> None:
        super().__init__("The password is a temporary one. Change it first: POST /api/v1/auth/password.")


class OrganizationRequired(Conflict):
    code = "organization_required"

    def __init__(self) -> None:
        super().__init__("You have accounts in several organizations. Say which one is meant.")


class TooManyAttempts(Unavailable):
    code = "too_many_attempts"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            "Too many wrong passwords came from this address. Try again later.",
            retry_after_seconds=retry_after_seconds,
        )
        self.retry_after_seconds = retry_after_seconds
