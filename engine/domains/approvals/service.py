"""Signing what a role wrote."""

from datetime import datetime
from uuid import UUID

from engine.core.database import Database, Transaction
from engine.domains import audit, chats, users
from engine.domains.approvals import repository
from engine.domains.approvals.errors import AlreadyValidated, DraftNotFound, EditNeedsText, NotAnApprover
from engine.domains.approvals.models import (
    AFTER,
    POLICY_WORDS,
    Draft,
    DraftDecided,
    DraftsOpened,
    DraftStatus,
    Verdict,
)
from engine.domains.runs import AnswersPosted
from engine.domains.users import Actor

MOST_COUNTED = 1000
MOST_EXPIRED_AT_ONCE = 200


async def open_drafts(tx: Transaction, posted: AnswersPosted) -> None:
    """Open a draft under each answer that needs a signature; listens to AnswersPosted."""
    waiting = [outcome for outcome in posted.outcomes if outcome.approvers is not None]
    if waiting:
        await tx.emit(DraftsOpened(await repository.open_drafts(tx, waiting)))


async def people_to_ask(tx: Transaction, drafts: list[Draft]) -> list[set[UUID]]:
    """Return for each draft who is to be told that it waits for them.

    They are those who may sign, but where every member of the chat may, only who asked.
    """
    askers = [
        (draft.chat_id, draft.asker_id) for draft in drafts if {"asker", "members"} & set(draft.approvers)
    ]
    present = await chats.those_in(tx, askers) if askers else set()
    has_admins = any("admins" in draft.approvers for draft in drafts)
    admins = set(await users.admin_ids(tx)) if has_admins else set()
    names = {name.casefold() for draft in drafts for name in draft.approvers} - POLICY_WORDS
    named = {
        user.username.casefold(): user.id for user in await users.by_usernames(tx, names) if user.is_active
    }

    def asked(draft: Draft) -> set[UUID]:
        people = {named[name.casefold()] for name in draft.approvers if name.casefold() in named}
        if (draft.chat_id, draft.asker_id) in present and {"asker", "members"} & set(draft.approvers):
            people.add(draft.asker_id)
        return people | admins if "admins" in draft.approvers else people

    return [asked(draft) for draft in drafts]


async def decide(
    tx: Transaction,
    actor: Actor,
    *,
    message_id: UUID,
    verdict: Verdict,
    content: str | None = None,
    comment: str | None = None,
) -> Draft:
    """Approve, edit or reject a draft. One verdict wins; the others learn of its outcome."""
    draft, is_signer = await _draft_for(tx, actor, message_id)
    if not is_signer:
        raise NotAnApprover("You may not sign this answer.", approvers=draft.approvers)
    if verdict is Verdict.EDIT and not (content or "").strip():
        raise EditNeedsText("An edit needs the new text in `content`.")
    before = (await chats.messages_by_ids(tx, [message_id]))[message_id]

    decided = await repository.decide(
        tx,
        message_id=message_id,
        status=AFTER[verdict],
        decided_by=actor.user_id,
        comment=comment,
        original=before.content if verdict is Verdict.EDIT else None,
        edited=content if verdict is Verdict.EDIT else None,
    )
    if decided is None:
        raise AlreadyValidated((await repository.drafts_by_messages(tx, [message_id]))[0])

    message = before
    if verdict is not Verdict.APPROVE:
        message = await chats.settle_draft(
            tx,
            message_id=message_id,
            content=content if verdict is Verdict.EDIT else None,
            withdraw=verdict is Verdict.REJECT,
        )
    await audit.record(
        tx,
        actor_id=actor.user_id,
        action=f"draft.{decided.status}",
        subject_id=message_id,
        chat_id=decided.chat_id,
        run_id=decided.run_id,
        role=decided.role_code,
    )
    await _tell(tx, decided, message, by=actor.user_id)
    return decided


async def get_draft(tx: Transaction, actor: Actor, *, message_id: UUID) -> tuple[Draft, bool]:
    """Return a draft and whether the actor may sign it; to others who are not in its chat it is unknown."""
    return await _draft_for(tx, actor, message_id)


async def drafts_of(tx: Transaction, message_ids: list[UUID]) -> dict[UUID, Draft]:
    """Return the drafts under some messages; whoever asks has checked that the reader is in their chats."""
    return {draft.message_id: draft for draft in await repository.drafts_by_messages(tx, message_ids)}


async def list_drafts(
    tx: Transaction,
    actor: Actor,
    *,
    status: DraftStatus | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Draft]:
    """Return a page of the drafts that the actor may sign, newest first."""
    before_at, before_id = before or (None, None)
    return await repository.drafts_for_signer(
        tx,
        user_id=actor.user_id,
        username=await _username(tx, actor),
        is_admin=actor.is_admin,
        chat_ids=await chats.chat_ids_of(tx, actor),
        status=status,
        before_at=before_at,
        before_id=before_id,
        count=limit,
    )


async def count_drafts(tx: Transaction, actor: Actor, *, most: int = MOST_COUNTED) -> int:
    """Count the drafts that wait for the actor's signature, up to so many."""
    return await repository.count_for_signer(
        tx,
        user_id=actor.user_id,
        username=await _username(tx, actor),
        is_admin=actor.is_admin,
        chat_ids=await chats.chat_ids_of(tx, actor),
        most=most,
    )


async def expire_overdue(database: Database) -> int:
    """End drafts of any organization that nobody signed in the time their role gives; return how many."""
    async with database.across_organizations(reason="find overdue drafts") as tx:
        overdue = await repository.overdue(tx, count=MOST_EXPIRED_AT_ONCE)
    expired = 0
    for org_id, message_ids in overdue.items():
        async with database.as_organization(org_id) as tx:
            drafts = await repository.expire(tx, message_ids=message_ids)
            messages = await chats.messages_by_ids(tx, [draft.message_id for draft in drafts])
            for draft in drafts:
                await _tell(tx, draft, messages[draft.message_id], by=None)
            expired += len(drafts)
    return expired


async def _tell(tx: Transaction, decided: Draft, message: chats.Message, *, by: UUID | None) -> None:
    tx.announce(
        decided.chat_id,
        "message.validated",
        {
            "message_id": decided.message_id,
            "chat_id": decided.chat_id,
            "run_id": decided.run_id,
            "status": decided.status,
            "by": by,
        },
        live=DraftDecided(decided, message),
    )
    await tx.emit(DraftDecided(decided, message))


async def _draft_for(tx: Transaction, actor: Actor, message_id: UUID) -> tuple[Draft, bool]:
    draft = await repository.find_draft(tx, message_id=message_id)
    if draft is None:
        raise DraftNotFound(message_id)
    is_member = draft.chat_id in await chats.chat_ids_of(tx, actor)
    is_signer = draft.may_be_signed_by(actor, username=await _username(tx, actor), is_member=is_member)
    if not is_member and not is_signer:
        raise DraftNotFound(message_id)
    return draft, is_signer


async def _username(tx: Transaction, actor: Actor) -> str:
    found = await users.by_ids(tx, [actor.user_id])
    return found[0].username if found else ""
