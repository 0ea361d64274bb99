"""The doctor on mail and Telegram: whether they are set up, and whether they answer."""

import pytest

from engine.cli.doctor.findings import State
from engine.cli.doctor.post import look_at_post
from engine.core.settings import Settings
from tests.contracts.mail_servers import Post, real_server
from tests.telegram_api import TOKEN, bot_api


async def found(**settings: str) -> dict[str, tuple[State, str]]:
    # Without the `.env` of whoever runs the tests.
    made = Settings.model_construct(**{**Settings.model_validate({}).model_dump(), **_read(settings)})
    return {finding.about: (finding.state, finding.text) for finding in await look_at_post(made)}


def _read(settings: dict[str, str]) -> dict[str, object]:
    validated = Settings.model_validate(settings)
    return {name: getattr(validated, name) for name in settings}


async def test_what_is_not_set_up_is_worth_knowing() -> None:
    findings = await found()

    assert {about: state for about, (state, _) in findings.items()} == dict.fromkeys(
        ("mail", "telegram", "links"), State.NOTE
    )


async def test_what_answers_is_well_and_nothing_is_sent() -> None:
    post = Post()
    async with real_server(post) as port, bot_api() as api:
        findings = await found(
            smtp_url=f"smtp://127.0.0.1:{port}?tls=none",
            telegram_token=TOKEN,
            telegram_api_url=api.url,
            public_url="https://rugpt.example",
        )

    assert {about: state for about, (state, _) in findings.items()} == dict.fromkeys(
        ("mail", "telegram", "links"), State.OK
    )
    assert findings["telegram"][1] == "@rugpt_bot answers"
    assert (post.envelopes, api.sent) == ([], [])


async def test_what_does_not_answer_is_told_without_its_secrets() -> None:
    async with real_server(Post()) as port, bot_api() as api:
        address = api.url
    findings = await found(
        smtp_url=f"smtp://user:secret-word@127.0.0.1:{port}?tls=none",
        telegram_token="123456:another-secret",
        telegram_api_url=address,
    )

    assert findings["mail"][0] is findings["telegram"][0] is State.MISSING
    assert "secret" not in str(findings)


@pytest.mark.parametrize(
    ("settings", "about"),
    [
        ({"smtp_url": "mail.example"}, "mail"),
        ({"smtp_url": "smtp://mail.example", "mail_from": "nobody"}, "mail"),
        ({"telegram_token": "no token"}, "telegram"),
    ],
)
async def test_a_setting_that_makes_no_sense_is_named(settings: dict[str, str], about: str) -> None:
    state, text = (await found(**settings))[about]

    assert state is State.MISSING
    assert "RUGPT_" in text


async def test_telegram_cannot_call_what_is_not_https() -> None:
    async with bot_api() as api:
        findings = await found(
            telegram_token=TOKEN,
            telegram_api_url=api.url,
            telegram_updates="webhook",
            public_url="http://rugpt.example",
        )

    assert findings["telegram"][0] is State.MISSING
