"""The tables of runs, their events and tool calls."""

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any
from uuid import UUID

from engine.core.database import Transaction
from engine.core.sql import load
from engine.domains.chats import Message
from engine.domains.runs.models import (
    Claim,
    Load,
    Marked,
    Outcome,
    Run,
    RunEvent,
    RunNow,
    Share,
    Taker,
    ToolUse,
    Waiting,
)

SQL = load(__file__)


async def waiting(tx: Transaction, *, chat_id: UUID, asker_id: UUID, role_codes: list[str]) -> Waiting:
    """Count what waits already."""
    row = await tx.one(SQL.waiting, chat_id=chat_id, asker_id=asker_id, role_codes=role_codes)
    return Waiting(**row)


async def queue_runs(
    tx: Transaction, calls: list[tuple[Message, str]], *, taker: Taker, limits: Waiting
) -> list[Run]:
    """Add a run for each message and role; return those that are new, and for which there was room."""
    rows = await tx.all(
        SQL.queue_runs,
        chat_ids=[message.chat_id for message, _ in calls],
        message_ids=[message.id for message, _ in calls],
        asker_ids=[message.author_id for message, _ in calls],
        positions=[message.no for message, _ in calls],
        role_codes=[code for _, code in calls],
        wanted=list(taker.wanted),
        worker=taker.worker,
        lease_seconds=taker.lease_seconds,
        most=limits.of_organization,
        most_of_an_asker=limits.of_asker,
        most_of_a_role=limits.of_role,
    )
    return [Run(**row) for row in rows]


async def runs_of_message(tx: Transaction, *, message_id: UUID) -> list[Run]:
    """Return the runs that a message started."""
    return [Run(**row) for row in await tx.all(SQL.runs_of_message, message_id=message_id)]


async def find_run(tx: Transaction, *, run_id: UUID) -> Run | None:
    """Return a run, whoever asks."""
    row = await tx.maybe(SQL.find_run, run_id=run_id)
    return Run(**row) if row else None


async def active_runs(tx: Transaction, *, chat_ids: list[UUID]) -> list[Run]:
    """Return the runs of some chats that have begun and not ended."""
    return [Run(**row) for row in await tx.all(SQL.active_runs, chat_ids=chat_ids)]


async def runs_of_answers(
    tx: Transaction, *, question_ids: list[UUID], answer_ids: list[UUID]
) -> dict[UUID, UUID]:
    """Return the runs' ids by the messages that they became."""
    rows = await tx.all(SQL.runs_of_answers, question_ids=question_ids, answer_ids=answer_ids)
    return {row["answer_id"]: row["id"] for row in rows}


async def unanswered_runs(
    tx: Transaction, *, chat_ids: list[UUID], with_ended: bool, count: int
) -> list[Run]:
    """Return runs of some chats that have no answer, of each kind so many."""
    rows = await tx.all(SQL.unanswered_runs, chat_ids=chat_ids, with_ended=with_ended, count=count)
    return [Run(**row) for row in rows]


async def runs_now(tx: Transaction, *, count: int) -> list[RunNow]:
    """Return what works and waits in the organization."""
    names = {field.name for field in fields(Run)}
    return [
        RunNow(
            Run(**{name: value for name, value in row.items() if name in names}),
            row["worker"],
            row["attempts"],
            row["is_stopping"],
        )
        for row in await tx.all(SQL.runs_now, count=count)
    ]


async def tool_uses(tx: Transaction, *, run_id: UUID) -> list[ToolUse]:
    """Return what tools a run's last attempt has used."""
    return [ToolUse(**row) for row in await tx.all(SQL.tool_uses, run_id=run_id)]


async def role_versions(tx: Transaction, *, versions: list[str]) -> dict[str, datetime]:
    """Return since when some versions are known."""
    rows = await tx.all(SQL.role_versions, versions=versions)
    return {row["version"]: row["first_seen_at"] for row in rows}


async def claim_runs(
    tx: Transaction, *, worker: str, count: int, lease_seconds: float, share: Share
) -> list[Claim]:
    """Take up to `count` runs of any organization."""
    rows = await tx.all(
        SQL.claim_runs,
        worker=worker,
        count=count,
        lease_seconds=lease_seconds,
        only_roles=None if share.only is None else list(share.only),
        but_roles=list(share.but),
    )
    return [Claim(**row) for row in rows]


async def load_by_role(tx: Transaction) -> dict[str, Load]:
    """Return what is to be done, by role."""
    rows = await tx.all(SQL.load_by_role)
    return {row["role_code"]: Load(row["waiting"], row["running"], row["oldest_seconds"]) for row in rows}


async def renew_leases(tx: Transaction, claims: list[Claim], *, lease_seconds: float) -> dict[UUID, bool]:
    """Return the runs that are still ours, with whether somebody wants them to stop."""
    rows = await tx.all(SQL.renew_leases, lease_seconds=lease_seconds, **_fenced(claims))
    return {row["id"]: row["cancel_requested"] for row in rows}


