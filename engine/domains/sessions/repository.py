"""The tables of sessions and refresh tokens."""

from uuid import UUID

from engine.core.database import Transaction
from engine.core.sql import load
from engine.domains.sessions.models import RefreshToken, Session

SQL = load(__file__)


async def insert_session(tx: Transaction, *, user_id: UUID, lifetime_seconds: float) -> UUID:
    """Begin a session."""
    row = await tx.one(SQL.insert_session, user_id=user_id, lifetime_seconds=lifetime_seconds)
    session_id: UUID = row["id"]
    return session_id


async def insert_refresh_token(tx: Transaction, *, token_hash: bytes, session_id: UUID) -> None:
    """Add the token that renews the session next."""
    await tx.run(SQL.insert_refresh_token, token_hash=token_hash, session_id=session_id)


async def find_refresh_token(across: Transaction, *, token_hash: bytes) -> RefreshToken | None:
    """Return where a token belongs, used or not, or None."""
    row = await across.maybe(SQL.find_refresh_token, token_hash=token_hash)
    return RefreshToken(**row) if row else None


async def owner_of_session(tx: Transaction, *, session_id: UUID) -> UUID | None:
    """Return whose session it is, or None."""
    row = await tx.maybe(SQL.owner_of_session, session_id=session_id)
    return row["user_id"] if row else None


async def lock_session(tx: Transaction, *, session_id: UUID) -> Session | None:
    """Return a session that nobody else changes before the commit, or None."""
    row = await tx.maybe(SQL.lock_session, session_id=session_id)
    return Session(**row) if row else None


async def is_session_live(tx: Transaction, *, session_id: UUID) -> bool:
    """Tell whether a session can still be used."""
    return bool((await tx.one(SQL.is_session_live, session_id=session_id))["found"])


async def use_refresh_token(tx: Transaction, *, token_hash: bytes) -> bool:
    """Use a token up; False when it was used before."""
    return await tx.run(SQL.use_refresh_token, token_hash=token_hash) == 1


async def was_just_used(tx: Transaction, *, token_hash: bytes, successor_hash: bytes, seconds: float) -> bool:
    """Tell whether a token was used within so many seconds, and its successor not yet."""
    row = await tx.one(
        SQL.was_just_used, token_hash=token_hash, successor_hash=successor_hash, seconds=seconds
    )
    return bool(row["found"])


async def use_up_refresh_tokens(tx: Transaction, *, session_id: UUID) -> None:
    """Use up every token of a session."""
    await tx.run(SQL.use_up_refresh_tokens, session_id=session_id)


async def extend_session(tx: Transaction, *, session_id: UUID, lifetime_seconds: float) -> None:
    """Let a session last this long from now."""
    await tx.run(SQL.extend_session, session_id=session_id, lifetime_seconds=lifetime_seconds)


async def end_session(tx: Transaction, *, session_id: UUID, reason: str) -> bool:
    """End a session; False when it had ended."""
    return await tx.run(SQL.end_session, session_id=session_id, reason=reason) == 1


async def end_sessions_of_user(
    tx: Transaction, *, user_id: UUID, reason: str, but: UUID | None = None
) -> list[UUID]:
    """End a person's sessions and return which ones."""
    rows = await tx.all(SQL.end_sessions_of_user, user_id=user_id, reason=reason, but=but)
    return [row["id"] for row in rows]


async def recently_ended(across: Transaction, *, seconds: float) -> list[UUID]:
    """Return the sessions of all organizations that ended lately."""
    return [row["id"] for row in await across.all(SQL.recently_ended, seconds=seconds)]


async def forget_old_sessions(across: Transaction, *, days: int, count: int) -> int:
    """Delete sessions that were over long ago and return how many."""
    return await across.run(SQL.forget_old_sessions, days=days, count=count)
