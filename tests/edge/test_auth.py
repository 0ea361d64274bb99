"""Registering, signing in, refreshing, leaving, and tokens that are not ours."""

import asyncio
import time
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest

from engine.core.database import Database
from engine.core.events import Bus
from engine.core.feed import Feed
from engine.core.secret import derive
from engine.domains import sessions
from engine.domains.organizations import Registration
from tests.edge.conftest import Parts
from tests.world import PASSWORD, SECRET, World

Api = httpx2.AsyncClient
NEW = {
    "organization": "ООО «Ромашка»",
    "username": "ann",
    "email": "ann@example.com",
    "password": PASSWORD,
    "display_name": "Анна",
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    ours: dict[str, Any] = {
        "iss": "rugpt", "aud": "rugpt-api", "iat": now, "exp": now + 60, "jti": "1", "sub": str(uuid4()),
        "org": str(uuid4()), "role": "admin", "sid": str(uuid4()),
    }  # fmt: skip
    ours.update(changes)
    return {name: value for name, value in ours.items() if value is not None}


async def test_the_first_organization_is_registered_and_its_admin_signed_in(api: Api) -> None:
    answer = await api.post("/auth/register", json=NEW)

    assert answer.status_code == 201
    body = answer.json()
    assert body["organization"]["slug"] == "ooo-romashka"
    assert body["user"]["role"] == "admin"
    assert body["user"]["display_name"] == "Анна"
    assert body["expires_in"] == 900
    me = await api.get("/auth/me", headers=bearer(body["access_token"]))
    assert me.json()["user"] == body["user"]
    assert me.json()["organization"] == body["organization"]


async def test_who_registers_says_in_what_language_and_zone_they_are(api: Api) -> None:
    answer = await api.post("/auth/register", json={**NEW, "locale": "en", "timezone": "Asia/Novosibirsk"})

    user = answer.json()["user"]
    assert (user["locale"], user["timezone"]) == ("en", "Asia/Novosibirsk")


async def test_only_one_of_many_first_organizations_is_registered(api: Api) -> None:
    answers = await asyncio.gather(
        *(api.post("/auth/register", json={**NEW, "organization": f"Firm {n}"}) for n in range(12))
    )

    assert sorted(answer.status_code for answer in answers) == [201] + [403] * 11
    refused = next(answer for answer in answers if answer.status_code == 403)
    assert refused.json()["code"] == "registration_closed"


async def test_open_registration_lets_everybody_in_with_slugs_of_their_own(api: Api, parts: Parts) -> None:
    parts.registration = Registration(parts.database, "open")

    answers = await asyncio.gather(*(api.post("/auth/register", json=NEW) for _ in range(7)))

    assert [answer.status_code for answer in answers] == [201] * 7
    assert len({answer.json()["organization"]["slug"] for answer in answers}) == 7


async def test_closed_registration_lets_nobody_in(api: Api, parts: Parts) -> None:
    parts.registration = Registration(parts.database, "closed")

    answer = await api.post("/auth/register", json=NEW)

    assert (answer.status_code, answer.json()["code"]) == (403, "registration_closed")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"password": "short"}, "password_unfit"),
        ({"password": "x" * 129}, "password_unfit"),
        ({"password": "ann@example.com"}, "password_unfit"),
        ({"username": "a b"}, "username_invalid"),
        ({"email": "nonsense"}, "email_invalid"),
        ({"organization": " \t "}, "organization_name_invalid"),
        ({"timezone": "Etc/Unknown"}, "timezone_unknown"),
    ],
)
async def test_a_refused_registration_leaves_nothing_behind(
    api: Api, change: dict[str, str], code: str
) -> None:
    refused = await api.post("/auth/register", json={**NEW, **change})

    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert (await api.post("/auth/register", json=NEW)).status_code == 201


