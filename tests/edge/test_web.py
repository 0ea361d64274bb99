"""The web client's files: kept by browsers as long as they may be, and nothing but them to be had."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from engine.api import create_app
from tests.edge.conftest import Parts

Api = httpx2.AsyncClient
PAGE = '<!doctype html><html><head><meta name="rugpt-base" content="/x" /></head><body>RuGPT</body></html>'
SCRIPT = "export const words = 'слово';\n" * 100


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "web" / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(PAGE, "utf-8")
    (folder / "assets" / "index-abc123.js").write_text(SCRIPT, "utf-8")
    (folder / "sw.js").write_text("self.addEventListener('fetch', () => {});", "utf-8")
    (folder / ".built").write_text("a fingerprint", "utf-8")
    (tmp_path / "secret.key").write_text("nobody's business", "utf-8")
    (folder / "linked.txt").symlink_to(tmp_path / "secret.key")
    return folder


@pytest.fixture
async def site(parts: Parts, bundle: Path) -> AsyncIterator[Api]:
    transport = httpx2.ASGITransport(app=create_app(parts, bundle=bundle))
    async with Api(transport=transport, base_url="http://engine") as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/index.html", "/chats", "/join?x=1.5"])
async def test_addresses_of_the_clients_screens_give_its_page(site: Api, path: str) -> None:
    answer = await site.get(path)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.text == PAGE.replace('content="/x" /', 'content="/api/v1"')


async def test_the_page_says_where_the_api_is(parts: Parts, bundle: Path) -> None:
    (bundle / "index.html").write_text("<html><head><title>RuGPT</title></head></html>", "utf-8")
    parts.settings = parts.settings.model_copy(update={"web_base": "/api/v1/web"})
    transport = httpx2.ASGITransport(app=create_app(parts, bundle=bundle))

    async with Api(transport=transport, base_url="http://engine") as site:
        answer = await site.get("/")

    assert '<head><meta name="rugpt-base" content="/api/v1/web"><title>' in answer.text


async def test_no_foreign_and_no_inline_code_runs_in_the_client(site: Api) -> None:
    headers = (await site.get("/")).headers

    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"


async def test_files_named_by_their_content_are_kept_for_good_and_others_are_asked_for(site: Api) -> None:
    await site.get("/")
    script, worker = await site.get("/assets/index-abc123.js"), await site.get("/sw.js")

    assert script.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert script.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert script.text == SCRIPT
    assert worker.headers["Cache-Control"] == "no-cache"
    again = await site.get("/sw.js", headers={"If-None-Match": worker.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_file_is_served_before_anybody_asked_for_the_page(site: Api) -> None:
    assert (await site.get("/assets/index-abc123.js")).text == SCRIPT


async def test_large_files_are_packed_for_those_who_can_unpack_them(site: Api) -> None:
    packed = await site.get("/assets/index-abc123.js", headers={"Accept-Encoding": "gzip, br"})
    plain = await site.get("/assets/index-abc123.js", headers={"Accept-Encoding": "identity"})

    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 5
    assert "Content-Encoding" not in plain.headers
    assert packed.text == plain.text == SCRIPT


@pytest.mark.parametrize(
    "path",
    [
        *("/assets/gone-123.js", "/assets/gone", "/.built", "/linked.txt", "/secret.key", "/favicon.ico"),
        *(
            "/../secret.key",
            "/%2e%2e/%2e%2e/secret.key",
            "/assets/..%2f..%2f..%2fsecret.key",
            "/..\\secret.key",
        ),
    ],
)
async def test_there_is_nothing_beside_the_bundle(site: Api, path: str) -> None:
    answer = await site.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")
    assert "nobody's business" not in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/api"), ("GET", "/api/v1/nothing"), ("POST", "/api/v1/nothing"), ("POST", "/chats/7c9e")],
)
async def test_what_is_no_screen_is_not_found(site: Api, method: str, path: str) -> None:
    answer = await site.request(method, path)

    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")


async def test_a_bundle_built_anew_is_served_at_once(site: Api, bundle: Path) -> None:
    await site.get("/")
    (bundle / "assets" / "index-def456.js").write_text("new", "utf-8")
    fresh = bundle / "fresh.html"
    fresh.write_text(PAGE.replace("RuGPT", "Newer"), "utf-8")
    fresh.rename(bundle / "index.html")

    assert "Newer" in (await site.get("/")).text
    assert (await site.get("/assets/index-def456.js")).text == "new"


async def test_a_client_that_is_not_built_says_how_to_build_it(parts: Parts, tmp_path: Path) -> None:
    transport = httpx2.ASGITransport(app=create_app(parts, bundle=tmp_path / "nowhere"))

    async with Api(transport=transport, base_url="http://engine") as site:
        page, health = await site.get("/"), await site.get("/api/v1/health")

    assert page.status_code == 503
    assert page.headers["Cache-Control"] == "no-cache"
    assert "scripts/web" in page.text
    assert health.status_code == 200
