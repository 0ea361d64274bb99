"""Live streams over SSE: what happens in chats, and what a run says, resumable by Last-Event-ID."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header
from sse_starlette import EventSourceResponse

from engine.api.caller import Authenticated, Caller
from engine.api.events import ENDS, STARTS, Event, encode, follows, unnumbered
from engine.api.live import PAGE, Hub, Subscription
from engine.api.log_events import read_events
from engine.api.sse import EventStream
from engine.core.database import Transaction, oldest_event_no
from engine.core.errors import Invalid
from engine.domains import approvals, chats, runs
from engine.domains.runs import Run, RunEvent

HEARTBEAT_SECONDS = 15
SEND_SECONDS = 10  # A reader that takes nothing for so long is dropped, and may resume.
RUN_RECHECK_SECONDS = 1.0
GAP_SECONDS = 0.05
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A stream of events.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

router = APIRouter(tags=["streams"])
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="The id of the last event received; resumes after it."),
]


class BadEventId(Invalid):
    code = "bad_event_id"


@router.get("/chats/{chat_id}/events", responses=STREAM, response_class=EventSourceResponse)
async def follow_chat(
    chat_id: UUID, caller: Authenticated, last_event_id: LastEventId = None
) -> EventSourceResponse:
    """Follow one chat: messages, runs and their words, signatures, and who has read how far."""
    after = _event_no(last_event_id)
    subscription = _subscription(caller, [chat_id, caller.actor.user_id])
    # Followed first and looked at then: whoever leaves in between is heard to leave.
    newest = await caller.hub.follow(subscription)
    with leaving_on_failure(caller, subscription):
        async with caller.transaction() as tx:
            await chats.get_chat(tx, caller.actor, chat_id=chat_id)
    return respond(caller, subscription, _channel_events(caller, subscription, after, newest, chat_id))


@router.get("/events", responses=STREAM, response_class=EventSourceResponse)
async def follow_everything(caller: Authenticated, last_event_id: LastEventId = None) -> EventSourceResponse:
    """Follow everything of mine: all my chats, those I am brought into later, and where I am named."""
    after = _event_no(last_event_id)
    subscription = _subscription(caller, [caller.actor.user_id])
    subscription.follows_new_chats = True
    newest = await caller.hub.follow(subscription)
    with leaving_on_failure(caller, subscription):
        async with caller.transaction() as tx:
            chat_ids = await chats.chat_ids_of(tx, caller.actor)
    caller.hub.widen(subscription, chat_ids)
    return respond(caller, subscription, _channel_events(caller, subscription, after, newest, None))


@router.get("/runs/{run_id}/events", responses=STREAM, response_class=EventSourceResponse)
async def follow_run(
    run_id: UUID, caller: Authenticated, last_event_id: LastEventId = None
) -> EventSourceResponse:
    """Follow one run: every event is numbered, words too, and resumed exactly. It ends with the run."""
    after = _event_no(last_event_id)
    async with caller.transaction() as tx:
        run = await runs.get_run(tx, caller.actor, run_id=run_id)
    subscription = _subscription(caller, [])
    caller.hub.follow_run(subscription, run_id)
    return respond(
        caller, subscription, _run_events(caller, subscription, run, -1 if after is None else after)
    )


@contextmanager
def leaving_on_failure(caller: Caller, subscription: Subscription) -> Iterator[None]:
    """Give a reader's place up when there will be no stream after all."""
    try:
        yield
    except BaseException:
        caller.hub.leave(subscription)
        raise


def respond(
    caller: Caller, subscription: Subscription, events: AsyncGenerator[bytes, None]
) -> EventSourceResponse:
    """Send encoded events, with a heartbeat, and without patience for readers that stand still.

    When the stream ends, however it does, the reader's place in the hub is given up.
    """
    return EventStream(
        events,
        heartbeat_seconds=HEARTBEAT_SECONDS,
        send_seconds=SEND_SECONDS,
        leave=partial(caller.hub.leave, subscription),
    )


