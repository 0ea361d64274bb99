"""The life of a run: queued with its message, claimed, heard of, finished once; or cancelled, or retried."""

from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from engine.core.database import Transaction
from engine.domains import audit, chats, usage, users
from engine.domains.runs import repository
from engine.domains.runs.errors import NotYourRun, RunHasEnded, RunNotFound, RunNotRetryable, TooManyRuns
from engine.domains.runs.models import (
    FENCE_SHIFT,
    Answered,
    AnswersPosted,
    CancelRequested,
    Claim,
    Load,
    Marked,
    Outcome,
    Run,
    RunEnd,
    RunEvent,
    RunHeard,
    RunNow,
    RunsEnded,
    RunsOffered,
    RunsQueued,
    RunsTaken,
    Share,
    Taker,
    ToolUse,
    Waiting,
)
from engine.domains.users import Actor

# One person must not keep the others waiting. The last two may be passed by as much as is posted at the same
# moment, in a transaction that does not see it.
MOST_WAITING_OF_A_ROLE = 20  # in one chat
MOST_WAITING_OF_AN_ASKER = 200
MOST_WAITING = 1000  # in one organization
MOST = Waiting(MOST_WAITING, MOST_WAITING_OF_AN_ASKER, MOST_WAITING_OF_A_ROLE)
MOST_LISTED = 200
EVERY_ROLE = Share()


async def queue_for_messages(tx: Transaction, posted: chats.MessagesPosted) -> list[Run]:
    """Queue a run for each role that a message calls; listens to MessagesPosted.

    Raises TooManyRuns, and with it takes the messages back, when too much waits already.
    """
    calls = [(message, code) for message in posted.messages for code in message.calls]
    if not calls:
        return []
    offers = await tx.emit(RunsOffered(tuple(code for _, code in calls)))
    nobody = Taker("", 0.0, (False,) * len(calls))
    taker = next((offer for offer in offers if isinstance(offer, Taker)), nobody)
    queued = await repository.queue_runs(tx, calls, taker=taker, limits=MOST)
    if len(queued) < len(calls):
        await _refuse_too_many(tx, calls, queued)
    for run in queued:
        _announce(tx, "run.queued", run.chat_id, run.id, run.role_code, run.answer_id)
    # Workers tell nobody of a run before they have written its start, which comes after this on the disk.
    if taken := [run for run in queued if run.status == "running"]:
        claims = tuple(_claim_of(_org(tx), run) for run in taken)
        tx.after_commit(RunsTaken(taker.worker, claims), on_disk=False)
    if waiting := [run for run in queued if run.status == "queued"]:
        tx.after_commit(RunsQueued(tuple(run.role_code for run in waiting)), on_disk=False)
    return [replace(run, status="queued") for run in queued]  # Nobody has heard yet that it is at work.


def among(posted: chats.Posted) -> list[Run]:
    """Return the runs that were queued for a message that was just posted."""
    return [
        run
        for reaction in posted.reactions
        if isinstance(reaction, list)
        for run in reaction
        if isinstance(run, Run) and run.message_id == posted.message.id
    ]


async def runs_of_message(tx: Transaction, message_id: UUID) -> list[Run]:
    """Return the runs that a message started; whoever asks has seen the message."""
    return await repository.runs_of_message(tx, message_id=message_id)


async def get_run(tx: Transaction, actor: Actor, *, run_id: UUID) -> Run:
    """Return a run to a member of its chat."""
    run = await repository.find_run(tx, run_id=run_id)
    if run is None:
        raise RunNotFound(run_id)
    try:
        await chats.get_chat(tx, actor, chat_id=run.chat_id)
    except chats.ChatNotFound as outsider:
        raise RunNotFound(run_id) from outsider
    return run


async def runs_of_answers(tx: Transaction, messages: list[chats.Message]) -> dict[UUID, UUID]:
    """Return the ids of the runs that became some messages, by message; the reader is in their chats."""
    answers = [(message.id, message.reply_to) for message in messages if message.reply_to is not None]
    if not answers:
        return {}
    return await repository.runs_of_answers(
        tx, question_ids=[question for _, question in answers], answer_ids=[answer for answer, _ in answers]
    )


