"""Runs with a worker behind them: from a question to its one answer, whatever the model does."""

import asyncio
import time
from typing import Any

import pytest

from engine.domains.runs import ModelGarbled, ModelTimeout, ModelUnavailable
from engine.worker import Worker
from engine.worker import worker as worker_module
from tests.edge.serving import ENDS, Client, Stage, eventually, kind, to_the_end, until
from tests.unit.scripted_model import ScriptedModel, say
from tests.world import Firm


async def ended(client: Client, run_id: str) -> dict[str, Any]:
    """Wait for a run's end and return it."""
    found: dict[str, Any] = {}

    async def has_ended() -> bool:
        found.update(await client.call("GET", f"/runs/{run_id}"))
        return f"run.{found['status']}" in ENDS

    await eventually(has_ended)
    return found


async def answers(client: Client, chat_id: str) -> list[str]:
    page = await client.call("GET", f"/chats/{chat_id}/messages")
    return [one["content"] for one in page["items"] if one["role"]]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ModelUnavailable("нет связи"), "model_unavailable"),
        (ModelTimeout("молчит"), "model_timeout"),
        (ModelGarbled("мусор"), "model_garbled"),
        (ZeroDivisionError(), "internal_error"),
    ],
)
async def test_a_model_that_fails_fails_the_run_which_can_be_retried(
    stage: Stage, ann: Client, error: Exception, code: str
) -> None:
    stage.script(say("начало ", error=error), say("Со второго раза."))
    chat_id = await ann.open_chat()
    stream = await ann.follow(f"/chats/{chat_id}/events")
    (run,) = (await ann.post(chat_id, "@@lawyer"))["runs"]
    heard = await until(stream, kind(*ENDS))

    assert (heard[-1].kind, heard[-1].data["code"]) == ("run.failed", code)
    assert (await ended(ann, run["id"]))["error"]["code"] == code
    assert await answers(ann, chat_id) == []
    retried = await ann.call("POST", f"/runs/{run['id']}/retry")
    assert (retried["status"], retried["error"]) in (("queued", None), ("running", None))
    again = await until(stream, kind(*ENDS))
    told = [one.kind for one in again if one.kind.startswith(("run.", "message."))]
    assert [each for each in told if each != "run.delta"] == [
        *["run.queued", "run.restarted", "message.created", "run.completed"]
    ]
    assert await answers(ann, chat_id) == ["Со второго раза."]


async def test_a_run_at_work_is_cancelled_within_a_second_and_the_model_stops(
    stage: Stage, ann: Client
) -> None:
    stage.script(say("слово ", pause=0.01, forever=True))
    chat_id = await ann.open_chat()
    stream = await ann.follow(f"/chats/{chat_id}/events")
    (run,) = (await ann.post(chat_id, "@@lawyer"))["runs"]
    await until(stream, kind("run.delta"))

    began = time.monotonic()
    await ann.call("POST", f"/runs/{run['id']}/cancel")
    await until(stream, kind("run.cancelled"))

    assert time.monotonic() - began < 1
    assert stage.model.open == 0
    assert (await ended(ann, run["id"]))["status"] == "cancelled"
    assert (await ann.call("POST", f"/runs/{run['id']}/cancel", expect=409))["code"] == "run_has_ended"
    assert await answers(ann, chat_id) == []


async def test_a_waiting_run_is_cancelled_at_once_and_never_worked(stage: Stage, ann: Client) -> None:
    stage.script(say("слово ", pause=0.01, forever=True), say("Потом."))
    chat_id = await ann.open_chat()
    (first,) = (await ann.post(chat_id, "@@lawyer раз"))["runs"]
    (second,) = (await ann.post(chat_id, "@@lawyer два"))["runs"]
    of_second = await ann.follow(f"/runs/{second['id']}/events")

    assert (await ann.call("POST", f"/runs/{second['id']}/cancel"))["status"] == "cancelled"
    assert [event.kind for event in await to_the_end(of_second)] == ["run.cancelled"]
    await ann.call("POST", f"/runs/{first['id']}/cancel")
    await ended(ann, first["id"])

    assert len(stage.model.requests) == 1


async def test_a_nul_or_half_a_character_of_a_model_costs_at_most_its_own_run(
    stage: Stage, ann: Client
) -> None:
    stage.script(say("до\0после"), say("половина \ud800 знака"), say("Целое."))
    chat_ids = [await ann.open_chat() for _ in range(3)]
    found = []
    for chat_id in chat_ids:
        (run,) = (await ann.post(chat_id, "@@lawyer"))["runs"]
        found.append((await ended(ann, run["id"]))["status"])

    assert found[0] == found[2] == "completed"
    assert found[1] in ("completed", "failed")
    assert await answers(ann, chat_ids[0]) == ["допосле"]
    assert await answers(ann, chat_ids[2]) == ["Целое."]


async def test_a_run_that_was_lost_five_times_fails_and_says_so(
    stage: Stage, ann: Client, firm: Firm
) -> None:
    await stage.worker.stop()
    chat_id = await ann.open_chat()
    (run,) = (await ann.post(chat_id, "@@lawyer"))["runs"]
    for _ in range(5):
        assert len(await stage.world.claim(lease_seconds=0)) == 1

    worker, model = await another_worker(stage)
    found = await ended(ann, run["id"])
    await worker.stop()

    assert (found["status"], found["error"]["code"]) == ("failed", "worker_lost")
    assert model.requests == []