async def words_so_far(caller: Caller, hub: Hub, chat_ids: Iterable[UUID]) -> list[Event]:
    """Return one snapshot for each run at work in some chats."""
    chat_ids = list(chat_ids)
    async with caller.transaction() as tx:
        active = await runs.active_runs(tx, chat_ids)
        here = hub.snapshots(chat_ids)
        elsewhere = {
            run.id: await _snapshot_from_rows(await runs.events_after(tx, run_id=run.id, after=-1), run)
            for run in active
            if run.id not in here
        }
    for run in active:
        if run.id in elsewhere:
            hub.expect(caller.actor.org_id, run)
    # Taken again after the wait: what was said meanwhile belongs to the snapshot, or follows it.
    return list({**elsewhere, **hub.snapshots(chat_ids)}.values())


def _subscription(caller: Caller, channels: Iterable[UUID]) -> Subscription:
    return Subscription(caller.actor.org_id, caller.actor.user_id, caller.session_id, channels)


async def _channel_events(
    caller: Caller, subscription: Subscription, after: int | None, newest: int, only_chat: UUID | None
) -> AsyncGenerator[bytes, None]:
    sent = newest if after is None else after
    yield encode("hello", {"last_event_id": sent})
    async for event in _missed(caller, subscription, sent, is_back=after is not None):
        sent = event.no or sent
        if _concerns(event, only_chat):
            yield event.encoded
    chat_ids = {only_chat} if only_chat else subscription.channels - {subscription.user_id}
    seen: dict[UUID, int] = {}
    snapshots = await words_so_far(caller, caller.hub, chat_ids)
    for event in _until_now(subscription, snapshots, sent):
        sent = event.no or sent
        if event.kind == "run.snapshot":
            seen[event.data["run_id"]] = event.seq
        if _concerns(event, only_chat):
            yield event.encoded
    while events := await subscription.next():
        fresh = [event for event in events if _is_news(event, sent, seen)]
        sent = max((event.no for event in fresh if event.no is not None), default=sent)
        told = b"".join(event.encoded for event in fresh if _concerns(event, only_chat))
        if told:
            yield told


def _is_news(event: Event, sent: int, seen: dict[UUID, int]) -> bool:
    """Whether a reader does not know it yet, from the log or from a snapshot."""
    if event.no is not None:
        return event.no > sent
    return event.kind != "run.delta" or event.seq > seen.get(event.data["run_id"], -1)


def _until_now(subscription: Subscription, snapshots: list[Event], sent: int) -> list[Event]:
    """Return what waits without its words, and then the snapshots, which were taken after it.

    Told the other way round, a run's start would make the reader forget the words of the snapshot.
    """
    waiting = [
        event
        for event in subscription.take()
        if event.kind not in ("run.delta", "run.snapshot") and (event.no is None or event.no > sent)
    ]
    # A snapshot that was read from rows may be of a run that has begun anew, or ended, since.
    turned = {
        str(event.data["run_id"]): event.data["seq"] for event in waiting if event.kind in (*STARTS, *ENDS)
    }
    current = [one for one in snapshots if one.seq >= turned.get(str(one.data["run_id"]), -1)]
    farewell = [event for event in waiting if event.no is None]
    return [*(event for event in waiting if event.no is not None), *current, *farewell]


async def _missed(
    caller: Caller, subscription: Subscription, after: int, *, is_back: bool
) -> AsyncIterator[Event]:
    """Read what was announced since a reader was last here, or just came, page by page."""
    if is_back:
        async with caller.transaction() as tx:
            oldest = await oldest_event_no(tx)
        if oldest is not None and oldest > after + 1:
            # Events that old are gone: the reader must load the chats anew.
            yield unnumbered("resync", {"oldest": oldest})
    while True:
        async with caller.transaction() as tx:
            page = await read_events(tx, after=after, channels=list(subscription.channels), limit=PAGE)
        for event, _ in page:
            after = event.no or after
            yield event
        if len(page) < PAGE:
            return


