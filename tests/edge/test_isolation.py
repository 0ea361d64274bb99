"""Two organizations, every route: what belongs to the other one is not there, and looks like nothing else."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi.routing import APIRoute

from engine.api import create_app
from engine.core.cursor import encode_cursor
from tests.edge.conftest import Parts
from tests.postal import dead_letter
from tests.world import Firm, World, completed

PREFIX = "/api/v1"
NEW_YEAR = f"{datetime.now(UTC):%Y}-01-01T00:00Z"
YEARLY = {"title": "Табель", "kind": "recurring", "starts_at": NEW_YEAR, "timezone": "UTC"} | {
    "cron": "0 9 1 3 *"
}
ICS = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1@x\r\nDTSTART:20360101T090000Z\r\n"
    "SUMMARY:Table\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)
# How each route that takes an id is called; `{…}` in a body are ids too. A new route must be added here.
WITH_IDS: dict[str, Any] = {
    "GET /chats/{chat_id}": None,
    "PATCH /chats/{chat_id}": {"title": "Наше"},
    "DELETE /chats/{chat_id}": None,
    "POST /chats/{chat_id}/members": {"members": ["{own_user_id}"]},
    "DELETE /chats/{chat_id}/members/{user_id}": None,
    "POST /chats/{chat_id}/messages": {"content": "@@lawyer, привет @ann"},
    "GET /chats/{chat_id}/messages": None,
    "POST /chats/{chat_id}/read": {},
    "GET /chats/{chat_id}/events": None,
    "GET /messages/{message_id}": None,
    "GET /messages/{answer_id}": None,
    "PATCH /messages/{message_id}": {"content": "Наше"},
    "DELETE /messages/{message_id}": None,
    "POST /messages/{answer_id}/validation": {"verdict": "reject"},
    "GET /runs/{run_id}": None,
    "GET /runs/{run_id}/steps": None,
    "GET /runs?chat_id={chat_id}": None,
    "GET /messages/search?q=привет&chat_id={chat_id}": None,
    "POST /runs/{run_id}/cancel": None,
    "POST /runs/{run_id}/retry": None,
    "POST /admin/runs/{run_id}/cancel": None,
    "GET /runs/{run_id}/events": None,
    "GET /users/{user_id}": None,
    "POST /users/{user_id}/password": None,
    "PATCH /users/{user_id}": {"display_name": "Наш"},
    "PATCH /notifications/channels/{channel_id}": {"priority": 10},
    "DELETE /notifications/channels/{channel_id}": None,
    "POST /notifications/channels/{channel_id}/verify": {"code": "12345678"},
    "POST /notifications/channels/{channel_id}/test": None,
    "POST /notifications/dead-letters/{delivery_id}/replay": None,
    "GET /calendar/events/{event_id}": None,
    "PATCH /calendar/events/{event_id}": {"title": "Наше"},
    "DELETE /calendar/events/{event_id}": None,
    "GET /calendar/events/{event_id}/occurrences": None,
    "GET /calendar/events/{event_id}/firings": None,
    "POST /calendar/events/{event_id}/fire": None,
    "POST /calendar/events/{event_id}/pause": None,
    "POST /calendar/events/{event_id}/resume": None,
    # Ids of the other organization in a body, in a place of one's own.
    "POST /chats": {"title": "Чат", "members": ["{user_id}"]},
    "POST /chats/{own_chat_id}/members": {"members": ["{user_id}"]},
    "DELETE /chats/{own_chat_id}/members/{user_id}": None,
    "POST /chats/{own_chat_id}/messages": {"content": "Наше", "reply_to": "{message_id}"},
    "POST /calendar/events": {**YEARLY, "notify": ["{user_id}"]},
    "POST /calendar/import": {"ics": ICS, "chat_id": "{chat_id}"},
    "POST /calendar/preview": {**YEARLY, "chat_id": "{chat_id}"},
    "PATCH /calendar/events/{own_event_id}": {"chat_id": "{chat_id}"},
}
# What takes no id shows or changes only what is one's own.
LISTS = (
    "GET /chats",
    "GET /users",
    "GET /approvals",
    "GET /approvals/count",
    "GET /runs",
    "GET /messages/search",
    "GET /calendar/events",
    "GET /organizations/current",
    "GET /auth/me",
    "GET /roles",
    "GET /notifications",
    "GET /notifications/channels",
    "GET /notifications/log",
    "GET /notifications/dead-letters",
    "GET /admin/runs",
    "GET /admin/models",
)
NOBODYS = {
    *("GET /events", "PATCH /organizations/current", "POST /users", "GET /roles/{code}"),
    *("POST /notifications/channels", "POST /notifications/read"),
    *("GET /notifications/push", "POST /notifications/push"),
    "POST /notifications/telegram/webhook",
    *("GET /notifications/unsubscribe/{token}", "POST /notifications/unsubscribe/{token}"),
    *("POST /roles/cache/clear", "GET /auth/policy", "GET /health", "GET /health/ready"),
    *("GET /calendar/occurrences", "GET /calendar/working-days/{country}/{year}"),
    "PUT /calendar/working-days/{country}/{year}",
    "POST /calendar/words",
    *("POST /calendar/feed", "DELETE /calendar/feed", "GET /calendar/feeds/{token}.ics"),
    *(f"POST /auth/{verb}" for verb in ("register", "login", "refresh", "logout", "password")),
}


@dataclass
class Town:
    """An organization with something of every kind, and what a client of its admin sends."""

    firm: Firm
    headers: dict[str, str]
    ids: dict[str, str]


async def settle(world: World, name: str) -> Town:
    firm = await world.organization(name)
    ivan = await world.user(firm, "ivan")
    chat_id = await world.chat(firm.admin, ivan)
    run = await world.ask(firm.admin, chat_id, f"@@lawyer, тайна организации {name}")
    (claim,) = await world.claim()
    await world.finish(completed(claim, f"Ответ организации {name}", approvers=["asker", "admins"]))
    event = await world.event(firm.admin, title=f"Событие организации {name}")
    ids = {"chat_id": chat_id, "message_id": run.message_id, "answer_id": run.answer_id, "run_id": run.id}
    ids["channel_id"], ids["delivery_id"] = await dead_letter(world.database, firm.admin.actor)
    ids["event_id"] = event.id
    return Town(
        firm,
        await world.headers(firm.admin),
        {**{key: str(value) for key, value in ids.items()}, "user_id": str(ivan.id)},
    )


@pytest.fixture
async def ours(world: World) -> Town:
    return await settle(world, "Ромашка")


@pytest.fixture
async def theirs(world: World) -> Town:
    return await settle(world, "Лютик")


async def ask(
    api: httpx2.AsyncClient, town: Town, route: str, ids: dict[str, str]
) -> tuple[int, dict[str, str], Any]:
    """Call a route with ids; return what came back with every id and moment made alike."""
    method, path = route.split(" ", 1)
    own = {f"own_{key}": value for key, value in town.ids.items()}
    body = WITH_IDS[route]
    text = None if body is None else _filled(json.dumps(body, ensure_ascii=False), {**ids, **own})
    answer = await api.request(
        method,
        _filled(path, {**ids, **own}),
        content=None if text is None else text.encode(),
        headers={**town.headers, "Content-Type": "application/json", "X-Request-ID": "same-request-id"},
    )
    told = answer.text
    for name, value in ids.items():
        told = told.replace(value, f"<{name}>")
    return answer.status_code, dict(answer.headers), json.loads(told) if told else None


def _filled(template: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda place: ids[place[1]], template)


def _shape(route: str) -> str:
    """Return a route with its ids unnamed, and without what is asked of it."""
    return re.sub(r"\{\w+\}", "{}", route.partition("?")[0])


def test_every_route_there_is_is_tried(parts: Parts) -> None:
    routes = {
        _shape(f"{method} {route.path.removeprefix(PREFIX)}")
        for route in create_app(parts).routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }

    assert routes == {_shape(route) for route in (*WITH_IDS, *LISTS, *NOBODYS)}


@pytest.mark.parametrize("route", WITH_IDS)
async def test_what_is_anothers_looks_as_if_it_never_was(
    api: httpx2.AsyncClient, ours: Town, theirs: Town, route: str
) -> None:
    unknown = {name: str(uuid4()) for name in theirs.ids}

    of_theirs = await ask(api, ours, route, theirs.ids)
    of_nobody = await ask(api, ours, route, unknown)

    assert of_theirs == of_nobody
    assert of_theirs[0] == 404


@pytest.mark.parametrize("route", WITH_IDS)
async def test_what_is_ones_own_is_there(api: httpx2.AsyncClient, ours: Town, route: str) -> None:
    """Or the test above would prove nothing."""
    if route.startswith("GET") and route.endswith("/events"):
        return  # They do not end by themselves; tests/edge/test_streams.py follows them.

    status, _, told = await ask(api, ours, route, ours.ids)

    assert status < 300 or (status, told["code"]) in {
        (409, "run_has_ended"),
        (409, "run_not_retryable"),
        (409, "channel_verified"),
    }


async def test_nothing_that_was_tried_has_changed_anything_of_the_others(
    api: httpx2.AsyncClient, world: World, ours: Town, theirs: Town, database_url: str
) -> None:
    import asyncpg

    owner = await asyncpg.connect(database_url)
    tables = [
        row["name"]
        for row in await owner.fetch(
            "SELECT attrelid::regclass::text AS name FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
            " WHERE attname = 'org_id' AND relkind = 'r'"
        )
    ]

    async def of_theirs() -> dict[str, list[str]]:
        return {
            table: sorted(
                str(tuple(row.values()))
                for row in await owner.fetch(f"SELECT * FROM {table} WHERE org_id = $1", theirs.firm.id)
            )
            for table in tables
        }

    before = await of_theirs()
    for route in WITH_IDS:
        await ask(api, ours, route, theirs.ids)

    assert await of_theirs() == before
    await owner.close()


@pytest.mark.parametrize("route", LISTS)
async def test_lists_show_nothing_of_the_others(
    api: httpx2.AsyncClient, ours: Town, theirs: Town, route: str
) -> None:
    query = (
        {"status": "all"}
        if route.endswith("approvals")
        else {"q": "организации"}
        if "search" in route
        else {}
    )

    answer = await api.get(route.removeprefix("GET "), headers=ours.headers, params=query)

    assert answer.status_code == 200
    told = answer.text
    assert not [name for name, value in theirs.ids.items() if value in told]
    assert str(theirs.firm.id) not in told
    assert "Лютик" not in told


async def test_a_cursor_of_another_organization_leads_only_through_ones_own(
    api: httpx2.AsyncClient, ours: Town, theirs: Town
) -> None:
    for path in ("/chats", "/approvals"):
        cursor = encode_cursor({"at": "2100-01-01T00:00:00+00:00", "id": theirs.ids["chat_id"]})
        page = (await api.get(path, params={"cursor": cursor}, headers=ours.headers)).json()
        assert len(page["items"]) == 1
        assert not [name for name, value in theirs.ids.items() if value in json.dumps(page)]


async def test_a_token_opens_one_organization_whatever_else_it_is_told(
    api: httpx2.AsyncClient, ours: Town, theirs: Town
) -> None:
    strangely = {
        **ours.headers,
        "X-Org-ID": str(theirs.firm.id),
        "X-Organization": theirs.firm.slug,
        "Cookie": f"org_id={theirs.firm.id}",
    }

    answer = await api.get(f"/chats/{theirs.ids['chat_id']}", headers=strangely)

    assert answer.status_code == 404