async def unanswered_runs(tx: Transaction, actor: Actor, *, chat_id: UUID | None) -> list[Run]:
    """Return what waits and works in the actor's chats; of one chat also what ended without an answer."""
    if chat_id is not None:
        await chats.get_chat(tx, actor, chat_id=chat_id)
    chat_ids = await chats.chat_ids_of(tx, actor) if chat_id is None else [chat_id]
    return await repository.unanswered_runs(
        tx, chat_ids=chat_ids, with_ended=chat_id is not None, count=MOST_LISTED
    )


async def runs_now(tx: Transaction, actor: Actor) -> list[RunNow]:
    """Return what works and waits in the whole organization; for administrators."""
    users.require_admin(actor)
    return await repository.runs_now(tx, count=MOST_LISTED)


async def tool_uses(tx: Transaction, *, run_id: UUID) -> list[ToolUse]:
    """Return what tools a run has used; whoever asks has checked that the reader may read its answer."""
    return await repository.tool_uses(tx, run_id=run_id)


async def versions_known_since(
    tx: Transaction, definitions: dict[str, tuple[str, dict[str, Any]]]
) -> dict[str, datetime]:
    """Return since when each version of a role is known; what is new is kept, with its code and content."""
    known = await repository.role_versions(tx, versions=list(definitions))
    new = definitions.keys() - known.keys()
    for version in sorted(new):
        code, definition = definitions[version]
        await repository.keep_role_version(tx, version=version, role_code=code, definition=definition)
    return {**known, **await repository.role_versions(tx, versions=sorted(new))} if new else known


async def active_runs(tx: Transaction, chat_ids: list[UUID]) -> list[Run]:
    """Return the runs at work in some chats; whoever asks has checked that the reader is in them."""
    return await repository.active_runs(tx, chat_ids=chat_ids)


async def events_after(tx: Transaction, *, run_id: UUID, after: int) -> list[RunEvent]:
    """Return a run's events beyond an id, in their order."""
    return await repository.events_after(tx, run_id=run_id, after=after)


async def cancel(tx: Transaction, actor: Actor, *, run_id: UUID) -> Run:
    """Stop a run: at once when it waits, within a second when a worker has it."""
    run = await _own_run(tx, actor, run_id)
    await _stop(tx, run)
    return await get_run(tx, actor, run_id=run_id)


async def cancel_any(tx: Transaction, actor: Actor, *, run_id: UUID) -> None:
    """Stop a run of the organization, whoever is in its chat; for administrators."""
    users.require_admin(actor)
    run = await repository.find_run(tx, run_id=run_id)
    if run is None:
        raise RunNotFound(run_id)
    await _stop(tx, run)
    await audit.record(tx, actor_id=actor.user_id, action="run.cancelled", run_id=run_id)


async def cancel_of_chat(tx: Transaction, deleted: chats.ChatDeleted) -> None:
    """Stop whatever waits or works in a chat that is no more; listens to ChatDeleted."""
    await _tell_cancelled(tx, await repository.cancel_runs_of_chat(tx, chat_id=deleted.chat_id))


async def retry(tx: Transaction, actor: Actor, *, run_id: UUID) -> Run:
    """Queue a run that failed or was cancelled once more, if its role may still be called in its chat."""
    run = await _own_run(tx, actor, run_id)
    if not await chats.lets_call(tx, actor, chat_id=run.chat_id, role_code=run.role_code):
        raise RunNotRetryable("This role may no longer be called in this chat.", role=run.role_code)
    await _require_room(tx, chat_id=run.chat_id, asker_id=run.asker_id, role_codes=[run.role_code])
    chat = await chats.get_chat(tx, actor, chat_id=run.chat_id)
    if not await repository.retry_run(tx, run_id=run_id, position=chat.last_message_no):
        raise RunNotRetryable("Only a run that failed or was cancelled can be retried.", status=run.status)
    _announce(tx, "run.queued", run.chat_id, run.id, run.role_code, run.answer_id)
    tx.after_commit(RunsQueued((run.role_code,)))
    return await get_run(tx, actor, run_id=run_id)