async def test_people_sign_in_by_username_or_email_whatever_the_case(api: Api, world: World) -> None:
    ann = (await world.organization()).admin

    by_name = await api.post("/auth/login", json={"username": "ANN", "password": ann.password})
    by_email = await api.post("/auth/login", json={"email": "Ann@Example.com", "password": ann.password})

    assert by_name.status_code == by_email.status_code == 200
    assert by_name.json()["user"]["id"] == by_email.json()["user"]["id"] == str(ann.id)
    assert by_name.json()["password_change_required"] is False


async def test_a_wrong_password_and_an_unknown_name_are_refused_alike(api: Api, world: World) -> None:
    firm = await world.organization()
    bob = await world.user(firm, "bob")
    headers = await world.headers(firm.admin)
    await api.patch(f"/users/{bob.id}", json={"is_active": False}, headers=headers)

    wrong = await api.post("/auth/login", json={"username": "ann", "password": "not this one"})
    unknown = await api.post("/auth/login", json={"username": "nobody", "password": PASSWORD})
    inactive = await api.post("/auth/login", json={"username": "bob", "password": PASSWORD})
    elsewhere = await api.post(
        "/auth/login", json={"username": "ann", "password": PASSWORD, "organization": "other"}
    )

    answers = [wrong, unknown, inactive, elsewhere]
    assert [answer.status_code for answer in answers] == [401] * 4
    bodies = [{**answer.json(), "request_id": ""} for answer in answers]
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["code"] == "invalid_credentials"


async def test_a_failure_takes_as_long_whether_the_account_exists_or_not(
    api: Api, world: World, parts: Parts
) -> None:
    await world.organization()
    object.__setattr__(parts.entrance, "failure_seconds", 0.3)

    took = []
    for name in ("ann", "nobody"):
        started = time.perf_counter()
        await api.post("/auth/login", json={"username": name, "password": "not this one"})
        took.append(time.perf_counter() - started)

    assert all(seconds >= 0.3 for seconds in took)


async def test_one_name_in_two_organizations_needs_the_organization_only_where_both_fit(
    api: Api, world: World
) -> None:
    first = await world.organization("First")
    second = await world.organization("Second")
    login = {"username": "ann", "password": PASSWORD}

    both = await api.post("/auth/login", json=login)
    named = await api.post("/auth/login", json={**login, "organization": "SECOND"})
    headers = await world.headers(first.admin)
    change = {"current_password": PASSWORD, "new_password": "quite another one"}
    await api.post("/auth/password", json=change, headers=headers)
    one = await api.post("/auth/login", json=login)

    assert (both.status_code, both.json()["code"]) == (409, "organization_required")
    assert named.json()["organization"]["id"] == str(second.id)
    assert one.json()["organization"]["id"] == str(second.id)


async def test_refreshing_gives_new_tokens_that_work(api: Api, world: World) -> None:
    signed_in = await world.sign_in((await world.organization()).admin)

    answer = await api.post("/auth/refresh", json={"refresh_token": signed_in.refresh_token})

    assert answer.status_code == 200
    body = answer.json()
    assert body["refresh_token"] != signed_in.refresh_token
    assert (await api.get("/auth/me", headers=bearer(body["access_token"]))).status_code == 200


async def test_a_refresh_token_used_twice_ends_the_whole_session(api: Api, world: World) -> None:
    signed_in = await world.sign_in((await world.organization()).admin)
    old = {"refresh_token": signed_in.refresh_token}
    new = (await api.post("/auth/refresh", json=old)).json()

    reused = await api.post("/auth/refresh", json=old)

    assert (reused.status_code, reused.json()["code"]) == (401, "session_ended")
    family = await api.post("/auth/refresh", json={"refresh_token": new["refresh_token"]})
    assert family.status_code == 401
    assert (await api.get("/auth/me", headers=bearer(new["access_token"]))).status_code == 401
    assert (await api.get("/auth/me", headers=bearer(signed_in.access_token))).status_code == 401


