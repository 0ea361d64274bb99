"""The outbox: what is claimed, how each attempt ends, and what is tried again."""

import random
from collections.abc import Iterable
from datetime import datetime

from engine.core.database import Transaction
from engine.core.secret import Seal
from engine.domains.notifications import repository
from engine.domains.notifications.errors import DeliveryDelayed, DeliveryRefused, DeliveryUnknown
from engine.domains.notifications.models import AttemptOutcome, ChannelKind, Claim, Note, Stirred
from engine.domains.notifications.retries import is_over, pause_seconds
from engine.domains.notifications.service.composing import compose


async def claim(across: Transaction, *, kind: ChannelKind, count: int, lease_seconds: float) -> list[Claim]:
    """Take deliveries of any organization that are due, or whose sender has gone silent."""
    return await repository.claim_deliveries(across, kind=kind, count=count, lease_seconds=lease_seconds)


async def seconds_to_next(across: Transaction, *, plans: bool, kinds: Iterable[ChannelKind]) -> float | None:
    """Return in how many seconds something has to be planned, or sent by some kinds of channel; or None."""
    return await repository.next_due(across, plans=plans, kinds=list(kinds))


async def prepare(tx: Transaction, claimed: Claim, *, seal: Seal) -> Note | None:
    """Return what a claimed delivery says; None when there is nothing left to send, and that is recorded.

    It is also None where the channel is quiet by now (a digest was gathered, a try has failed, the engine was
    down meanwhile): then it waits until the channel wakes. An attempt before it that nobody ended is put in
    the log as unknown: it may have arrived.
    """
    if claimed.lost_fence is not None:
        await repository.insert_attempt(
            tx,
            delivery_id=claimed.id,
            fence=claimed.lost_fence,
            started_at=claimed.lost_at or claimed.started_at,
            outcome="unknown",
            detail="its sender went silent",
        )
        await repository.count_unknown(tx, delivery_id=claimed.id)
        if is_over(claimed.attempts, claimed.unknowns + 1):
            await _give_up(tx, claimed, "unknown", "too many attempts without an acknowledgement")
            return None
    note = await compose(tx, claimed, seal=seal)
    if isinstance(note, Note):
        return note
    if isinstance(note, datetime):
        await repository.put_back(tx, claimed, due_at=note)
    elif await repository.end_attempt(tx, claimed, status="dropped", failure=note):
        await _log(tx, claimed, "dropped", note)
    return None


async def note_part(tx: Transaction, claimed: Claim, *, parts_sent: int, lease_seconds: float) -> bool:
    """Note that one more part of a long message has arrived; False when another process has it by now."""
    return await repository.note_part(tx, claimed, parts_sent=parts_sent, lease_seconds=lease_seconds)


async def record_sent(tx: Transaction, claimed: Claim, *, provider_id: str) -> bool:
    """Record that a delivery has arrived; False when another process has it by now."""
    is_ours = await repository.end_attempt(tx, claimed, status="sent", provider_id=provider_id)
    if is_ours:
        await _log(tx, claimed, "sent", None)
    return is_ours


async def record_failure(
    tx: Transaction, claimed: Claim, failure: DeliveryDelayed | DeliveryRefused | DeliveryUnknown
) -> None:
    """Record that a delivery has not, or perhaps not, arrived, and what is done about it."""
    if isinstance(failure, DeliveryRefused):
        await _give_up(tx, claimed, "refused", failure.message)
        if failure.breaks_channel:
            await repository.break_channel(tx, channel_id=claimed.channel_id, reason=failure.message)
        return
    is_unknown = isinstance(failure, DeliveryUnknown)
    outcome: AttemptOutcome = "unknown" if is_unknown else "delayed"
    wished = failure.retry_after_seconds if isinstance(failure, DeliveryDelayed) else None
    if wished is not None:
        await repository.hold_channel(tx, channel_id=claimed.channel_id, seconds=wished)
    if is_over(claimed.attempts, claimed.unknowns + is_unknown):
        await _give_up(tx, claimed, outcome, failure.message, is_unknown=is_unknown)
        return
    pause = pause_seconds(claimed.attempts, chance=random.random(), wished=wished, is_unknown=is_unknown)
    if await repository.end_attempt(
        tx, claimed, status="queued", is_unknown=is_unknown, failure=failure.message, pause_seconds=pause
    ):
        await _log(tx, claimed, outcome, failure.message)


async def _give_up(
    tx: Transaction, claimed: Claim, outcome: AttemptOutcome, detail: str, *, is_unknown: bool = False
) -> None:
    """Make a dead letter of it, and let what it tells of go to the next channels."""
    if await repository.end_attempt(tx, claimed, status="dead", is_unknown=is_unknown, failure=detail):
        await _log(tx, claimed, outcome, detail)
        await repository.fall_on(tx, delivery_id=claimed.id)
        tx.after_commit(Stirred())


async def _log(tx: Transaction, claimed: Claim, outcome: AttemptOutcome, detail: str | None) -> None:
    await repository.insert_attempt(
        tx,
        delivery_id=claimed.id,
        fence=claimed.fence,
        started_at=claimed.started_at,
        outcome=outcome,
        detail=detail,
    )