async def hand_back(tx: Transaction, claims: list[Claim]) -> None:
    """Give runs up."""
    await tx.run(SQL.hand_back, **_fenced(claims))


async def end_leases(tx: Transaction, *, workers: list[str]) -> int:
    """Let others take what some workers held; return how many runs that is."""
    return len(await tx.all(SQL.end_leases, workers=workers))


async def cancel_requests(tx: Transaction, *, worker: str) -> list[UUID]:
    """Return the worker's runs that somebody wants to stop."""
    return [row["id"] for row in await tx.all(SQL.cancel_requests, worker=worker)]


async def finish_runs(tx: Transaction, outcomes: list[Outcome]) -> set[UUID]:
    """End attempts; return the ids of those whose fence still held."""
    rows = await tx.all(
        SQL.finish_runs,
        run_ids=[outcome.claim.id for outcome in outcomes],
        fences=[outcome.claim.fence for outcome in outcomes],
        statuses=[outcome.status for outcome in outcomes],
        models=[outcome.model for outcome in outcomes],
        role_versions=[outcome.role_version for outcome in outcomes],
        limits_hit=[outcome.limit_hit for outcome in outcomes],
        error_codes=[outcome.error_code for outcome in outcomes],
        error_details=[outcome.error_detail for outcome in outcomes],
    )
    return {row["id"] for row in rows}


async def cancel_run(tx: Transaction, *, run_id: UUID) -> Marked | None:
    """Cancel or mark a run; return what it is now, or None when it has ended."""
    row = await tx.maybe(SQL.cancel_run, run_id=run_id)
    return Marked(**row) if row else None


async def cancel_runs_of_chat(tx: Transaction, *, chat_id: UUID) -> list[Marked]:
    """Cancel or mark every run of a chat that has not ended."""
    return [Marked(**row) for row in await tx.all(SQL.cancel_runs_of_chat, chat_id=chat_id)]


async def retry_run(tx: Transaction, *, run_id: UUID, position: int) -> bool:
    """Queue a run once more; False when it neither failed nor was cancelled."""
    return await tx.maybe(SQL.retry_run, run_id=run_id, position=position) is not None


async def insert_events(tx: Transaction, events: Iterable[tuple[UUID, list[RunEvent]]]) -> None:
    """Write run events, one row for each run given."""
    rows = [(run_id, items) for run_id, items in events if items]
    if not rows:
        return
    await tx.run(
        SQL.insert_events,
        run_ids=[run_id for run_id, _ in rows],
        first_ids=[items[0].id for _, items in rows],
        last_ids=[items[-1].id for _, items in rows],
        items=[[[item.id, item.kind, item.data] for item in items] for _, items in rows],
    )


async def events_after(tx: Transaction, *, run_id: UUID, after: int) -> list[RunEvent]:
    """Return a run's events beyond an id, in their order."""
    rows = await tx.all(SQL.events_after, run_id=run_id, after=after)
    return [RunEvent(*item) for row in rows for item in row["items"] if item[0] > after]


async def insert_tool_uses(tx: Transaction, *, run_id: UUID, fence: int, uses: list[ToolUse]) -> None:
    """Keep what tools an attempt has used."""
    await tx.run(
        SQL.insert_tool_uses,
        run_id=run_id,
        fence=fence,
        places=[use.place for use in uses],
        steps=[use.step for use in uses],
        call_ids=[use.call_id for use in uses],
        tools=[use.tool for use in uses],
        arguments=[use.arguments for use in uses],
        outcomes=[use.outcome for use in uses],
        results=[use.result for use in uses],
        seconds=[use.seconds for use in uses],
    )


async def keep_role_version(
    tx: Transaction, *, version: str, role_code: str, definition: dict[str, Any]
) -> None:
    """Keep what a role says now, by its content."""
    await tx.run(SQL.keep_role_version, version=version, role_code=role_code, definition=definition)


async def forget_checkpoints(tx: Transaction, *, run_ids: list[UUID]) -> None:
    """Delete the steps that runs have kept."""
    await tx.run(SQL.forget_checkpoints, run_ids=run_ids)


async def forget_old_checkpoints(tx: Transaction, *, keep_hours: int) -> int:
    """Delete steps of a batch of ended runs of any organization; return of how many runs."""
    count: int = (await tx.one(SQL.forget_old_checkpoints, keep_hours=keep_hours))["runs"]
    return count


async def forget_old_events(tx: Transaction, *, keep_hours: int) -> int:
    """Delete a batch of old run events of any organization; return how many."""
    return await tx.run(SQL.forget_old_run_events, keep_hours=keep_hours)


def _fenced(claims: list[Claim]) -> dict[str, Any]:
    return {
        "org_ids": [claim.org_id for claim in claims],
        "run_ids": [claim.id for claim in claims],
        "fences": [claim.fence for claim in claims],
    }