async def claim(
    tx: Transaction, *, worker: str, count: int, lease_seconds: float, share: Share = EVERY_ROLE
) -> list[Claim]:
    """Take runs for a worker, of any organization and of its share of the roles."""
    return await repository.claim_runs(
        tx, worker=worker, count=count, lease_seconds=lease_seconds, share=share
    )


async def load(tx: Transaction) -> dict[str, Load]:
    """Return what there is to do in all organizations, by role; a role that is missing has nothing."""
    return await repository.load_by_role(tx)


async def renew(tx: Transaction, claims: list[Claim], *, lease_seconds: float) -> dict[UUID, bool]:
    """Keep claims alive; return those still held, with whether somebody wants them to stop."""
    return await repository.renew_leases(tx, claims, lease_seconds=lease_seconds)


async def hand_back(tx: Transaction, claims: list[Claim]) -> None:
    """Give claims up so that others take them at once."""
    await repository.hand_back(tx, claims)


async def take_from(tx: Transaction, workers: list[str]) -> int:
    """Let others take at once what dead workers held; return how many runs that is."""
    taken = await repository.end_leases(tx, workers=workers)
    if taken:
        tx.after_commit(RunsQueued())
    return taken


async def cancel_requests(tx: Transaction, *, worker: str) -> list[UUID]:
    """Return which of a worker's runs should stop."""
    return await repository.cancel_requests(tx, worker=worker)


def announce_start(tx: Transaction, claim: Claim) -> None:
    """Tell the chat that a role is at work, or that another worker has begun its answer anew."""
    kind = "run.restarted" if claim.is_takeover else "run.started"
    first = claim.fence << FENCE_SHIFT  # What has a lesser seq was said by somebody before.
    _announce(tx, kind, claim.chat_id, claim.id, claim.role_code, claim.answer_id, seq=first)


def announce_step(tx: Transaction, claim: Claim, step: dict[str, Any]) -> None:
    """Tell the chat of a tool, a step or a member at work."""
    _announce(tx, "run.tool", claim.chat_id, claim.id, claim.role_code, claim.answer_id, **step)


async def write_events(tx: Transaction, events: list[tuple[UUID, list[RunEvent]]]) -> None:
    """Write what was heard of runs."""
    await repository.insert_events(tx, events)


async def record_tools(tx: Transaction, claim: Claim, uses: list[ToolUse]) -> None:
    """Keep what tools an attempt has used; each use is kept once, however often it is told."""
    await repository.insert_tool_uses(tx, run_id=claim.id, fence=claim.fence, uses=uses)


async def keep_role_version(
    tx: Transaction, *, version: str, role_code: str, definition: dict[str, Any]
) -> None:
    """Keep what a role and its prompts say, by their content hash."""
    await repository.keep_role_version(tx, version=version, role_code=role_code, definition=definition)