async def test_of_many_refreshes_with_one_token_one_wins_and_the_session_ends(api: Api, world: World) -> None:
    signed_in = await world.sign_in((await world.organization()).admin)
    token = {"refresh_token": signed_in.refresh_token}

    answers = await asyncio.gather(*(api.post("/auth/refresh", json=token) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7


@pytest.mark.parametrize("token", ["x", "é" * 40, "../../etc", "0" * 43])
async def test_an_unknown_refresh_token_is_refused(api: Api, world: World, token: str) -> None:
    await world.organization()

    answer = await api.post("/auth/refresh", json={"refresh_token": token})

    assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")


async def test_whoever_signs_out_is_out_and_their_other_session_is_not(api: Api, world: World) -> None:
    ann = (await world.organization()).admin
    here, elsewhere = await world.sign_in(ann), await world.sign_in(ann)

    left = await api.post("/auth/logout", headers=bearer(here.access_token))

    assert left.status_code == 204
    assert (await api.get("/auth/me", headers=bearer(here.access_token))).json()["code"] == "session_ended"
    assert (await api.post("/auth/refresh", json={"refresh_token": here.refresh_token})).status_code == 401
    assert (await api.get("/auth/me", headers=bearer(elsewhere.access_token))).status_code == 200


async def test_a_temporary_password_opens_nothing_but_its_change(api: Api, world: World) -> None:
    headers = await world.headers((await world.organization()).admin)
    person = {"username": "bob", "email": "bob@example.com", "display_name": "Bob"}
    temporary = (await api.post("/users", json=person, headers=headers)).json()["temporary_password"]

    login = (await api.post("/auth/login", json={"username": "bob", "password": temporary})).json()

    assert login["password_change_required"] is True
    newcomer = bearer(login["access_token"])
    for path in ("/auth/me", "/users", f"/users/{login['user']['id']}", "/organizations/current"):
        refused = await api.get(path, headers=newcomer)
        assert (refused.status_code, refused.json()["code"]) == (403, "password_change_required")
    refreshed = await api.post("/auth/refresh", json={"refresh_token": login["refresh_token"]})
    assert (await api.get("/auth/me", headers=bearer(refreshed.json()["access_token"]))).status_code == 403
    change = {"current_password": temporary, "new_password": PASSWORD}
    changed = await api.post("/auth/password", json=change, headers=newcomer)
    assert changed.status_code == 200
    assert changed.json()["password_change_required"] is False
    assert (await api.get("/auth/me", headers=bearer(changed.json()["access_token"]))).status_code == 200
    assert (await api.post("/auth/login", json={"username": "bob", "password": temporary})).status_code == 401


async def test_changing_the_password_ends_the_other_sessions(api: Api, world: World) -> None:
    ann = (await world.organization()).admin
    here, elsewhere = await world.sign_in(ann), await world.sign_in(ann)
    change = {"current_password": PASSWORD, "new_password": "quite another one"}

    changed = await api.post("/auth/password", json=change, headers=bearer(here.access_token))

    assert changed.status_code == 200
    assert (await api.get("/auth/me", headers=bearer(elsewhere.access_token))).status_code == 401
    assert (await api.get("/auth/me", headers=bearer(here.access_token))).status_code == 200
    refresh = {"refresh_token": changed.json()["refresh_token"]}
    assert (await api.post("/auth/refresh", json=refresh)).status_code == 200


@pytest.mark.parametrize(
    ("current", "new", "status", "code"),
    [
        ("not this one", "quite another one", 403, "wrong_password"),
        (PASSWORD, PASSWORD, 422, "password_unfit"),
        (PASSWORD, "short", 422, "password_unfit"),
    ],
)
async def test_a_password_is_not_changed_without_the_old_one_or_to_a_bad_one(
    api: Api, world: World, current: str, new: str, status: int, code: str
) -> None:
    headers = await world.headers((await world.organization()).admin)

    answer = await api.post(
        "/auth/password", json={"current_password": current, "new_password": new}, headers=headers
    )

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await api.post("/auth/login", json={"username": "ann", "password": PASSWORD})).status_code == 200


async def test_an_address_that_fails_on_and_on_is_turned_away_and_the_owner_elsewhere_is_not(
    api: Api, world: World, parts: Parts
) -> None:
    async def at_once(_: float) -> None: ...

    await world.organization()
    object.__setattr__(parts.entrance, "sleep", at_once)
    wrong = {"username": "ann", "password": "not this one"}
    refused = [await api.post("/auth/login", json=wrong) for _ in range(60)][-1]

    owner = {"username": "ann", "password": PASSWORD}
    from_there = await api.post("/auth/login", json=owner)
    transport = httpx2.ASGITransport(app=api._transport.app, client=("198.51.100.7", 1))  # type: ignore[attr-defined]
    async with httpx2.AsyncClient(transport=transport, base_url=api.base_url) as elsewhere:
        from_elsewhere = await elsewhere.post("/auth/login", json=owner)

    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_attempts")
    assert from_there.status_code == 429
    assert int(from_there.headers["Retry-After"]) > 0
    assert from_elsewhere.status_code == 200


@pytest.mark.parametrize("missing", ["exp", "iat", "sub", "jti", "org", "role", "sid", "iss", "aud"])
async def test_a_token_that_lacks_a_claim_is_refused(api: Api, missing: str) -> None:
    token = jwt.encode(claims(**{missing: None}), derive(SECRET, "access-token"), algorithm="HS256")

    answer = await api.get("/auth/me", headers=bearer(token))

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "root"},
        {"role": ["admin"]},
        {"sub": "ann"},
        {"org": 7},
        {"sid": ""},
        {"iss": "somebody"},
        {"aud": "something"},
        {"iat": int(time.time()) + 3600},
        {"exp": "soon"},
    ],
)
async def test_a_token_with_a_strange_claim_is_refused(api: Api, changes: dict[str, Any]) -> None:
    token = jwt.encode(claims(**changes), derive(SECRET, "access-token"), algorithm="HS256")

    answer = await api.get("/auth/me", headers=bearer(token))

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


