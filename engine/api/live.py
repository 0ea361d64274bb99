"""The hub of live streams: hears what happens once, and tells everyone who follows it.

Numbered events come from the organization's log without gaps, words of runs from the feed. What the
feed loses, or another process writes, is read from the rows within a second.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Iterable
from time import monotonic
from typing import Any
from uuid import UUID

from engine.api.events import ENDS, STARTS, Event, LiveRun, encode, follows, unnumbered
from engine.api.log_events import payload, read_events
from engine.core.database import Database, last_event_no
from engine.core.errors import Forbidden
from engine.core.events import Announced, AnnouncedElsewhere, Announcement
from engine.core.logging import log
from engine.domains import runs
from engine.domains.runs import FENCE_SHIFT, Run, RunEvent, RunHeard

RECHECK_SECONDS = 1.0
GAP_SECONDS = 0.05
PAGE = 50  # A message may have 32,000 characters, and a reader may stand still with a page in hand.
FORGET_LOG_SECONDS = 60.0  # Whoever comes back sooner need not ask where the log's end is.
MOST_WAITING = 4_000  # events that a reader may be behind before it has to come back and resume
MOST_FLOORS = 10_000
MEND_SECONDS = 0.1  # Words reach the rows within 0.3 s.
MOST_MENDS = 50
MOST_EARLY = 2_000
MOST_STREAMS_PER_USER = 20


class TooManyStreams(Forbidden):
    """One person follows too many streams at once; close some, such as those of old tabs."""

    code = "too_many_streams"

    def __init__(self) -> None:
        super().__init__(
            f"You follow {MOST_STREAMS_PER_USER} streams already. Close some first.",
            limit=MOST_STREAMS_PER_USER,
        )


class Subscription:
    """One reader's place in the hub: what they follow, and what waits for them."""

    def __init__(self, org_id: UUID, user_id: UUID, session_id: UUID, channels: Iterable[UUID]) -> None:
        self.org_id = org_id
        self.user_id = user_id
        self.session_id = session_id
        self.channels = set(channels)
        self.run_id: UUID | None = None
        self.is_open = True
        self.follows_new_chats = False
        self.ends_by_itself = False  # with the runs that a post has started
        self._waiting: deque[Event] = deque()
        self._wake = asyncio.Event()

    def push(self, event: Event) -> None:
        """Let an event wait for the reader; one who is too far behind is let go and may resume."""
        if len(self._waiting) >= MOST_WAITING:
            self.close()
        if self.is_open:
            self._waiting.append(event)
            self._wake.set()

    def close(self, farewell: Event | None = None) -> None:
        """End the stream after what waits."""
        if self.is_open:
            if farewell is not None:
                self._waiting.append(farewell)
            self.is_open = False
            self._wake.set()

    async def next(self) -> list[Event]:
        """Wait for events and return all that wait; an empty list is the end."""
        while not self._waiting and self.is_open:
            self._wake.clear()
            await self._wake.wait()
        return self.take()

    def take(self) -> list[Event]:
        """Return all that waits, without waiting for more."""
        events = list(self._waiting)
        self._waiting.clear()
        return events


class _Log:
    """The tail of one organization's event log, in order and without gaps."""

    def __init__(self, org_id: UUID, last_no: int) -> None:
        self.org_id = org_id
        self.last_no = last_no
        self.early: dict[int, Announced] = {}
        self.wanted = 0  # Another process has written up to here.
        self.readers: set[Subscription] = set()
        self.left_at = monotonic()
        self.catching_up: asyncio.Task[bool] | None = None


