"""Tokens: signed ones that are believed for minutes, and random ones that renew them."""

import base64
import hashlib
import hmac
import secrets
import time
from typing import Any, get_args
from uuid import UUID, uuid4

import jwt

from engine.core.secret import derive
from engine.domains.sessions.errors import NotAuthenticated, TokenExpired
from engine.domains.sessions.models import Claims
from engine.domains.users import User, UserRole

_ISSUER = "rugpt"
_AUDIENCE = "rugpt-api"
_REQUIRED = ["exp", "iat", "iss", "aud", "sub", "jti", "org", "role", "sid"]
_LEEWAY_SECONDS = 5  # Machines of one installation do not quite agree on the time.
_LONGEST = 2048
_MOST_SEEN = 4096
_ROLES = get_args(UserRole)


class AccessTokens:
    """Makes access tokens and reads them without asking the database."""

    def __init__(self, secret: bytes, *, lifetime_seconds: int) -> None:
        self._key = derive(secret, "access-token")
        self.lifetime_seconds = lifetime_seconds
        self._seen: dict[str, tuple[Claims, float]] = {}  # Checking a signature costs more than a lookup.

    def issue(self, user: User, *, org_id: UUID, session_id: UUID) -> str:
        """Return a token that says who this is, until it expires."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "iat": now,
            "exp": now + self.lifetime_seconds,
            "jti": uuid4().hex,
            "sub": str(user.id),
            "org": str(org_id),
            "role": user.role,
            "sid": str(session_id),
        }
        if user.must_change_password:
            claims["pwd"] = True
        return jwt.encode(claims, self._key, algorithm="HS256")

    def read(self, token: str) -> Claims:
        """Return what a token of ours says; raise TokenExpired or NotAuthenticated otherwise."""
        seen = self._seen.get(token)
        if seen is not None:
            claims, expires_at = seen
            if time.time() >= expires_at:
                raise TokenExpired
            return claims
        read = self._check(token)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[token] = read
        return read[0]

    def _check(self, token: str) -> tuple[Claims, float]:
        if len(token) > _LONGEST:
            raise NotAuthenticated
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                leeway=_LEEWAY_SECONDS,
                options={"require": _REQUIRED},
            )
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except jwt.InvalidTokenError:
            raise NotAuthenticated from None
        return _claims(claims), int(claims["exp"]) + _LEEWAY_SECONDS


class RefreshTokens:
    """Makes the tokens that renew sessions: the first at random, each next one from the one before.

    So what a token was exchanged for can be told once more, although only digests are stored; whoever
    lacks our key learns nothing of the next token from this one.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = derive(secret, "refresh-token")

    def first(self) -> str:
        """Return 32 random bytes as text."""
        return secrets.token_urlsafe(32)

    def successor_of(self, refresh_token: str) -> str:
        """Return the one token that this one is exchanged for."""
        made = hmac.digest(self._key, refresh_token.encode(), "sha256")
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def hash_of(refresh_token: str) -> bytes:
    """Return what is stored of a refresh token; it is random, so a plain digest keeps it safe."""
    return hashlib.sha256(refresh_token.encode()).digest()


def _claims(claims: dict[str, Any]) -> Claims:
    role = claims["role"]
    if role not in _ROLES:
        raise NotAuthenticated
    try:
        return Claims(
            org_id=UUID(claims["org"]),
            user_id=UUID(claims["sub"]),
            role=role,
            session_id=UUID(claims["sid"]),
            must_change_password=claims.get("pwd") is True,
        )
    except (ValueError, AttributeError, TypeError):
        raise NotAuthenticated from None