async def test_tokens_of_another_key_or_algorithm_are_refused(api: Api) -> None:
    key = derive(SECRET, "access-token")
    tokens = [
        jwt.encode(claims(), "", algorithm="none"),
        jwt.encode(claims(), derive(b"another secret", "access-token"), algorithm="HS256"),
        jwt.encode(claims(), key + key, algorithm="HS512"),
        "",
        "x.y.z",
        "a" * 5000,
    ]

    answers = [await api.get("/auth/me", headers=bearer(token)) for token in tokens]

    assert [answer.json()["code"] for answer in answers] == ["not_authenticated"] * len(tokens)


async def test_an_expired_token_says_so(api: Api) -> None:
    past = int(time.time()) - 100
    token = jwt.encode(claims(iat=past, exp=past + 60), derive(SECRET, "access-token"), algorithm="HS256")

    answer = await api.get("/auth/me", headers=bearer(token))

    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


@pytest.mark.parametrize("header", ["", "Basic YW5uOmFubg==", "Bearer", "bearer  "])
async def test_a_request_without_a_token_is_refused(api: Api, header: str) -> None:
    answer = await api.get("/auth/me", headers={"Authorization": header})

    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")


async def test_a_session_that_ended_in_another_process_is_over_here(
    api: Api, world: World, parts: Parts, application_url: str
) -> None:
    ann = (await world.organization()).admin
    signed_in = await world.sign_in(ann)
    heard = asyncio.Event()
    parts.guard.on_end(lambda _: heard.set())

    other = await Database.open(application_url, bus=Bus(), feed=Feed(), pool_size=2)
    async with other.as_organization(ann.org_id) as tx:
        await sessions.sign_out(tx, ann.actor, session_id=signed_in.session_id)
    await other.close()

    async with asyncio.timeout(3):
        await heard.wait()
    assert (await api.get("/auth/me", headers=bearer(signed_in.access_token))).status_code == 401
