"""A browser's session: a cookie that no script reads, that no other site uses, and that tabs share."""

import asyncio
from typing import Any

import httpx2
import pytest

from engine.domains import sessions
from tests.edge.conftest import Parts
from tests.edge.test_auth import NEW, bearer
from tests.world import PASSWORD, Firm, World

Api = httpx2.AsyncClient
WEB = {"X-RuGPT-Client": "web"}
COOKIE = "rugpt_refresh"


@pytest.fixture
async def firm(world: World) -> Firm:
    return await world.organization()


async def sign_in(api: Api, **headers: str) -> httpx2.Response:
    login = {"username": "ann", "password": PASSWORD}
    answer = await api.post("/auth/login", json=login, headers={**WEB, **headers})
    assert answer.status_code == 200
    return answer


async def refresh(api: Api, token: str | None = None, **headers: str) -> httpx2.Response:
    """Refresh as a browser whose cookie is `token`, or the one that the client keeps."""
    if token is None:
        return await api.post("/auth/refresh", headers={**WEB, **headers})
    api.cookies.clear()
    return await api.post("/auth/refresh", headers={**WEB, "Cookie": f"{COOKIE}={token}", **headers})


def cookie_in(answer: httpx2.Response) -> str:
    return answer.headers["Set-Cookie"].split(";")[0].removeprefix(f"{COOKIE}=")


async def test_a_browser_gets_its_refresh_token_in_a_cookie_and_nowhere_else(api: Api, firm: Firm) -> None:
    answer = await sign_in(api)

    assert answer.json()["refresh_token"] is None
    said = answer.headers["Set-Cookie"]
    assert {"HttpOnly", "Path=/api/v1", "SameSite=strict", "Max-Age=2592000"} <= set(said.split("; "))
    assert "Secure" not in said
    assert cookie_in(answer) not in answer.text


async def test_a_browser_stays_signed_in_by_its_cookie_and_leaves_by_it(api: Api, firm: Firm) -> None:
    await sign_in(api)

    refreshed = await refresh(api)
    left = await api.post("/auth/logout", headers=WEB)

    assert refreshed.status_code == 200
    access = bearer(refreshed.json()["access_token"])
    assert left.status_code == 204
    assert "Max-Age=0" in left.headers["Set-Cookie"]
    assert (await api.get("/auth/me", headers=access)).status_code == 401
    assert (await refresh(api)).json()["code"] == "refresh_token_missing"


async def test_registering_and_a_new_password_give_cookies_too(api: Api) -> None:
    registered = await api.post("/auth/register", json=NEW, headers=WEB)
    change = {"current_password": PASSWORD, "new_password": "quite another one"}
    headers = {**WEB, **bearer(registered.json()["access_token"])}

    changed = await api.post("/auth/password", json=change, headers=headers)

    for answer in (registered, changed):
        assert answer.json()["refresh_token"] is None
    assert cookie_in(registered) != cookie_in(changed)
    assert (await refresh(api, cookie_in(changed))).status_code == 200


async def test_a_client_without_the_header_gets_no_cookie(api: Api, firm: Firm) -> None:
    answer = await api.post("/auth/login", json={"username": "ann", "password": PASSWORD})

    assert answer.json()["refresh_token"]
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
async def test_a_stolen_cookie_is_of_no_use_without_the_header(api: Api, firm: Firm, path: str) -> None:
    stolen = cookie_in(await sign_in(api))
    api.cookies.clear()

    answers = [
        await api.post(path, headers={"Cookie": f"{COOKIE}={stolen}", **more})
        for more in ({}, {"X-RuGPT-Client": "cli"}, {"Content-Type": "text/plain"})
    ]

    assert [answer.status_code for answer in answers] == [401] * 3
    assert (await refresh(api, stolen)).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://engine:8100", "null", "http://engine.evil.example", "http://["]
)
@pytest.mark.parametrize("verb", ["login", "refresh", "logout"])
async def test_a_page_of_another_site_is_refused(api: Api, firm: Firm, origin: str, verb: str) -> None:
    token = cookie_in(await sign_in(api))
    body = {"username": "ann", "password": PASSWORD} if verb == "login" else None

    answer = await api.post(f"/auth/{verb}", json=body, headers={**WEB, "Origin": origin})

    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert "Set-Cookie" not in answer.headers
    assert (await refresh(api, token)).status_code == 200