async def finish(tx: Transaction, outcomes: list[Outcome]) -> set[UUID]:
    """End attempts of one organization: status, answer, usage, audit and events become true together.

    Returns the ids of the runs that ended by this; the others belong to another worker by now, and
    nothing of their attempts is kept. What was answered in a chat that is no more ends as cancelled.
    """
    # The chats are locked before the runs, as everywhere: two that lock both cannot wait for each other.
    answered_in = [outcome.claim.chat_id for outcome in outcomes if outcome.status == "completed"]
    there = await chats.lock_existing(tx, answered_in) if answered_in else set()
    outcomes = [
        _cancelled(outcome)
        if outcome.status == "completed" and outcome.claim.chat_id not in there
        else outcome
        for outcome in outcomes
    ]
    accepted = await repository.finish_runs(tx, outcomes)
    done = [outcome for outcome in outcomes if outcome.claim.id in accepted]
    completed = [outcome for outcome in done if outcome.status == "completed"]
    posted = await chats.post_answers(
        tx,
        [
            chats.Answer(
                message_id=outcome.claim.answer_id,
                chat_id=outcome.claim.chat_id,
                role_code=outcome.claim.role_code,
                reply_to=outcome.claim.message_id,
                content=outcome.text,
            )
            for outcome in completed
        ],
    )
    if completed:
        await tx.emit(AnswersPosted(completed))
    approvers = {outcome.claim.answer_id: outcome.approvers for outcome in completed}
    claims = {outcome.claim.answer_id: outcome.claim for outcome in completed}
    last_words = {outcome.claim.answer_id: outcome.unwritten[-1].id - 1 for outcome in completed}
    for message in posted:
        # `seq`: whoever has heard the words up to there has heard all of them.
        data = {"message_id": message.id, "chat_id": message.chat_id, "seq": last_words[message.id]}
        claim = claims[message.id]
        live = Answered(message, approvers[message.id], claim.id, claim.asker_id)
        tx.announce(message.chat_id, "message.created", data, live=live)
    await usage.record_calls(tx, [call for outcome in done for call in outcome.calls])
    await repository.insert_events(tx, [(outcome.claim.id, outcome.unwritten) for outcome in done])
    if kept := [outcome.claim.id for outcome in done if outcome.has_checkpoints]:
        await repository.forget_checkpoints(tx, run_ids=kept)
    for outcome in done:
        _announce_end(tx, outcome)
    if done:
        await tx.emit(RunsEnded([_end(outcome) for outcome in done]))
    return accepted


async def forget_old_checkpoints(tx: Transaction, *, keep_hours: int) -> int:
    """Delete what late workers kept of steps of runs that had ended; return of how many runs."""
    return await repository.forget_old_checkpoints(tx, keep_hours=keep_hours)


async def forget_old_events(tx: Transaction, *, keep_hours: int) -> int:
    """Delete a batch of run events that nobody may resume from; return how many."""
    return await repository.forget_old_events(tx, keep_hours=keep_hours)


async def _refuse_too_many(
    tx: Transaction, calls: list[tuple[chats.Message, str]], queued: list[Run]
) -> NoReturn:
    """Say of which there is too much: of what the first message calls for which not every run was queued."""
    there = {(run.message_id, run.role_code) for run in queued}
    short = next(message for message, code in calls if (message.id, code) not in there)
    codes = [code for message, code in calls if message is short]
    assert short.author_id is not None, "only people post"
    await _require_room(tx, chat_id=short.chat_id, asker_id=short.author_id, role_codes=codes)
    raise TooManyRuns(
        "Too many questions wait for an answer. Ask again in a moment.", limit=MOST_WAITING_OF_A_ROLE
    )


async def _require_room(tx: Transaction, *, chat_id: UUID, asker_id: UUID, role_codes: list[str]) -> None:
    waiting = await repository.waiting(tx, chat_id=chat_id, asker_id=asker_id, role_codes=role_codes)
    if waiting.of_role >= MOST_WAITING_OF_A_ROLE:
        raise TooManyRuns(
            "Too many questions wait for this role in this chat. Ask again when it has answered some.",
            limit=MOST_WAITING_OF_A_ROLE,
        )
    if waiting.of_asker + len(role_codes) > MOST_WAITING_OF_AN_ASKER:
        raise TooManyRuns(
            "Too many of your questions wait for an answer. Ask again when some have been answered.",
            limit=MOST_WAITING_OF_AN_ASKER,
        )
    if waiting.of_organization + len(role_codes) > MOST_WAITING:
        raise TooManyRuns(
            "Too many questions of your organization wait for an answer. Ask again in a while.",
            limit=MOST_WAITING,
        )


