"""Signing in, staying signed in, and leaving."""

import asyncio
import time
import unicodedata
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from engine.core.database import Database, Transaction
from engine.core.events import Bus
from engine.domains import audit, organizations, users
from engine.domains.sessions import repository
from engine.domains.sessions.errors import (
    InvalidCredentials,
    OrganizationRequired,
    SessionOver,
    WrongPassword,
)
from engine.domains.sessions.models import RefreshToken, SessionEnded, SignedIn
from engine.domains.sessions.throttle import Throttle
from engine.domains.sessions.tokens import AccessTokens, RefreshTokens, hash_of
from engine.domains.users import Account, Actor, Passwords, UserAccessChanged

_MOST_ACCOUNTS = 5  # tried for one name that several organizations use
_DAY = 86_400
# For so long a browser may send a token again: another tab was faster, or the answer was lost in a reload.
_HASTE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Entrance:
    """What signing in needs; made once, and remembers who failed lately."""

    database: Database
    passwords: Passwords
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    refresh_days: int
    throttle: Throttle = field(default_factory=Throttle)
    # A failure is told no sooner than this, so that its time says nothing of how many accounts were tried.
    failure_seconds: float = 0.4
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


async def sign_in(
    entrance: Entrance, *, login: str, password: str, organization: str | None, address: str
) -> SignedIn:
    """Open a session for whoever knows the password; `login` is a username or an e-mail address.

    No answer, and no time it takes, tells a stranger whether an account exists.
    """
    login = unicodedata.normalize("NFC", login).strip().removeprefix("@")
    slug = organization.strip().lower() if organization else None
    account_key = f"{slug or ''}/{login.casefold()}"
    await entrance.sleep(entrance.throttle.attempt(account=account_key, address=address))
    started_at = time.monotonic()

    async with entrance.database.across_organizations(reason="sign-in") as across:
        accounts = await users.accounts_named(across, login=login, slug=slug, count=_MOST_ACCOUNTS)
    fitting = await _those_who_fit(entrance, accounts, password)
    signed_in = await _open_for(entrance, fitting[0], password) if len(fitting) == 1 else None

    if signed_in is None and not fitting:
        await entrance.sleep(max(0.0, started_at + entrance.failure_seconds - time.monotonic()))
        raise InvalidCredentials
    entrance.throttle.forgive(account=account_key, address=address)
    if len(fitting) > 1:
        raise OrganizationRequired  # Only to those who know the password.
    if signed_in is None:
        raise InvalidCredentials  # Deactivated while we checked.
    return signed_in


async def open_session(tx: Transaction, entrance: Entrance, *, user_id: UUID) -> SignedIn | None:
    """Open a session for a person whose right to it was checked; None when they may not sign in any more."""
    user = await users.active_user(tx, user_id=user_id)
    if user is None:
        return None
    session_id = await repository.insert_session(
        tx, user_id=user.id, lifetime_seconds=entrance.refresh_days * _DAY
    )
    await audit.record(tx, actor_id=user.id, action="session.opened", subject_id=session_id)
    return await _first_tokens(tx, entrance, user, session_id)


async def refresh(entrance: Entrance, *, refresh_token: str, is_browser: bool = False) -> SignedIn:
    """Renew a session. A token does so once: its second use means that it was stolen and ends the session.

    Only a browser, whose tabs share one token, gets the same successor again for half a minute, unless
    that one was used meanwhile.
    """
    token = await _find(entrance, refresh_token)
    if token is None:
        raise SessionOver

    async with entrance.database.as_organization(token.org_id) as tx:
        signed_in = await _renew(tx, entrance, refresh_token, token.session_id, forgives_haste=is_browser)
    # Raised only here: the end of a reused token's session must be committed.
    if signed_in is None:
        raise SessionOver
    return signed_in


async def sign_out(tx: Transaction, actor: Actor, *, session_id: UUID) -> None:
    """End one's session; once more does nothing."""
    if await repository.end_session(tx, session_id=session_id, reason="signed_out"):
        tx.after_commit(SessionEnded(session_id))
        await audit.record(tx, actor_id=actor.user_id, action="session.signed_out", subject_id=session_id)


async def leave(entrance: Entrance, *, refresh_token: str) -> None:
    """End the session that a refresh token belongs to, used or not; an unknown one does nothing."""
    token = await _find(entrance, refresh_token)
    if token is None:
        return
    async with entrance.database.as_organization(token.org_id) as tx:
        user_id = await repository.owner_of_session(tx, session_id=token.session_id)
        if user_id is None or not await repository.end_session(
            tx, session_id=token.session_id, reason="signed_out"
        ):
            return
        tx.after_commit(SessionEnded(token.session_id))
        await audit.record(tx, actor_id=user_id, action="session.signed_out", subject_id=token.session_id)