async def test_the_address_that_people_use_may_be_another_than_the_engines(
    api: Api, firm: Firm, parts: Parts
) -> None:
    public = {"Origin": "https://chat.firm.example"}
    assert (await api.post("/auth/refresh", headers={**WEB, **public})).status_code == 403
    parts.settings = parts.settings.model_copy(update={"public_url": "https://chat.firm.example/"})

    answer = await sign_in(api, **public)

    assert "Secure" in answer.headers["Set-Cookie"]


async def test_the_cookie_is_for_https_alone_where_a_proxy_says_so(api: Api, firm: Firm) -> None:
    transport = httpx2.ASGITransport(app=api._transport.app)  # type: ignore[attr-defined]
    async with Api(transport=transport, base_url="https://engine/api/v1") as encrypted:
        answer = await sign_in(encrypted, Origin="https://engine")

    assert "Secure" in answer.headers["Set-Cookie"]


async def test_tabs_that_refresh_at_once_get_one_and_the_same_session(api: Api, firm: Firm) -> None:
    token = cookie_in(await sign_in(api))

    answers = await asyncio.gather(*(refresh(api, token) for _ in range(6)))

    assert [answer.status_code for answer in answers] == [200] * 6
    (successor,) = {cookie_in(answer) for answer in answers}
    assert successor != token
    assert (await refresh(api, successor)).status_code == 200


async def test_a_token_that_comes_back_after_its_successor_was_used_ends_the_session(
    api: Api, firm: Firm
) -> None:
    stolen = cookie_in(await sign_in(api))
    mine = cookie_in(await refresh(api, stolen))
    newest = await refresh(api, mine)

    reused = await refresh(api, stolen)

    assert (reused.status_code, reused.json()["code"]) == (401, "session_ended")
    assert (await refresh(api, cookie_in(newest))).status_code == 401


async def test_a_token_that_comes_back_later_ends_the_session(
    api: Api, firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen = cookie_in(await sign_in(api))
    mine = cookie_in(await refresh(api, stolen))
    monkeypatch.setattr("engine.domains.sessions.service._HASTE_SECONDS", 0.0)

    assert (await refresh(api, stolen)).json()["code"] == "session_ended"
    assert (await refresh(api, mine)).status_code == 401


async def test_a_token_that_a_new_password_used_up_is_not_renewed(api: Api, firm: Firm) -> None:
    signed_in = await sign_in(api)
    old = cookie_in(signed_in)
    change = {"current_password": PASSWORD, "new_password": "quite another one"}
    await api.post("/auth/password", json=change, headers=bearer(signed_in.json()["access_token"]))

    assert (await refresh(api, old)).status_code == 401


async def test_only_browsers_may_be_hasty(api: Api, world: World, firm: Firm) -> None:
    token = (await world.sign_in(firm.admin)).refresh_token
    await api.post("/auth/refresh", json={"refresh_token": token})

    assert (await api.post("/auth/refresh", json={"refresh_token": token})).status_code == 401


async def test_leaving_needs_no_access_token_that_still_works(api: Api, firm: Firm) -> None:
    access = (await sign_in(api)).json()["access_token"]

    left = await api.post("/auth/logout", headers={**WEB, "Authorization": "Bearer old"})
    again = await api.post("/auth/logout", headers=WEB)

    assert [left.status_code, again.status_code] == [204, 204]
    assert (await api.get("/auth/me", headers=bearer(access))).json()["code"] == "session_ended"


async def test_a_cookie_leads_only_into_its_own_organization(api: Api, world: World) -> None:
    told: dict[str, Any] = {}
    for name in ("Ромашка", "Лютик"):
        signed_in = await world.sign_in((await world.organization(name)).admin)
        answer = await refresh(api, signed_in.refresh_token)
        told[name] = answer.json()["organization"]["name"]

    assert told == {"Ромашка": "Ромашка", "Лютик": "Лютик"}


@pytest.mark.parametrize("token", ["", "x", "0" * 43, "y" * 5000])
async def test_a_cookie_that_is_none_of_ours_opens_nothing(api: Api, firm: Firm, token: str) -> None:
    assert (await refresh(api, token)).status_code == 401
    assert (await api.post("/auth/logout", headers={**WEB, "Cookie": f"{COOKIE}={token}"})).status_code == 204


def test_a_successor_tells_nothing_without_our_key() -> None:
    ours, others = sessions.RefreshTokens(b"one secret"), sessions.RefreshTokens(b"another secret")
    token = ours.first()

    assert ours.successor_of(token) == ours.successor_of(token)
    assert ours.successor_of(token) != others.successor_of(token)
    assert len({token, ours.successor_of(token), ours.successor_of(ours.successor_of(token))}) == 3
