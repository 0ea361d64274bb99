"""The main job, whole: a real engine, its own database, a real language model, three people."""

import os
import tempfile
from pathlib import Path

import pytest

from tests.process.conftest import Follow
from tests.process.engine import register, running

LOCAL = {"RUGPT_OLLAMA_URL": "http://127.0.0.1:9", "RUGPT_MODEL_ANSWER_TOKENS": "60"}


def weights_folder() -> Path:
    """Return where weights are kept between test runs."""
    default = Path(__file__).resolve().parents[2] / ".tools" / "models"
    return Path(os.environ.get("RUGPT_TEST_MODELS") or default)


@pytest.mark.model
@pytest.mark.timeout(400)
async def test_a_lawyer_of_a_real_model_answers_a_group_and_is_signed(follow: Follow) -> None:
    with tempfile.TemporaryDirectory(prefix="rugpt-process-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        data.mkdir()
        weights_folder().mkdir(parents=True, exist_ok=True)
        (data / "models").symlink_to(weights_folder())  # Fetched once, wherever it is missing.
        async with running(data, LOCAL, "--tiny") as engine:
            ann = await register(engine.port)
            boris, vera = await ann.hire("boris"), await ann.hire("vera")
            chat_id = await ann.open_chat(boris, vera, roles=("lawyer",))
            follower, veras = await follow(boris, chat_id), await follow(vera, chat_id)

            posted = await boris.post(chat_id, "@@lawyer @vera Что проверить в договоре поставки? Кратко.")
            (run,) = posted["runs"]
            for characters in (10, 30):
                await follower.until(
                    lambda seen, characters=characters: any(  # type: ignore[misc]
                        len(one.text) > characters or one.status == "completed" for one in seen.runs.values()
                    ),
                    seconds=200,
                )
                follower.cut()
            await follower.until(lambda seen: seen.has_ended(), seconds=200)
            await veras.until(lambda seen: seen.has_ended(), seconds=30)

            assert follower.connections == 3
            assert follower.picture.runs[run["id"]].status == "completed"
            assert follower.picture.texts_checked == veras.picture.texts_checked == 1
            (answer,) = follower.picture.answers
            assert answer["id"] == run["answer_id"]
            assert answer["content"].strip()
            assert (answer["ai_validated"], answer["validation"]["status"]) == (False, "draft")
            await follower.check_against_fresh_load()

            sign = {"verdict": "approve", "comment": "Верно."}
            await vera.call("POST", f"/messages/{answer['id']}/validation", sign, expect=403)
            signed = await boris.call("POST", f"/messages/{answer['id']}/validation", sign)
            assert (signed["ai_validated"], signed["validation"]["status"]) == (True, "approved")
            for one in (follower, veras):
                await one.until(lambda seen: "message.validated" in seen.kinds)
                await one.check_against_fresh_load()
            assert await engine.terminate() <= 10
            assert engine.faults == []
