"""The calendar over HTTP: planning, looking ahead, and what happened."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from engine.domains.calendar import Scheduler
from tests.edge.conftest import Parts
from tests.world import World

Api = httpx2.AsyncClient
NEXT_WEEK = datetime.now(UTC) + timedelta(days=7)
TUESDAYS = {
    "title": "Сдать табель",
    "kind": "recurring",
    "starts_at": f"{NEXT_WEEK:%Y-%m-%d}T10:00+03:00",
    "timezone": "Europe/Moscow",
    "rrule": "FREQ=WEEKLY;BYDAY=TU",
    "working_days": "skip",
}


def soon() -> str:
    return (datetime.now(UTC) + timedelta(seconds=0.2)).isoformat()


async def test_a_plan_is_previewed_kept_changed_and_deleted(api: Api, world: World) -> None:
    firm = await world.organization()
    headers = await world.headers(firm.admin)
    five = (await api.post("/calendar/preview", json=TUESDAYS, headers=headers)).json()
    made = await api.post("/calendar/events", json=TUESDAYS, headers=headers)
    event = made.json()
    path = f"/calendar/events/{event['id']}"
    changed = (
        await api.patch(path, json={"title": "Табель", "rrule": None, "cron": "0 9 * * 1"}, headers=headers)
    ).json()
    listed = (await api.get("/calendar/events", headers=headers)).json()["items"]
    gone = await api.delete(path, headers=headers)

    assert len(five) == 5
    assert all(one["local"].endswith("T10:00:00+03:00") for one in five)
    assert made.status_code == 201
    assert event["next"] == five[0]
    assert (changed["title"], changed["cron"], changed["rrule"], changed["version"]) == (
        "Табель",
        "0 9 * * 1",
        None,
        2,
    )
    assert [one["id"] for one in listed] == [event["id"]]
    assert gone.status_code == 204
    assert (await api.get(path, headers=headers)).json()["code"] == "event_not_found"


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"rrule": None, "cron": "0 0 31 2 *"}, "event_never_comes", None),
        ({"timezone": "Mars/Base"}, "timezone_unknown", None),
        ({"ends_at": "2026-11-01T00:00Z"}, "schedule_invalid", "ends_at"),
        ({"kind": "interval", "rrule": None, "every_seconds": 30}, "schedule_invalid", "every_seconds"),
        ({"rrule": "FREQ=MINUTELY"}, "schedule_invalid", "rrule"),
        ({"rrule": None, "cron": "not a cron line"}, "schedule_invalid", "cron"),
        ({"starts_at": "2026-11-24T10:00"}, "invalid_request", None),
        ({"title": None}, "invalid_request", None),
    ],
)
async def test_a_plan_that_cannot_be_is_refused_and_says_why(
    api: Api, world: World, change: dict[str, Any], code: str, field: str | None
) -> None:
    headers = await world.headers((await world.organization()).admin)

    answer = await api.post("/calendar/events", json={**TUESDAYS, **change}, headers=headers)

    assert (answer.status_code, answer.json()["code"], answer.json().get("field")) == (422, code, field)


async def test_what_may_not_be_missing_stays_when_null_is_given(api: Api, world: World) -> None:
    firm = await world.organization()
    headers, event = await world.headers(firm.admin), await world.event(firm.admin)

    answer = await api.patch(f"/calendar/events/{event.id}", json={"title": None}, headers=headers)

    assert answer.json()["title"] == event.plan.title


async def test_a_month_shows_what_comes_of_every_event_in_order(api: Api, world: World) -> None:
    firm = await world.organization()
    headers = await world.headers(firm.admin)
    for cron in ("0 9 * * *", "* * * * *"):
        await api.post("/calendar/events", json={**TUESDAYS, "rrule": None, "cron": cron}, headers=headers)
    month = {"from": "2099-03-01T00:00Z", "to": "2099-04-01T00:00Z"}

    view = (await api.get("/calendar/occurrences", params=month, headers=headers)).json()

    times = [one["at"] for one in view["items"]]
    assert times == sorted(times)
    assert len(times) > 200
    assert view["is_complete"] is False
    too_long = {**month, "to": "2199-04-01T00:00Z"}
    answer = await api.get("/calendar/occurrences", params=too_long, headers=headers)
    assert answer.json()["code"] == "too_many_occurrences"


async def test_what_happened_is_shown_with_its_message(api: Api, world: World, parts: Parts) -> None:
    firm = await world.organization()
    headers = await world.headers(firm.admin)
    chat_id = await world.chat(firm.admin)
    once = {
        "title": "Обед",
        "kind": "one_time",
        "starts_at": soon(),
        "timezone": "UTC",
        "chat_id": str(chat_id),
    }
    event = (await api.post("/calendar/events", json=once, headers=headers)).json()
    by_hand = (await api.post(f"/calendar/events/{event['id']}/fire", headers=headers)).json()
    scheduler = Scheduler(parts.database, parts.roles)
    while not await scheduler.look():
        pass

    firings = (await api.get(f"/calendar/events/{event['id']}/firings", headers=headers)).json()["items"]
    messages = (await api.get(f"/chats/{chat_id}/messages", headers=headers)).json()["items"]

    assert [one["is_manual"] for one in firings] == [False, True]
    assert firings[1]["id"] == by_hand["id"]
    assert {one["message_id"] for one in firings} == {one["id"] for one in messages}
    assert {(one["content"], one["via"]) for one in messages} == {("Обед", "calendar")}


async def test_an_admin_moves_days_and_others_only_see_it(api: Api, world: World) -> None:
    firm = await world.organization()
    admin, user = await world.headers(firm.admin), await world.headers(await world.user(firm))
    moved = {"days": {"2027-03-06": True, "2027-03-09": False}}

    refused = await api.put("/calendar/working-days/RU/2027", json=moved, headers=user)
    kept = (await api.put("/calendar/working-days/RU/2027", json=moved, headers=admin)).json()
    seen = (await api.get("/calendar/working-days/RU/2027", headers=user)).json()

    assert refused.json()["code"] == "admins_only"
    assert kept == seen
    assert "2027-03-06" in seen["worked"]
    assert {"2027-03-09", "2027-11-05"} <= set(seen["free"])
    assert seen["changed"] == moved["days"]
    unknown = await api.get("/calendar/working-days/ZZ/2027", headers=user)
    assert (unknown.status_code, unknown.json()["code"]) == (422, "country_unknown")


async def test_words_become_a_schedule_or_a_question(api: Api, world: World) -> None:
    headers = await world.headers((await world.organization()).admin)

    async def understand(text: str, timezone: str = "Europe/Moscow") -> httpx2.Response:
        return await api.post("/calendar/words", json={"text": text, "timezone": timezone}, headers=headers)

    tuesdays = (await understand("каждый вторник в 10:00, кроме праздников")).json()
    unclear = await understand("в пятницу")

    assert (tuesdays["rrule"], tuesdays["working_days"]) == ("FREQ=WEEKLY;BYDAY=TU", "skip")
    assert len(tuesdays["coming"]) == 5
    assert (unclear.status_code, unclear.json()["code"], unclear.json()["detail"]) == (
        422,
        "when_unclear",
        "Во сколько?",
    )
    assert (await understand("завтра в 10", "Mars/Base")).json()["code"] == "timezone_unknown"
