"""Nginx on one machine, the engine on another one behind its firewall, people and strangers on others."""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bench.fake_model import Pace
from bench.processes import ROOT, start
from tests.namespaces import Machine, network
from tests.peers.firewall import close
from tests.peers.nginx import nginx, raw_status
from tests.process.engine import EngineProcess, Person, Stream, register

pytestmark = [pytest.mark.system, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

PACE = Pace(first_ms=200, gap_ms=200, tokens=12)


@dataclass(frozen=True, slots=True)
class Site:
    """The machines, and somebody who has signed in through Nginx. The tests run on a colleague's machine."""

    proxy: Machine
    engine: Machine
    stranger: Machine
    ann: Person

    async def ask(self, path: str) -> httpx2.Response:
        """Ask Nginx."""
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            return await http.get(f"http://{self.proxy.address}:443{path}")


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[Site]:
    """Two machines of ours, each behind the firewall, as the guide says, and a stranger's."""
    async with AsyncExitStack() as running:
        net = running.enter_context(network(3))
        proxy, machine, stranger = net.machines
        pace = (f"--first-ms={PACE.first_ms}", f"--gap-ms={PACE.gap_ms}", f"--tokens={PACE.tokens}")
        model = await start("bench.fake_model", *pace, within=machine.command())
        running.push_async_callback(model.stop)
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="rugpt-nginx-")))
        settings = {
            "RUGPT_MODEL": f"openai:{PACE.model}",
            "RUGPT_OPENAI_BASE_URL": f"http://127.0.0.1:{model.port}/v1",
            "RUGPT_TRUSTED_PROXIES": proxy.address,
            "RUGPT_WEB_BASE": "/api/v1/web",
        }
        engine = await EngineProcess.start(folder / "data", settings, port=8100, machine=machine)
        running.push_async_callback(engine.terminate)
        ann = await register(engine.port, engine.host)
        upstream = f"{machine.address}:{engine.port}"
        port = await running.enter_async_context(nginx(folder, upstream, vpn=f"{net.host}/32", machine=proxy))
        close(proxy)
        close(machine, proxies=(proxy.address,))
        yield Site(proxy, machine, stranger, Person(port, ann.token, ann.user, proxy.address))


async def test_the_prefix_leads_to_the_engine_and_nothing_else_does(site: Site) -> None:
    me = await site.ann.call("GET", "/web/auth/me")
    direct, _ = await raw_status(443, "/api/v1/auth/me", site.proxy.address)
    around, _ = await raw_status(443, "/api/v1/web/..%2fauth/me", site.proxy.address)
    page = await site.ask("/")

    assert me["user"]["username"] == "ann"
    assert (direct, around) == (404, 404)
    assert page.headers["content-type"].startswith("text/html")
    assert "RuGPT" in page.text


async def test_words_arrive_from_the_other_machine_as_they_are_written(site: Site) -> None:
    new = {"title": "Поставка", "kind": "group", "members": [], "roles": []}
    chat_id = (await site.ann.call("POST", "/web/chats", new, expect=201))["id"]
    path, body = f"/web/chats/{chat_id}/messages", {"content": "@@lawyer Что в договоре?"}

    stream = await Stream.open(443, path, site.ann.token, body=body, host=site.proxy.address)
    async with aclosing(stream.events()) as events:
        heard = [(event.kind, time.monotonic()) async for event in events]
    stream.close()

    words = [at for kind, at in heard if kind == "run.delta"]
    assert len(words) >= PACE.tokens / 3
    assert words[-1] - words[0] > PACE.seconds / 2
    assert "run.completed" in [kind for kind, _ in heard]


async def test_guesses_count_for_the_person_and_not_for_the_machine_of_nginx(site: Site) -> None:
    guess = {"username": "nobody", "password": "wrong horse battery"}

    async def attempt(number: int) -> str:
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            answer = await http.post(
                f"http://{site.proxy.address}:443/api/v1/web/auth/login",
                json={**guess, "username": f"nobody{number}"},
                headers={"X-Forwarded-For": f"203.0.113.{number}"},
            )
        return str(answer.json()["code"])

    codes = await asyncio.gather(*(attempt(number) for number in range(60)))
    login = f"http://{site.engine.address}:8100/api/v1/auth/login"
    by_the_machine = await ask(site.proxy, login, guess)

    assert codes.count("too_many_attempts") >= 5
    assert by_the_machine["status"] == 401


async def test_nobody_but_nginx_reaches_the_engine_and_nobody_but_the_vpn_reaches_nginx(site: Site) -> None:
    health = f"http://{site.engine.address}:8100/api/v1/health"

    by_nginx = await ask(site.proxy, health)
    by_stranger = await ask(site.stranger, health)
    at_the_edge = await ask(site.stranger, f"http://{site.proxy.address}:443/api/v1/web/health")

    assert by_nginx["status"] == 200
    assert by_stranger == {"status": 0, "text": "ConnectTimeout"}
    assert at_the_edge["status"] == 403


async def ask(machine: Machine, url: str, body: object = None) -> dict[str, Any]:
    """Ask from a machine and return what came."""
    child = await asyncio.create_subprocess_exec(
        *machine.command(sys.executable, "-m", "tests.peers.ask", url),
        *([json.dumps(body)] if body is not None else []),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await asyncio.wait_for(child.communicate(), 30)
    told: dict[str, Any] = json.loads(output)
    return told