async def test_a_run_whose_worker_went_silent_is_taken_over_and_answered_once(
    stage: Stage, ann: Client
) -> None:
    await stage.worker.stop()
    chat_id = await ann.open_chat()
    stream = await ann.follow(f"/chats/{chat_id}/events")
    (run,) = (await ann.post(chat_id, "@@lawyer"))["runs"]
    (lost,) = await stage.world.claim(lease_seconds=0.2)

    worker, _ = await another_worker(stage)
    heard = await until(stream, kind(*ENDS))
    await worker.stop()

    assert "run.restarted" in [event.kind for event in heard]
    assert lost.id.hex == run["id"].replace("-", "")
    assert await answers(ann, chat_id) == ["Второй."]


async def test_a_worker_that_stops_hands_its_runs_to_another_at_once(stage: Stage, ann: Client) -> None:
    stage.script(say("слово ", pause=0.01, forever=True))
    chat_id = await ann.open_chat()
    stream = await ann.follow(f"/chats/{chat_id}/events")
    await ann.post(chat_id, "@@lawyer @@hr")
    await until(stream, kind("run.delta"))

    await stage.worker.stop()
    assert stage.model.open == 0
    worker, _ = await another_worker(stage)
    heard = [*await until(stream, kind(*ENDS)), *await until(stream, kind(*ENDS))]
    await worker.stop()

    assert sum(event.kind == "run.completed" for event in heard) == 2
    assert await answers(ann, chat_id) == ["Второй.", "Второй."]


async def test_two_workers_answer_every_question_once(stage: Stage, ann: Client) -> None:
    stage.script(say("Второй."))
    worker, _ = await another_worker(stage)
    chat_ids = [await ann.open_chat() for _ in range(4)]

    posted = await asyncio.gather(
        *(ann.post(chat_id, f"@@lawyer @@hr {n}") for n in range(3) for chat_id in chat_ids)
    )
    for run in [run for one in posted for run in one["runs"]]:
        assert (await ended(ann, run["id"]))["status"] == "completed"
    await worker.stop()

    assert [len(await answers(ann, chat_id)) for chat_id in chat_ids] == [6] * 4


async def test_a_role_that_was_switched_off_after_it_was_asked_does_not_answer(
    stage: Stage, ann: Client
) -> None:
    await stage.worker.stop()
    chat_id = await ann.open_chat()
    (run,) = (await ann.post(chat_id, "@@lawyer"))["runs"]
    await ann.call("PATCH", "/organizations/current", {"roles": {"lawyer": {"enabled": False}}})

    worker, model = await another_worker(stage)
    found = await ended(ann, run["id"])
    await worker.stop()

    assert (found["status"], found["error"]["code"]) == ("failed", "role_unavailable")
    assert model.requests == []


async def test_a_role_reads_the_talk_with_names_and_without_what_was_deleted_or_rejected(
    stage: Stage, firm: Firm, ann: Client
) -> None:
    stage.script(say("Отвергнутое."), say("Принято."))
    ivan = await stage.enter(await stage.world.user(firm, "ivan", display_name="Иван Петров"))
    chat_id = await ann.open_chat(ivan)
    gone = await ivan.post(chat_id, "удалённое")
    await ivan.call("DELETE", f"/messages/{gone['message']['id']}")
    await ivan.post(chat_id, "сказанное")
    (run,) = (await ann.post(chat_id, "@@hr, раз"))["runs"]
    await ended(ann, run["id"])
    await ann.call("POST", f"/messages/{run['answer_id']}/validation", {"verdict": "reject"})
    (run,) = (await ann.post(chat_id, "@@lawyer, два"))["runs"]
    await ended(ann, run["id"])

    told = "\n".join(message.content for message in stage.model.requests[-1].messages)
    assert "Иван Петров (№2): сказанное" in told
    assert "@@lawyer, два" in told
    assert "удалённое" not in told
    assert "Отвергнутое" not in told


async def test_a_worker_without_room_takes_what_waits_as_soon_as_it_has_some(
    stage: Stage, ann: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "POLL_SECONDS", 60.0)
    monkeypatch.setattr(stage.worker, "_most_runs", lambda: 1)
    chat_id = await ann.open_chat()
    asked = (await ann.post(chat_id, "@@hr @@lawyer @@accountant, раз"))["runs"]

    assert [(await ended(ann, run["id"]))["status"] for run in asked] == ["completed"] * 3


async def another_worker(stage: Stage) -> tuple[Worker, ScriptedModel]:
    """Start a second worker on the stage's database, whose model says „Второй.“."""
    model = ScriptedModel([say("Второй.")])
    worker = Worker(stage.worker._settings, stage.world.database, stage.worker._roles, lambda: model)
    working = asyncio.create_task(worker.run_until_stopped())
    working.add_done_callback(lambda task: None if task.cancelled() else task.exception())
    await asyncio.sleep(0)
    return worker, model


def test_a_lost_run_is_tried_as_often_as_the_tests_say() -> None:
    assert worker_module.MOST_ATTEMPTS == 5