async def change_password(
    entrance: Entrance, actor: Actor, *, session_id: UUID, current: str, new: str, address: str
) -> SignedIn:
    """Change one's own password; ends one's other sessions and renews this one."""
    key = f"id:{actor.user_id}"
    await entrance.sleep(entrance.throttle.attempt(account=key, address=address))
    async with entrance.database.as_organization(actor.org_id) as tx:
        user = await users.get_user(tx, user_id=actor.user_id)
        old_hash = await users.password_hash_of(tx, user_id=actor.user_id)
    if old_hash is None:
        raise SessionOver
    if not await entrance.passwords.fits(old_hash, current):
        raise WrongPassword
    entrance.throttle.forgive(account=key, address=address)
    users.check_fitness(new, username=user.username, email=user.email, current=current)
    new_hash = await entrance.passwords.hash(new)

    async with entrance.database.as_organization(actor.org_id) as tx:
        if not await users.replace_password(tx, actor, old_hash=old_hash, new_hash=new_hash):
            raise WrongPassword  # Changed by another request meanwhile.
        await _end_sessions(tx, actor.user_id, reason="password_changed", but=session_id)
        session = await repository.lock_session(tx, session_id=session_id)
        renewed = await users.active_user(tx, user_id=actor.user_id)
        if session is None or session.ended_at is not None or renewed is None:
            raise SessionOver
        await repository.use_up_refresh_tokens(tx, session_id=session_id)
        return await _first_tokens(tx, entrance, renewed, session_id)


def listen(bus: Bus) -> None:
    """End the sessions of people who may not, or may do other things than, what their tokens say."""

    async def end_what_is_out_of_date(tx: Transaction, event: UserAccessChanged) -> None:
        await _end_sessions(tx, event.user_id, reason="access_changed")

    bus.on(UserAccessChanged, end_what_is_out_of_date)


async def forget_old_sessions(database: Database, *, days: int = 7, count: int = 1000) -> int:
    """Delete some of the sessions that were over so long ago, and return how many."""
    async with database.across_organizations(reason="old sessions") as across:
        return await repository.forget_old_sessions(across, days=days, count=count)


async def _those_who_fit(entrance: Entrance, accounts: list[Account], password: str) -> list[Account]:
    if not accounts:
        await entrance.passwords.fits_nobody(password)
    # The deactivated are checked too: it takes the same time.
    fitting = [each for each in accounts if await entrance.passwords.fits(each.password_hash, password)]
    return [account for account in fitting if account.is_active]


async def _open_for(entrance: Entrance, account: Account, password: str) -> SignedIn | None:
    old_hash = account.password_hash
    new_hash = await entrance.passwords.hash(password) if entrance.passwords.is_outdated(old_hash) else None
    async with entrance.database.as_organization(account.org_id) as tx:
        if new_hash is not None:
            await users.refresh_hash(tx, user_id=account.user_id, old_hash=old_hash, new_hash=new_hash)
        return await open_session(tx, entrance, user_id=account.user_id)


async def _find(entrance: Entrance, refresh_token: str) -> RefreshToken | None:
    async with entrance.database.across_organizations(reason="refresh") as across:
        return await repository.find_refresh_token(across, token_hash=hash_of(refresh_token))


async def _renew(
    tx: Transaction, entrance: Entrance, refresh_token: str, session_id: UUID, *, forgives_haste: bool
) -> SignedIn | None:
    user_id = await repository.owner_of_session(tx, session_id=session_id)
    # The person before the session, as when somebody is deactivated: nobody waits in a circle.
    user = await users.active_user(tx, user_id=user_id) if user_id else None
    session = await repository.lock_session(tx, session_id=session_id)
    if user is None or session is None or session.ended_at is not None or session.is_expired:
        return None
    token_hash, successor = hash_of(refresh_token), entrance.refresh_tokens.successor_of(refresh_token)
    is_first_use = await repository.use_refresh_token(tx, token_hash=token_hash)
    if is_first_use:
        await repository.insert_refresh_token(tx, token_hash=hash_of(successor), session_id=session_id)
    elif not forgives_haste or not await repository.was_just_used(
        tx, token_hash=token_hash, successor_hash=hash_of(successor), seconds=_HASTE_SECONDS
    ):
        await repository.end_session(tx, session_id=session_id, reason="refresh_token_reused")
        tx.after_commit(SessionEnded(session_id))
        await audit.record(
            tx,
            actor_id=None,
            action="session.refresh_token_reused",
            subject_id=session_id,
            user_id=str(user.id),
        )
        return None
    await repository.extend_session(tx, session_id=session_id, lifetime_seconds=entrance.refresh_days * _DAY)
    return await _tokens_for(tx, entrance, user, session_id, successor)


async def _first_tokens(tx: Transaction, entrance: Entrance, user: users.User, session_id: UUID) -> SignedIn:
    refresh_token = entrance.refresh_tokens.first()
    await repository.insert_refresh_token(tx, token_hash=hash_of(refresh_token), session_id=session_id)
    return await _tokens_for(tx, entrance, user, session_id, refresh_token)


async def _tokens_for(
    tx: Transaction, entrance: Entrance, user: users.User, session_id: UUID, refresh_token: str
) -> SignedIn:
    organization = await organizations.current(tx)
    tokens = entrance.access_tokens
    return SignedIn(
        access_token=tokens.issue(user, org_id=organization.id, session_id=session_id),
        refresh_token=refresh_token,
        expires_in=tokens.lifetime_seconds,
        session_id=session_id,
        user=user,
        organization=organization,
    )


async def _end_sessions(tx: Transaction, user_id: UUID, *, reason: str, but: UUID | None = None) -> None:
    for session_id in await repository.end_sessions_of_user(tx, user_id=user_id, reason=reason, but=but):
        tx.after_commit(SessionEnded(session_id))
