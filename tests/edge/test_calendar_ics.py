"""Calendar programs subscribe to a person's events, and bring their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import recurring_ical_events
from caldav.davclient import DAVClient
from icalendar import Calendar

from engine.domains.calendar import Schedule
from tests.clocks import coming_change_of_clocks
from tests.world import World

Api = httpx2.AsyncClient
# All of it is to come, and within the year that a feed looks ahead.
CHANGE = coming_change_of_clocks(after=datetime.now(UTC) + timedelta(days=30)).replace(hour=0)
MONTH = (CHANGE - timedelta(days=27), CHANGE + timedelta(days=13))
START = MONTH[0] - timedelta(weeks=17) + timedelta(hours=7)
SCHEDULES = {
    "rule": Schedule("recurring", START, "Europe/Berlin", rrule="FREQ=WEEKLY;BYDAY=TU,FR"),
    "last": Schedule("recurring", START, "Europe/Berlin", rrule="FREQ=MONTHLY;BYDAY=-1SU", count=30),
    "cron": Schedule("recurring", START, "Europe/Moscow", cron="30 9 * * 1"),
    "days": Schedule("interval", START, "Europe/Moscow", every_seconds=3 * 86400),
    "work": Schedule("recurring", START, "Europe/Moscow", rrule="FREQ=DAILY", working_days="skip"),
    "once": Schedule("one_time", MONTH[0] + timedelta(days=7, hours=9), "Europe/Moscow"),
}


async def feed(api: Api, headers: dict[str, str]) -> tuple[str, str]:
    path = (await api.post("/calendar/feed", headers=headers)).json()["path"].removeprefix("/api/v1")
    answer = await api.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/calendar")
    return path, answer.text


def expanded(text: str) -> dict[str, list[datetime]]:
    found: dict[str, list[datetime]] = {}
    for one in recurring_ical_events.of(Calendar.from_ical(text)).between(*MONTH):
        found.setdefault(str(one["summary"]), []).append(one["dtstart"].dt.astimezone(UTC))
    return {title: sorted(times) for title, times in found.items()}


async def of_engine(api: Api, headers: dict[str, str]) -> dict[str, list[datetime]]:
    query = {"from": MONTH[0].isoformat(), "to": MONTH[1].isoformat()}
    view = (await api.get("/calendar/occurrences", params=query, headers=headers)).json()
    found: dict[str, list[datetime]] = {}
    for one in view["items"]:
        found.setdefault(one["title"], []).append(datetime.fromisoformat(one["at"]))
    return found


async def test_a_program_expands_the_feed_to_just_what_will_happen(api: Api, world: World) -> None:
    """Over a change of clocks in Berlin."""
    firm = await world.organization()
    headers = await world.headers(firm.admin)
    for title, schedule in SCHEDULES.items():
        await world.event(firm.admin, title=title, schedule=schedule)

    _, text = await feed(api, headers)

    assert expanded(text) == await of_engine(api, headers)
    assert expanded(text).keys() == SCHEDULES.keys()


async def test_a_feed_shows_what_its_owner_may_see_and_its_address_is_a_secret(
    api: Api, world: World
) -> None:
    firm, other = await world.organization(), await world.organization("Лютик")
    bob = await world.user(firm)
    await world.event(firm.admin, title="Личное")
    await world.event(other.admin, title="Чужое")
    await world.event(bob, title="Моё")
    headers = await world.headers(bob)

    path, text = await feed(api, headers)
    closed = await api.delete("/calendar/feed", headers=headers)
    gone = await api.get(path)
    unknown = await api.get(f"/calendar/feeds/{'x' * 43}.ics")

    assert "Моё" in text
    assert "Личное" not in text
    assert "Чужое" not in text
    assert closed.status_code == 204
    assert (gone.status_code, gone.json()["code"]) == (404, "calendar_feed_not_found")
    assert gone.json()["detail"] == unknown.json()["detail"]


def event(*lines: str, uid: str = "1@x", summary: str = "Совещание") -> str:
    return "\r\n".join(["BEGIN:VEVENT", f"UID:{uid}", f"SUMMARY:{summary}", *lines, "END:VEVENT"])


def file(*events: str) -> str:
    return "\r\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//x//", *events, "END:VCALENDAR", ""])


async def bring(api: Api, headers: dict[str, str], text: str, **more: Any) -> httpx2.Response:
    return await api.post("/calendar/import", json={"ics": text, **more}, headers=headers)


async def test_what_is_brought_twice_is_there_once(api: Api, world: World) -> None:
    headers = await world.headers((await world.organization()).admin)
    first = file(event("DTSTART;TZID=Europe/Moscow:20360106T100000", "RRULE:FREQ=WEEKLY;COUNT=3"))
    later = first.replace("T100000", "T110000")

    made = (await bring(api, headers, first)).json()
    changed = (await bring(api, headers, later)).json()

    (kept,) = (await api.get("/calendar/events", headers=headers)).json()["items"]
    assert (made["created"], changed["created"], changed["updated"]) == (1, 0, 1)
    assert (kept["rrule"], kept["count"], kept["timezone"]) == ("FREQ=WEEKLY", 3, "Europe/Moscow")
    assert kept["next"]["local"] == "2036-01-06T11:00:00+03:00"


async def test_a_moved_time_of_a_series_stands_alone(api: Api, world: World) -> None:
    headers = await world.headers((await world.organization()).admin)
    series = event("DTSTART;TZID=Europe/Moscow:20360105T100000", "RRULE:FREQ=DAILY;COUNT=3")
    moved = event(
        "DTSTART;TZID=Europe/Moscow:20360106T150000", "RECURRENCE-ID;TZID=Europe/Moscow:20360106T100000"
    )

    assert (await bring(api, headers, file(series, moved))).json()["created"] == 2

    query = {"from": "2036-01-01T00:00Z", "to": "2036-02-01T00:00Z"}
    view = (await api.get("/calendar/occurrences", params=query, headers=headers)).json()
    assert [one["local"][5:16] for one in view["items"]] == ["01-05T10:00", "01-06T15:00", "01-07T10:00"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (event("DTSTART:20200101T090000Z"), "It is over."),
        (event("DTSTART:20360101T090000Z", "RRULE:FREQ=MINUTELY"), "A rule is daily"),
        (event("DTSTART:20360101T090000Z", "STATUS:CANCELLED"), "It was cancelled."),
        (event("DTSTART:20360101T090000Z", "RDATE:20360103T090000Z"), "single dates"),
        (event("SUMMARY2:x"), "cannot be read"),
    ],
)
async def test_what_cannot_be_kept_is_named_and_the_rest_is_kept(
    api: Api, world: World, entry: str, reason: str
) -> None:
    headers = await world.headers((await world.organization()).admin)
    sound = event("DTSTART;VALUE=DATE:20360101", uid="2@x", summary="Весь день")

    told = (await bring(api, headers, file(entry, sound))).json()

    assert told["created"] == 1
    assert [reason in one["reason"] for one in told["refused"]] == [True]
    (kept,) = (await api.get("/calendar/events", headers=headers)).json()["items"]
    assert kept["next"]["local"] == "2036-01-01T09:00:00+03:00"


@pytest.mark.parametrize(
    "text", ["", "nonsense", "BEGIN:VCALENDAR", "BEGIN:VEVENT\r\nEND:VCALENDAR", "\x0b\x0c"]
)
async def test_what_is_no_calendar_is_refused(api: Api, world: World, text: str) -> None:
    headers = await world.headers((await world.organization()).admin)

    answer = await bring(api, headers, text)

    assert answer.status_code in (422, 200)
    assert (await api.get("/calendar/events", headers=headers)).json()["items"] == []


# ── beside a real calendar server ──


@pytest.fixture
def radicale(tmp_path: Path) -> Iterator[str]:
    """A CalDAV server of its own, as somebody else wrote it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "radicale", "--hosts", f"127.0.0.1:{port}", "--auth-type", "none"]
    command += ["--storage-filesystem-folder", str(tmp_path / "calendars"), "--rights-type", "authenticated"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/"
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()


async def test_events_go_through_a_caldav_server_and_come_back_the_same(
    api: Api, world: World, radicale: str
) -> None:
    firm = await world.organization()
    ann, bob = firm.admin, await world.user(firm)
    await world.event(ann, title="rule", schedule=SCHEDULES["rule"])
    await world.event(ann, title="once", schedule=SCHEDULES["once"])
    _, text = await feed(api, await world.headers(ann))

    with DAVClient(radicale, username="ann", password="any") as client:
        shelf = client.principal().make_calendar(name="work")  # type: ignore[no-untyped-call]
        for one in Calendar.from_ical(text).walk("VEVENT"):
            single = Calendar()
            single.add("prodid", "-//x//x//")
            single.add("version", "2.0")
            single.add_component(one)
            single.add_missing_timezones()
            shelf.save_event(single.to_ical().decode())
        found = shelf.search(start=MONTH[0], end=MONTH[1], event=True, expand="client")
        seen = sorted(one.icalendar_component["dtstart"].dt.astimezone(UTC) for one in found)
        brought = "".join(one.data for one in shelf.events())
    expected = await of_engine(api, await world.headers(ann))

    bobs = await world.headers(bob)
    merged = Calendar()
    merged.add("prodid", "-//x//x//")
    merged.add("version", "2.0")
    for each in Calendar.from_ical(brought, multiple=True):
        for one in each.walk("VEVENT"):
            merged.add_component(one)
    told = (await bring(api, bobs, merged.to_ical().decode())).json()

    assert seen == sorted(expected["rule"] + expected["once"])
    assert (told["created"], told["refused"]) == (2, [])
    assert await of_engine(api, bobs) == expected
    assert timedelta() < MONTH[1] - MONTH[0]
