"""Models that are down, stall, talk nonsense or never stop: the run ends, says why, and can be retried."""

import asyncio
from dataclasses import dataclass
from typing import Any

from tests.process.conftest import Follow, StartEngine
from tests.process.engine import Person, register
from tests.process.model import PlannedModel, Script, has_tool_result


@dataclass(frozen=True)
class Case:
    """How the model behaves, and what becomes of the run."""

    first: Script
    then: Script | None = None  # for requests that bring a tool's result
    status: str = "failed"
    code: str | None = None
    limit: tuple[str | None, ...] = (None,)
    says: str = ""


def wish(tool: str, arguments: str = "{}") -> Script:
    return Script(pieces=(), tool_calls=((tool, arguments),))


CASES = {
    "ломается": Case(Script(refusals=[(503, "overloaded", {})] * 20), code="model_unavailable"),
    "отказывает": Case(Script(refusals=[(400, "no such thing", {})] * 20), code="model_unavailable"),
    "молчит": Case(Script(first_token_seconds=30), code="model_timeout"),
    "замолкает": Case(Script(ending="silent"), code="model_timeout"),
    "бредит": Case(Script(raw=b"<html>\x00\xff\xfe garbage</html>"), code="model_garbled"),
    "обрывает": Case(Script(ending="unfinished"), code="model_garbled"),
    "пуст": Case(Script(pieces=()), code="model_garbled"),
    "сбоит": Case(Script(ending="error"), code="model_unavailable"),
    "выдумывает": Case(
        wish("launch_rockets"), Script(pieces=("Обойдусь без ракет.",)), status="completed", says="Обойдусь"
    ),
    "путается": Case(
        wish("search_messages", '{"query": 5, "x": [1]}'),
        Script(pieces=("Не нашёл.",)),
        status="completed",
        says="Не нашёл",
    ),
    "зациклен": Case(
        wish("current_time"), wish("current_time"), status="completed", limit=("steps",), says="8"
    ),
    "бесконечен": Case(
        Script(ending="endless"), status="completed", limit=("tokens", "window"), says="слово"
    ),
}


async def test_a_model_that_misbehaves_ends_its_run_in_words(
    start_engine: StartEngine, follow: Follow, model: PlannedModel
) -> None:
    def plan(body: dict[str, Any]) -> Script:
        asked = next(one["content"] for one in reversed(body["messages"]) if one["role"] == "user")
        case = next(case for word, case in CASES.items() if f"тот, кто {word}." in asked)
        return case.then if case.then and has_tool_result(body) else case.first

    model.plan = plan
    engine = await start_engine(RUGPT_MODEL_FIRST_TOKEN_SECONDS="3", RUGPT_MODEL_TOTAL_SECONDS="6")
    ann = await register(engine.port)

    async def ask(word: str) -> tuple[str, str | None, str | None, str]:
        chat_id = await ann.open_chat()
        follower = await follow(ann, chat_id)
        run_id = (await ann.post(chat_id, f"@@lawyer, отвечает тот, кто {word}."))["runs"][0]["id"]
        await follower.until(lambda seen: seen.has_ended(), seconds=30)
        await follower.check_against_fresh_load()
        run = await ann.run(run_id)
        code = run["error"]["code"] if run["error"] else None
        assert follower.picture.runs[run_id].failure.get("code") == code
        texts = [message["content"] for message in follower.picture.answers]
        return run["status"], code, run["limit"], "".join(texts)

    outcomes = dict(zip(CASES, await asyncio.gather(*map(ask, CASES)), strict=True))

    wrong = {
        word: outcomes[word]
        for word, case in CASES.items()
        if outcomes[word][:2] != (case.status, case.code)
        or outcomes[word][2] not in case.limit
        or case.says not in outcomes[word][3]
        or (case.status == "failed" and outcomes[word][3])
    }
    assert engine.faults == []
    assert wrong == {}
    assert engine.faults == []


async def test_a_run_that_failed_for_want_of_a_model_is_retried(
    start_engine: StartEngine, follow: Follow, model: PlannedModel
) -> None:
    engine = await start_engine()
    ann = await register(engine.port)
    chat_id = await ann.open_chat()
    follower = await follow(ann, chat_id)
    model.script = Script(refusals=[(503, "overloaded", {})] * 20)
    run_id = (await ann.post(chat_id, "@@lawyer Что со сроком?"))["runs"][0]["id"]
    await follower.until(lambda seen: seen.has_ended())
    assert follower.picture.runs[run_id].failure["code"] == "model_unavailable"
    assert follower.picture.answers == []

    model.script = Script(pieces=("Срок ", "прошёл."))
    await ann.call("POST", f"/runs/{run_id}/retry")
    await follower.until(lambda seen: bool(seen.answers) and seen.has_ended())

    assert follower.picture.runs[run_id].status == "completed"
    assert follower.picture.texts_checked == 1
    assert [message["content"] for message in follower.picture.answers] == ["Срок прошёл."]
    await check_retry_is_refused(ann, run_id)
    await follower.check_against_fresh_load()
    assert engine.faults == []


async def check_retry_is_refused(person: Person, run_id: str) -> None:
    refused = await person.call("POST", f"/runs/{run_id}/retry", expect=409)
    assert refused["code"] == "run_not_retryable"