class Hub:
    """Everyone who follows something in this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._logs: dict[UUID, _Log] = {}
        self._by_channel: dict[UUID, set[Subscription]] = defaultdict(set)
        self._by_run: dict[UUID, set[Subscription]] = defaultdict(set)
        self._all: set[Subscription] = set()
        self._by_user: dict[UUID, set[Subscription]] = defaultdict(set)
        self._runs: dict[UUID, LiveRun] = {}
        self._runs_by_chat: dict[UUID, set[UUID]] = defaultdict(set)
        # By run: words up to here are of an attempt that is over, though its worker may still talk.
        self._floors: dict[UUID, int] = {}
        self._recheck: asyncio.Task[None] | None = None
        self._letting_go: set[asyncio.Task[None]] = set()
        database.feed.on(Announced, self._announced)
        database.feed.on(AnnouncedElsewhere, self._announced_elsewhere)
        database.feed.on(RunHeard, self._run_heard)

    @property
    def readers(self) -> int:
        """How many streams are open."""
        return len(self._all)

    def start(self) -> None:
        """Begin to look for what the feed did not bring."""
        self._recheck = asyncio.create_task(self._recheck_rows())

    async def stop(self) -> None:
        """Ask every reader to come back later, and end."""
        self.say_goodbye()
        if self._recheck is not None:
            self._recheck.cancel()
            await asyncio.gather(self._recheck, return_exceptions=True)

    def say_goodbye(self) -> None:
        """End every stream with an event that tells the reader to reconnect."""
        farewell = unnumbered("reconnect", {"retry_ms": 1000})
        for subscription in list(self._all):
            subscription.close(farewell)

    def end_session(self, session_id: UUID) -> None:
        """End the streams of a session that is over."""
        for subscription in list(self._all):
            if subscription.session_id == session_id:
                subscription.close()

    async def follow(self, subscription: Subscription) -> int:
        """Begin to collect events; return the number of the last one before.

        Raises TooManyStreams for a person who has enough of them, unless the stream ends by itself.
        """
        if not subscription.ends_by_itself:
            self._limit_streams(subscription.user_id)
        log_tail = self._logs.get(subscription.org_id)
        if log_tail is None:
            async with self._database.as_organization(subscription.org_id) as tx:
                last_no = await last_event_no(tx)
            log_tail = self._logs.setdefault(subscription.org_id, _Log(subscription.org_id, last_no))
        self._all.add(subscription)
        self._by_user[subscription.user_id].add(subscription)
        log_tail.readers.add(subscription)
        for channel in subscription.channels:
            self._by_channel[channel].add(subscription)
        return log_tail.last_no

    def widen(self, subscription: Subscription, channels: Iterable[UUID]) -> None:
        """Collect from more channels; what they told since `follow` is in the log."""
        if subscription.is_open:
            for channel in channels:
                subscription.channels.add(channel)
                self._by_channel[channel].add(subscription)

    def follow_run(self, subscription: Subscription, run_id: UUID) -> None:
        """Begin to collect the events of one run, each with its own id; limited as `follow` is."""
        self._limit_streams(subscription.user_id)
        subscription.run_id = run_id
        self._all.add(subscription)
        self._by_user[subscription.user_id].add(subscription)
        self._by_run[run_id].add(subscription)

    def _limit_streams(self, user_id: UUID) -> None:
        theirs = sum(1 for one in self._by_user.get(user_id, ()) if not one.ends_by_itself)
        if theirs >= MOST_STREAMS_PER_USER:
            raise TooManyStreams

    def leave(self, subscription: Subscription) -> None:
        """Stop collecting."""
        subscription.close()
        self._all.discard(subscription)
        self._drop(self._by_user, subscription.user_id, subscription)
        for channel in subscription.channels:
            self._drop(self._by_channel, channel, subscription)
        if subscription.run_id is not None:
            self._drop(self._by_run, subscription.run_id, subscription)
        log_tail = self._logs.get(subscription.org_id)
        if log_tail is not None:
            log_tail.readers.discard(subscription)
            log_tail.left_at = monotonic()

    def snapshots(self, chat_ids: Iterable[UUID]) -> dict[UUID, Event]:
        """Return what the runs at work in some chats have said so far, by run; none that is being mended."""
        found = [run_id for chat_id in chat_ids for run_id in self._runs_by_chat.get(chat_id, ())]
        known = [run for run_id in found if (run := self._runs[run_id]).last_id >= 0]
        return {run.run_id: run.snapshot() for run in known if not (run.early or run.is_held)}

    def expect(self, org_id: UUID, run: Run) -> None:
        """Know of a run at work whose words somebody has from its rows: its readers are told what follows."""
        if run.id not in self._runs and self._floors.get(run.id, -1) < run.fence << FENCE_SHIFT:
            self._add_run(LiveRun(org_id, run.chat_id, run.id, run.answer_id))

    # Numbered events.

    def _announced(self, item: Announced) -> None:
        log_tail = self._logs.get(item.org_id)
        if log_tail is None or item.no <= log_tail.last_no:
            return
        log_tail.early[item.no] = item
        while (ready := log_tail.early.pop(log_tail.last_no + 1, None)) is not None:
            log_tail.last_no = ready.no
            self._tell(ready.no, ready.announcement)
        if log_tail.early:
            # What lies between is in the rows, or this would not be: another process wrote it, or one of
            # our own has not heard yet that its commit is on disk.
            self._catch_up_soon(log_tail, patience=GAP_SECONDS)

    def _announced_elsewhere(self, item: AnnouncedElsewhere) -> None:
        log_tail = self._logs.get(item.org_id)
        if log_tail is not None and item.no > log_tail.last_no:
            log_tail.wanted = max(log_tail.wanted, item.no)
            self._catch_up_soon(log_tail)

    def _tell(self, no: int, announcement: Announcement) -> None:
        if announcement.channel in self._by_channel:
            data = payload(announcement)
            event = Event(no, announcement.kind, data, encode(announcement.kind, data, no))
            self._push(event, announcement)
        else:
            self._turn_run(announcement)

    def _push(self, event: Event, announcement: Announcement) -> None:
        whole = self._whole_answer(event)
        early = self._turn_run(announcement)
        for subscription in list(self._by_channel.get(announcement.channel, ())):
            if whole is not None:
                subscription.push(whole)
            subscription.push(event)
            if early is not None:
                subscription.push(early)
            self._follow_membership(subscription, announcement)

    def _turn_run(self, announcement: Announcement) -> Event | None:
        """Learn that a run has begun, begun anew or ended.

        Returns its words so far when they were heard before its start was: a reader forgets them at
        the start, and needs them again.
        """
        kind, data = announcement.kind, announcement.data
        if kind not in STARTS and kind not in ENDS:
            return None
        run_id, seq = UUID(str(data["run_id"])), data["seq"]
        run = self._runs.get(run_id)
        if kind in ENDS:
            self._forget_run(run_id, floor=seq)
        elif run is not None and run.last_id > seq:
            run.is_held = False
            return run.snapshot()
        else:
            self._set_floor(run_id, seq - 1)
            if run is not None:
                run.is_held = False
                run.said.clear()
                run.last_id = max(run.last_id, seq - 1)
        return None

    def _whole_answer(self, event: Event) -> Event | None:
        """Learn that a role's answer was posted; words of it that come later are too late.

        Returns all of it as words when the last of them were not heard here: they may be on their way
        still, or were lost, and the log was read before that showed.
        """
        message, seq = event.data.get("message"), event.data.get("seq")
        if event.kind != "message.created" or message is None or seq is None:
            return None
        run_id = UUID(str(message["run_id"]))
        run = self._runs.get(run_id)
        self._forget_run(run_id, floor=seq)
        if run is None or run.last_id >= seq:
            return None  # Nobody has heard a word of it, or everybody all of them.
        data = {"run_id": run_id, "message_id": message["id"], "seq": seq, "text": message["content"]}
        return unnumbered("run.snapshot", data, seq=seq)

    def _set_floor(self, run_id: UUID, seq: int) -> None:
        self._floors[run_id] = max(seq, self._floors.pop(run_id, -1))
        if len(self._floors) > MOST_FLOORS:
            del self._floors[next(iter(self._floors))]

    def _follow_membership(self, subscription: Subscription, announcement: Announcement) -> None:
        kind = announcement.kind
        if kind not in ("chat.joined", "chat.left", "chat.deleted"):
            return
        chat_id = UUID(str(announcement.data["chat_id"]))
        if kind == "chat.joined" and subscription.follows_new_chats:
            subscription.channels.add(chat_id)
            self._by_channel[chat_id].add(subscription)
        elif kind != "chat.joined" and chat_id in subscription.channels:
            subscription.channels.discard(chat_id)
            self._drop(self._by_channel, chat_id, subscription)
            if not subscription.follows_new_chats:
                subscription.close()

    async def _recheck_rows(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            for log_tail in list(self._logs.values()):
                if log_tail.readers:
                    self._catch_up_soon(log_tail)
                elif monotonic() - log_tail.left_at > FORGET_LOG_SECONDS:
                    del self._logs[log_tail.org_id]

    def _catch_up_soon(self, log_tail: _Log, *, patience: float = 0.0) -> None:
        if log_tail.catching_up is None or log_tail.catching_up.done():
            log_tail.catching_up = asyncio.create_task(self._catch_up(log_tail, patience))

    async def _look_into(self, log_tail: _Log) -> bool:
        self._catch_up_soon(log_tail)
        assert log_tail.catching_up is not None
        return await log_tail.catching_up

    async def _catch_up(self, log_tail: _Log, patience: float) -> bool:
        """Tell what is in the rows and was not heard, nor is soon; return whether it looked."""
        try:
            while patience and log_tail.wanted <= log_tail.last_no:
                heard = log_tail.last_no
                await asyncio.sleep(patience)
                if not log_tail.early:
                    return False
                if log_tail.last_no == heard:
                    break
            while True:
                wanted = log_tail.wanted
                # Told of more meanwhile, it looks again; it never waits for a number that may not come.
                if await self._read_missed(log_tail) < PAGE and log_tail.wanted == wanted:
                    return True
        except Exception:  # noqa: BLE001 - it is tried again in a second
            log.exception("live_catch_up_failed", org_id=str(log_tail.org_id))
            return False

    async def _read_missed(self, log_tail: _Log) -> int:
        async with self._database.as_organization(log_tail.org_id) as tx:
            missed = await read_events(tx, after=log_tail.last_no, channels=None, limit=PAGE)
        for event, announcement in missed:
            if event.no is None or event.no != log_tail.last_no + 1:
                continue  # Heard by the feed while the rows were read.
            log_tail.last_no = event.no
            log_tail.early.pop(event.no, None)
            self._push(event, announcement)
        return len(missed)

    # Words.

    def _run_heard(self, heard: RunHeard) -> None:
        floor = self._floors.get(heard.run_id, -1)
        for item in heard.events:
            for subscription in self._by_run.get(heard.run_id, ()):
                subscription.push(Event(item.id, item.kind, item.data, encode(item.kind, item.data, item.id)))
            if item.id > floor:
                self._hear(heard, item)

    def _hear(self, heard: RunHeard, item: RunEvent) -> None:
        run = self._runs.get(heard.run_id)
        if run is None:
            if item.kind in ENDS:
                self._set_floor(heard.run_id, item.id)
                return
            run = LiveRun(heard.org_id, heard.chat_id, heard.run_id, heard.answer_id)
            self._add_run(run)
        if item.id > run.last_id:
            if follows(item.id, run.last_id) and not run.early:
                self._take(run, item)
            elif len(run.early) < MOST_EARLY:
                run.early[item.id] = item
                if run.mending is None or run.mending.done():
                    run.mending = asyncio.create_task(self._mend(run))

    def _take(self, run: LiveRun, item: RunEvent) -> None:
        run.take(item)
        if run.has_ended:
            self._forget_run(run.run_id, floor=run.last_id)
        elif item.kind == "run.delta" and not run.is_held:
            self._tell_words(run, item.data["text"])
        if item.kind in STARTS:
            self._hold(run)

    def _hold(self, run: LiveRun) -> None:
        """Tell no word of an attempt that has just begun before the log has told that it did."""
        log_tail = self._logs.get(run.org_id)
        first = run.attempt << FENCE_SHIFT
        if log_tail is not None and self._floors.get(run.run_id, -1) < first - 1:
            run.is_held = True
            task = asyncio.create_task(self._let_go(run, log_tail, attempt=run.attempt))
            self._letting_go.add(task)
            task.add_done_callback(self._letting_go.discard)

    async def _let_go(self, run: LiveRun, log_tail: _Log, *, attempt: int) -> None:
        """Tell the words of an attempt once the log has told its start, which was committed before them."""
        # Most often the log is about to tell it, and waits for earlier numbers itself.
        await asyncio.sleep(GAP_SECONDS)
        await self._read_start(run, log_tail)
        # A later attempt is held for itself.
        if run.is_held and self._runs.get(run.run_id) is run and run.attempt == attempt:
            run.is_held = False
            if run.said and not run.early:
                self._tell_all(run)

    async def _read_start(self, run: LiveRun, log_tail: _Log) -> None:
        if not run.is_held:
            return
        await self._look_into(log_tail)  # It may have begun before the start was written.
        for _ in range(MOST_MENDS):
            if await self._look_into(log_tail):
                return
            await asyncio.sleep(MEND_SECONDS)

    def _tell_all(self, run: LiveRun) -> None:
        snapshot = run.snapshot()
        for subscription in self._by_channel.get(run.chat_id, ()):
            subscription.push(snapshot)

    async def _mend(self, run: LiveRun) -> None:
        """Read from the rows what was not heard of a run, and give its readers all of it anew."""
        try:
            for _ in range(MOST_MENDS):
                async with self._database.as_organization(run.org_id) as tx:
                    missed = await runs.events_after(tx, run_id=run.run_id, after=run.last_id)
                if self._runs.get(run.run_id) is not run:
                    return  # It has ended, and its readers have the answer.
                known = run.attempt
                for item in missed:
                    if item.id > run.last_id:
                        run.take(item)
                run.take_early()
                if run.attempt > known:
                    self._hold(run)
                if not run.early:
                    break
                await asyncio.sleep(MEND_SECONDS)
            run.early.clear()  # Whatever is still missing shows at the next words.
            if not run.is_held:
                self._tell_all(run)
            if run.has_ended:
                self._forget_run(run.run_id, floor=run.last_id)
        except Exception:  # noqa: BLE001 - the next words try again, and nobody waits for this task
            log.exception("live_mend_failed", org_id=str(run.org_id), run_id=str(run.run_id))
            run.early.clear()

    def _add_run(self, run: LiveRun) -> None:
        self._runs[run.run_id] = run
        self._runs_by_chat[run.chat_id].add(run.run_id)

    def _forget_run(self, run_id: UUID, *, floor: int) -> None:
        self._set_floor(run_id, floor)
        run = self._runs.pop(run_id, None)
        if run is not None:
            self._drop(self._runs_by_chat, run.chat_id, run_id)

    def _tell_words(self, run: LiveRun, text: str) -> None:
        readers = self._by_channel.get(run.chat_id)
        if readers:
            data = {"run_id": run.run_id, "message_id": run.answer_id, "seq": run.last_id, "text": text}
            event = unnumbered("run.delta", data, seq=run.last_id)
            for subscription in readers:
                subscription.push(event)

    @staticmethod
    def _drop(index: dict[UUID, set[Any]], key: UUID, member: Any) -> None:
        members = index.get(key)
        if members is not None:
            members.discard(member)
            if not members:
                del index[key]
