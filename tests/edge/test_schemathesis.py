"""What the OpenAPI file says, tried by schemathesis as an admin: no 5xx, and answers of the told shape."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.edge.serving import Stage
from tests.postal import dead_letter
from tests.unit.scripted_model import say
from tests.world import Person

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
FILE = Path(__file__).parents[2] / "openapi.json"
SCHEMA = schemathesis.openapi.from_dict(json.loads(FILE.read_text("utf-8")))
OPERATIONS: dict[str, Any] = {
    result.ok().label: result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok)
}
STREAMS = {
    f"{method.upper()} {path}"
    for path, routes in json.loads(FILE.read_text("utf-8"))["paths"].items()
    for method, route in routes.items()
    if "text/event-stream" in route["responses"].get("200", {}).get("content", {})
}
# These end the session that everything else is tried with; each is tried with a session of its own.
LEAVING = {"POST /api/v1/auth/logout", "POST /api/v1/auth/password"}
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


class Town:
    """An organization that is tried, and made whole again when something of it is gone."""

    def __init__(self, stage: Stage, admin: Person, token: str) -> None:
        self._stage = stage
        self._admin = admin
        self.token = token
        self.ids: dict[str, UUID] = {}

    async def settle(self) -> None:
        """Have a chat, a message, a run and a draft that can be called by their ids."""
        world = self._stage.world
        self._stage.script(say("Можно."))
        chat_id = await world.chat(self._admin)
        run = await world.ask(self._admin, chat_id)
        await self._stage.rest()
        self.ids = {
            "chat_id": chat_id,
            "message_id": run.message_id,
            "answer_id": run.answer_id,
            "run_id": run.id,
            "user_id": self._admin.id,
        }
        self.ids["channel_id"], self.ids["delivery_id"] = await dead_letter(world.database, self._admin.actor)

    async def session(self) -> str:
        """Open one more session."""
        return (await self._stage.world.sign_in(self._admin)).access_token


@pytest.fixture
async def town(stage: Stage) -> Town:
    admin = (await stage.world.organization()).admin
    made = Town(stage, admin, (await stage.world.sign_in(admin)).access_token)
    await made.settle()
    return made


def answer_to(case: Case[Any], stage: Stage, token: str) -> Any:
    """Send a case and return the whole answer."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {token}"}
        return case.call(base_url=base_of(stage), session=session, headers=headers, timeout=20)


def head_of(case: Case[Any], stage: Stage, token: str) -> tuple[int, str]:
    """Send a case whose answer may be a stream without an end; return its status and type."""
    headers = {"Authorization": f"Bearer {token}"}
    with requests.Session() as session:
        session.trust_env = False
        sent = case.as_transport_kwargs(base_url=base_of(stage), headers=headers)
        with session.request(**sent, stream=True, timeout=20) as answer:
            return answer.status_code, answer.headers["Content-Type"].partition(";")[0]


def base_of(stage: Stage) -> str:
    return f"http://127.0.0.1:{stage.port}"


@pytest.mark.timeout(240)  # Guesses at passwords are slowed, as they should be.
@settings(max_examples=50, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_whatever_the_file_allows_or_forbids_is_answered_without_a_fault(
    stage: Stage, town: Town, data: st.DataObject
) -> None:
    for label in data.draw(
        st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=5, max_size=5, unique=True)
    ):
        case: Case[Any] = data.draw(
            OPERATIONS[label].as_strategy(generation_mode=data.draw(st.sampled_from(MODES))), label=label
        )
        for name in set(case.path_parameters) & set(town.ids):
            choice = data.draw(st.sampled_from(["real", "unknown", "given"]), label=name)
            if choice != "given":
                case.path_parameters[name] = str(town.ids[name] if choice == "real" else uuid4())
        await try_out(case, stage, town)


async def try_out(case: Case[Any], stage: Stage, town: Town) -> None:
    label = case.operation.label
    if label.endswith("/validation") and case.path_parameters["message_id"] == str(town.ids["message_id"]):
        case.path_parameters["message_id"] = str(town.ids["answer_id"])
    if label in STREAMS:
        status, kind = await asyncio.to_thread(head_of, case, stage, town.token)
        assert status < 500
        assert kind == ("text/event-stream" if status == 200 else "application/problem+json")
        return
    token = await town.session() if label in LEAVING else town.token
    response = await asyncio.to_thread(answer_to, case, stage, token)
    case.validate_response(response, checks=CHECKS)
    if case.method == "DELETE" and response.status_code < 300:
        await town.settle()