def _concerns(event: Event, only_chat: UUID | None) -> bool:
    """Whether a stream carries an event: a chat's has of a person's own channel only what happens there."""
    chat_id = event.data.get("chat_id")
    return only_chat is None or chat_id is None or str(chat_id) == str(only_chat)


async def _snapshot_from_rows(events: list[RunEvent], run: Run) -> Event:
    """Return what a run of another process has said, as far as it is in rows."""
    said: list[str] = []
    for event in events:
        if event.kind in ("run.started", "run.restarted"):
            said.clear()
        elif event.kind == "run.delta":
            said.append(event.data["text"])
    seq = events[-1].id if events else 0
    data = {"run_id": run.id, "message_id": run.answer_id, "seq": seq, "text": "".join(said)}
    return unnumbered("run.snapshot", data, seq=seq)


async def _run_events(
    caller: Caller, subscription: Subscription, run: Run, sent: int
) -> AsyncGenerator[bytes, None]:
    """Follow a run by its rows, with the live feed before them; whatever the feed lacks comes from rows."""
    while True:
        try:
            async with caller.transaction() as tx:
                # Its state first: the finish writes the last event and the state together.
                now = await runs.get_run(tx, caller.actor, run_id=run.id)
                written = await runs.events_after(tx, run_id=run.id, after=sent)
                may_read = await may_read_words(tx, caller, now)
        except runs.RunNotFound:
            return  # The reader has left the chat, or the chat is gone.
        for item in written:
            sent = item.id
            if may_read or item.kind != "run.delta":
                yield encode(item.kind, item.data, item.id)
        if now.status in ("completed", "failed", "cancelled"):
            return
        async for event in _without_gaps(subscription, sent):
            sent = event.no or sent
            yield event.encoded
            if event.kind in ENDS:
                return
        if not subscription.is_open:
            async for event in _rest(subscription):
                yield event.encoded
            return
        await asyncio.sleep(GAP_SECONDS)


async def may_read_words(tx: Transaction, caller: Caller, run: Run) -> bool:
    """Whether what a run said is still the caller's to read: a rejected draft is for few."""
    if run.status != "completed":
        return True
    try:
        draft, is_signer = await approvals.get_draft(tx, caller.actor, message_id=run.answer_id)
    except approvals.DraftNotFound:
        return True  # Nobody has to sign what this role says.
    return draft.status != "rejected" or is_signer or draft.asker_id == caller.actor.user_id


async def _without_gaps(subscription: Subscription, sent: int) -> AsyncIterator[Event]:
    """Give live events as long as each follows the one before; return at a gap, or to look again."""
    loop = asyncio.get_running_loop()
    look_again_at = loop.time() + RUN_RECHECK_SECONDS
    while subscription.is_open and loop.time() < look_again_at:
        try:
            async with asyncio.timeout_at(look_again_at):
                events = await subscription.next()
        except TimeoutError:
            return
        has_gap = False
        for event in events:
            if event.no is None:
                yield event  # A farewell, and the last one.
            elif event.no > sent and not has_gap:
                has_gap = not follows(event.no, sent)
                if not has_gap:
                    sent = event.no
                    yield event
        if has_gap:
            return


async def _rest(subscription: Subscription) -> AsyncIterator[Event]:
    for event in await subscription.next():
        if event.no is None:
            yield event


def _event_no(last_event_id: str | None) -> int | None:
    if last_event_id is None or not last_event_id.strip():
        return None
    try:
        number = int(last_event_id)
    except ValueError:
        number = -1
    if not 0 <= number < 2**62 or len(last_event_id) > 20:
        raise BadEventId("Last-Event-ID must be the id of an event of this stream.")
    return number