async def _stop(tx: Transaction, run: Run) -> None:
    cancelled = await repository.cancel_run(tx, run_id=run.id)
    if cancelled is None:
        raise RunHasEnded("The run has ended already.", run_id=run.id, status=run.status)
    await _tell_cancelled(tx, [cancelled])


async def _tell_cancelled(tx: Transaction, runs: list[Marked]) -> None:
    ended = [run for run in runs if run.status == "cancelled"]
    # No worker has these, so nobody else writes the last event of their fences.
    last = {
        run.id: RunEvent((run.fence << FENCE_SHIFT) | ((1 << FENCE_SHIFT) - 1), "run.cancelled", {})
        for run in ended
    }
    if ended:
        await repository.insert_events(tx, [(run.id, [last[run.id]]) for run in ended])
        await repository.forget_checkpoints(tx, run_ids=[run.id for run in ended])
    for run in runs:
        if run.status != "cancelled":
            tx.after_commit(CancelRequested(run.id))
            continue
        final = last[run.id]
        _announce(tx, "run.cancelled", run.chat_id, run.id, run.role_code, run.answer_id, seq=final.id)
        tx.after_commit(RunHeard(_org(tx), run.chat_id, run.id, run.answer_id, [final]))
    if ended:
        await tx.emit(
            RunsEnded(
                [
                    RunEnd(
                        run.id,
                        run.chat_id,
                        run.message_id,
                        run.answer_id,
                        run.asker_id,
                        run.role_code,
                        "cancelled",
                    )
                    for run in ended
                ]
            )
        )


def _claim_of(org_id: UUID, run: Run) -> Claim:
    return Claim(
        org_id=org_id,
        id=run.id,
        chat_id=run.chat_id,
        message_id=run.message_id,
        answer_id=run.answer_id,
        role_code=run.role_code,
        asker_id=run.asker_id,
        fence=run.fence,
        attempts=1,
        cancel_requested=False,
    )


def _end(outcome: Outcome) -> RunEnd:
    claim = outcome.claim
    return RunEnd(
        claim.id,
        claim.chat_id,
        claim.message_id,
        claim.answer_id,
        claim.asker_id,
        claim.role_code,
        outcome.status,
        error_code=outcome.error_code,
        error_detail=outcome.error_detail,
        approvers=outcome.approvers,
    )


def _cancelled(outcome: Outcome) -> Outcome:
    """Return how an attempt ends that has answered where nobody is left."""
    last = RunEvent(outcome.unwritten[-1].id, "run.cancelled", {})
    return replace(
        outcome,
        status="cancelled",
        text="",
        approvers=None,
        limit_hit=None,
        unwritten=[*outcome.unwritten[:-1], last],
    )


def _announce_end(tx: Transaction, outcome: Outcome) -> None:
    claim = outcome.claim
    details: dict[str, Any] = {"seq": outcome.unwritten[-1].id}
    if outcome.status == "failed":
        details |= {"code": outcome.error_code, "detail": outcome.error_detail}
    elif outcome.limit_hit:
        details["limit"] = outcome.limit_hit
    _announce(
        tx, f"run.{outcome.status}", claim.chat_id, claim.id, claim.role_code, claim.answer_id, **details
    )
    tx.after_commit(RunHeard(claim.org_id, claim.chat_id, claim.id, claim.answer_id, outcome.unwritten))


def _announce(
    tx: Transaction, kind: str, chat_id: UUID, run_id: UUID, role: str, answer_id: UUID, /, **details: Any
) -> None:
    # Positional, because a step has a kind and a role of its own.
    data = {"run_id": run_id, "chat_id": chat_id, "role": role, "message_id": answer_id, **details}
    tx.announce(chat_id, kind, data)


async def _own_run(tx: Transaction, actor: Actor, run_id: UUID) -> Run:
    run = await get_run(tx, actor, run_id=run_id)
    if run.asker_id != actor.user_id and not actor.is_admin:
        raise NotYourRun("Only who asked, or an administrator in the chat, can do this.")
    return run


def _org(tx: Transaction) -> UUID:
    assert tx.org_id is not None
    return tx.org_id
