"""Sessions are who is signed in: proving it, believing it for minutes, and ending it everywhere at once."""

from engine.domains.sessions.errors import (
    InvalidCredentials,
    NotAuthenticated,
    OrganizationRequired,
    PasswordChangeRequired,
    SessionOver,
    TokenExpired,
    TooManyAttempts,
    WrongPassword,
)
from engine.domains.sessions.guard import SessionGuard
from engine.domains.sessions.models import Claims, SessionEnded, SignedIn
from engine.domains.sessions.service import (
    Entrance,
    change_password,
    forget_old_sessions,
    leave,
    listen,
    open_session,
    refresh,
    sign_in,
    sign_out,
)
from engine.domains.sessions.throttle import Throttle
from engine.domains.sessions.tokens import AccessTokens, RefreshTokens

__all__ = [
    "AccessTokens",
    "Claims",
    "Entrance",
    "InvalidCredentials",
    "NotAuthenticated",
    "OrganizationRequired",
    "PasswordChangeRequired",
    "RefreshTokens",
    "SessionEnded",
    "SessionGuard",
    "SessionOver",
    "SignedIn",
    "Throttle",
    "TokenExpired",
    "TooManyAttempts",
    "WrongPassword",
    "change_password",
    "forget_old_sessions",
    "leave",
    "listen",
    "open_session",
    "refresh",
    "sign_in",
    "sign_out",
]
