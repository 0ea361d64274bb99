"""Which channels are told of something, and when: pure rules, without a clock of their own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID
from zoneinfo import ZoneInfo

from engine.domains.notifications.models import Channel, Kind

BURST = 5  # So many single messages a channel gets within the window; what follows is gathered.
BURST_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Step:
    """Channels to tell now, the priority reached by it, and when to look again; None: all is done."""

    channels: tuple[Channel, ...]
    told: int | None
    next_at: datetime | None


def next_step(channels: Iterable[Channel], *, kind: Kind, told: int | None, now: datetime) -> Step:
    """Return what comes next for a notification that nobody has read.

    The channels of the highest priority that was not told yet are told together. When all of them are
    quiet, those of the next one are told instead; when everybody is quiet, the first to wake is waited for.
    Whoever was told has the channel's patience to read it before the next ones are told.
    """
    usable = [channel for channel in channels if carries(channel, kind)]
    left = [channel for channel in usable if told is None or channel.priority < told]
    asleep: list[datetime] = []
    by_priority = sorted(left, key=lambda channel: channel.priority, reverse=True)
    for priority, level in groupby(by_priority, key=lambda channel: channel.priority):
        awake = []
        for channel in level:
            wakes_at = quiet_until(channel, now)
            if wakes_at is None:
                awake.append(channel)
            else:
                asleep.append(wakes_at)
        if awake:
            has_more = any(channel.priority < priority for channel in left)
            patience = timedelta(seconds=min(channel.patience_seconds for channel in awake))
            return Step(tuple(awake), priority, now + patience if has_more else None)
    return Step((), told, min(asleep) if asleep else None)


def carries(channel: Channel, kind: Kind) -> bool:
    """Whether a channel works and is meant for this kind of news."""
    return channel.verified_at is not None and channel.broken_at is None and kind in channel.carries


def quiet_until(channel: Channel, now: datetime) -> datetime | None:
    """Return when a quiet channel wakes, or None when it is awake; its hours are those of its own zone."""
    if channel.quiet_from is None or channel.quiet_until is None or channel.quiet_from == channel.quiet_until:
        return None
    zone = ZoneInfo(channel.timezone)
    here = now.astimezone(zone)
    clock = here.time().replace(tzinfo=None)
    if channel.quiet_from < channel.quiet_until:
        is_quiet, is_tomorrow = channel.quiet_from <= clock < channel.quiet_until, False
    else:
        is_quiet = clock >= channel.quiet_from or clock < channel.quiet_until
        is_tomorrow = clock >= channel.quiet_from
    if not is_quiet:
        return None
    day = here.date() + timedelta(days=1 if is_tomorrow else 0)
    wakes_at = datetime.combine(day, channel.quiet_until, tzinfo=zone).astimezone(now.tzinfo)
    # The clocks may go back in between, and the same hour comes once more.
    return wakes_at if wakes_at > now else now + timedelta(minutes=1)


def gathers_until(sent: Sequence[datetime], now: datetime) -> datetime | None:
    """Return when a channel's digest goes out, or None when one more message may go alone.

    `sent` are the moments of its single messages and digests, of the last while.
    """
    window = timedelta(seconds=BURST_SECONDS)
    recent = [moment for moment in sent if moment > now - window]
    return now + window if len(recent) >= BURST else None


def among(channels: Iterable[Channel], user_id: UUID) -> list[Channel]:
    """Return one person's channels."""
    return [channel for channel in channels if channel.user_id == user_id]
