"""Carries what the feed of this process hears to the feeds of other processes, by PostgreSQL's NOTIFY.

Like the feed it may lose things: rows are the truth. A NOTIFY inside a data transaction takes a lock over
the whole server's commits, so the relay has a connection of its own and speaks after the commits.
"""

import asyncio
from asyncio import timeout as _within
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import orjson

from engine.core.events import Announced, AnnouncedElsewhere, Announcement
from engine.core.feed import Feed
from engine.core.json import dump
from engine.core.logging import log
from engine.core.sql import load

SQL = load(__file__)
CHANNEL = "rugpt_feed"
LONGEST_DATA_BYTES = 4_000
LARGEST_BYTES = 7_900  # PostgreSQL carries 8,000.
TOGETHER_SECONDS = 0.003  # A question and its first word pass here twice.
MOST_WAITING = 20_000
ALIVE_SECONDS = 5.0
COMMAND_SECONDS = 5.0
AGAIN_SECONDS = 1.0

Item = TypeVar("Item")


class Relay:
    """One process's part of the relay; `run` works until cancelled."""

    def __init__(self, url: str, feed: Feed) -> None:
        self._url = url
        self._feed = feed
        self._name = uuid4().hex[:12]
        self._ways: dict[str, Callable[[Any], object]] = {}
        self._waiting: deque[str] = deque(maxlen=MOST_WAITING)
        self._wake = asyncio.Event()
        self._is_delivering = False
        self._is_open = False
        self.carry(Announced, "announced", _pack_announced, _unpack_announced)

    def carry(
        self,
        kind: type[Item],
        code: str,
        pack: Callable[[Item], Iterable[Any]],
        unpack: Callable[[Any], object],
    ) -> None:
        """Let items of a type travel, as one or several JSON values under a code that never changes.

        A value that is too large is left out: whoever misses it reads the rows.
        """
        self._ways[code] = unpack

        def send(item: Item) -> None:
            if self._is_open and not self._is_delivering:
                for value in pack(item):
                    self._queue(code, value)

        self._feed.on(kind, send)

    async def run(self) -> None:
        """Speak and listen until cancelled; a connection that is lost is made anew."""
        while True:
            try:
                await self._run_connected()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("relay_cut_off", error=type(error).__name__)
            except Exception:  # noqa: BLE001 - silence would be worse than another try
                log.exception("relay_failed")
            self._is_open = False
            self._waiting.clear()  # By the time it would arrive it would be old.
            await asyncio.sleep(AGAIN_SECONDS)

    async def _run_connected(self) -> None:
        connection = await asyncpg.connect(
            self._url, timeout=COMMAND_SECONDS, server_settings={"application_name": "rugpt-relay"}
        )
        try:
            await connection.add_listener(CHANNEL, self._hear)
            connection.add_termination_listener(lambda _: self._wake.set())  # Noticed at once, and made anew.
            self._is_open = True
            while True:
                await self._speak(connection)
        finally:
            self._is_open = False
            connection.terminate()

    async def _speak(self, connection: Any) -> None:
        """Send what waits, the first at once and then what has gathered; when nothing does, look for life."""
        try:
            async with _within(ALIVE_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()
        payloads = list(self._waiting)
        self._waiting.clear()
        statement = SQL.tell_elsewhere
        values = statement.arguments({"channel": CHANNEL, "payloads": payloads})
        await connection.execute(statement.text, *values, timeout=COMMAND_SECONDS)
        await asyncio.sleep(TOGETHER_SECONDS)

    def _queue(self, code: str, value: Any) -> None:
        encoded = dump([self._name, code, value])
        if len(encoded) <= LARGEST_BYTES:
            self._waiting.append(encoded.decode())
            self._wake.set()

    def _hear(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        try:
            sender, code, value = orjson.loads(str(payload))
            unpack = self._ways.get(code)
            if sender == self._name or unpack is None:
                return  # Our own echo, or something that a later release says.
            item = unpack(value)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            log.warning("relay_heard_nonsense")
            return
        self._is_delivering = True
        try:
            self._feed.send(item)
        finally:
            self._is_delivering = False


def _pack_announced(item: Announced) -> Iterable[Any]:
    announcement = item.announcement
    told = [item.org_id, item.no, announcement.channel, announcement.kind, announcement.data]
    # What carries a whole object, or says much, is read from the rows by those who need it.
    is_short = announcement.live is None and len(dump(announcement.data)) < LONGEST_DATA_BYTES
    yield told if is_short else told[:2]


def _unpack_announced(value: Any) -> object:
    if len(value) == 2:
        return AnnouncedElsewhere(UUID(value[0]), int(value[1]))
    org_id, no, channel, kind, data = value
    return Announced(UUID(org_id), int(no), Announcement(UUID(channel), str(kind), dict(data)))
