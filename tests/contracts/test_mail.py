"""Letters: what they say, that nothing breaks out of them, and what every mailbox does with them."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Literal
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.adapters.mail import (
    Letter,
    LetterWriter,
    Mailbox,
    MailboxInMemory,
    MailFromInvalid,
    SmtpMailbox,
    SmtpUrlInvalid,
    read_smtp_url,
)
from engine.domains.notifications import (
    DeliveryDelayed,
    DeliveryRefused,
    DeliveryUnknown,
    Note,
    Office,
    Purpose,
    Tiding,
)
from tests.contracts.mail_servers import Post, make_certificate, misbehaving, real_server, talk_until
from tests.postal import SEAL

OFFICE = Office(SEAL, public_url="https://rugpt.example", api_base="/api/v1/web")
WRITER = LetterWriter(OFFICE, mail_from="РуГПТ <rugpt@example.com>")
CHAT = UUID(int=7)


def tiding(
    headline: str = "Черновик @@lawyer ждёт вашей подписи", body: str = "**Можно**", **more: object
) -> Tiding:
    values: dict[str, object] = {
        "notification_id": uuid4(), "kind": "draft", "headline": headline, "body": body, "is_cut": False,
        "chat_id": CHAT, "chat_title": "Кадры", "message_id": uuid4(), "subject_id": None, "may_sign": True,
        "created_at": datetime.now(UTC),
    }  # fmt: skip
    return Tiding(**(values | more))  # type: ignore[arg-type]


def note(
    *tidings: Tiding,
    address: str = "ann@example.com",
    purpose: Purpose = "note",
    locale: Literal["ru", "en"] = "ru",
    code: str | None = None,
) -> Note:
    return Note(uuid4(), uuid4(), uuid4(), purpose, address, locale, tidings, code)


def read(letter: Letter) -> EmailMessage:
    return message_from_bytes(letter.content, policy=default)


def body_of(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def test_a_letter_says_it_in_text_and_html_and_can_be_silenced_by_a_link() -> None:
    written = note(tiding())

    letter = read(WRITER.write(written))

    assert letter["Subject"] == "Черновик @@lawyer ждёт вашей подписи"
    assert letter["From"] == "РуГПТ <rugpt@example.com>"
    assert letter["To"] == "ann@example.com"
    assert letter["Message-ID"] == f"<{written.delivery_id}@example.com>"
    assert letter["Auto-Submitted"] == "auto-generated"
    link = OFFICE.unsubscribe_link(org_id=written.org_id, channel_id=written.channel_id)
    assert letter["List-Unsubscribe"] == f"<{link}>"
    raw = WRITER.write(written).content
    assert f"\r\nList-Unsubscribe: <{link}>\r\n".encode() in raw
    assert letter["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "**Можно**" in body_of(letter, "plain")
    assert "<strong>Можно</strong>" in body_of(letter, "html")
    for kind in ("plain", "html"):
        assert f"https://rugpt.example/#/chats/{CHAT}" in body_of(letter, kind)
        assert str(link) in body_of(letter, kind)
        assert "организации" in body_of(letter, kind)


def test_letters_about_one_chat_are_one_thread_and_a_digest_of_several_is_none() -> None:
    first, second = read(WRITER.write(note(tiding()))), read(WRITER.write(note(tiding(), tiding())))
    mixed = read(WRITER.write(note(tiding(), tiding(chat_id=uuid4()), purpose="digest", locale="en")))

    assert first["References"] == second["References"] == f"<chat.{CHAT}@example.com>"
    assert mixed["References"] is None
    assert mixed["Subject"] == "New notifications: 2"


def test_a_code_and_a_test_are_written_in_the_readers_language() -> None:
    russian = read(WRITER.write(note(purpose="code", code="12345678")))
    english = read(WRITER.write(note(purpose="code", code="12345678", locale="en")))

    assert russian["Subject"] == "Код подтверждения: 12345678"
    assert english["Subject"] == "Verification code: 12345678"
    assert "15 минут" in body_of(russian, "html")
    assert english["List-Unsubscribe"] is None
    assert read(WRITER.write(note(purpose="test", locale="en")))["Subject"] == "A test of RuGPT notifications"


def test_what_people_and_models_wrote_does_nothing_in_a_letter() -> None:
    evil = "<script>alert(1)</script> [x](javascript:alert(1)) ![p](https://spy.example/p.png)"
    evil += " <img src=x onerror=y>"

    html = body_of(read(WRITER.write(note(tiding("<b onload=x>Заголовок</b>", evil)))), "html")

    assert "<script" not in html
    assert "<img" not in html
    assert 'href="javascript' not in html
    assert "<b onload" not in html


@given(st.text(max_size=300), st.text(max_size=500))
def test_no_text_breaks_out_of_its_place(headline: str, body: str) -> None:
    headline, body = (text.encode(errors="ignore").decode() for text in (headline, body))

    letter = WRITER.write(note(tiding(headline, body)))

    head = letter.content.partition(b"\r\n\r\n")[0].decode()
    names = [line.partition(":")[0] for line in head.split("\r\n") if line[:1] not in (" ", "\t")]
    assert sorted(names) == sorted({
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "In-Reply-To", "References",
        "List-Unsubscribe", "List-Unsubscribe-Post", "MIME-Version", "Content-Type",
    })  # fmt: skip
    assert all(len(line) <= 998 for line in letter.content.split(b"\r\n"))
    assert len(list(read(letter).walk())) == 3


@pytest.mark.parametrize("sender", ["rugpt", "a@b\r\nBcc: c@d", "<>", "a@b c", "a@домен\n"])
def test_a_sender_that_is_no_address_is_refused_at_the_start(sender: str) -> None:
    with pytest.raises(MailFromInvalid):
        LetterWriter(OFFICE, mail_from=sender)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example", ("mail.example", 587, "starttls", None, None)),
        ("smtp://mail.example:2525?tls=none", ("mail.example", 2525, "none", None, None)),
        ("smtp://u%40x:p%40ss%2Fword@h?tls=implicit", ("h", 465, "implicit", "u@x", "p@ss/word")),
    ],
)
def test_the_setting_says_where_and_how(url: str, expected: tuple[object, ...]) -> None:
    server = read_smtp_url(url)

    assert (server.host, server.port, server.tls, server.username, server.password) == expected


@pytest.mark.parametrize(
    "url",
    ["", "mail.example", "http://mail.example", "smtp://", "smtp://h?tls=maybe", "smtp://h?tls=none&tls=none",
     "smtp://h:99999", "smtp://h?ssl=1", "smtp://h/path", "smtp://u:secret-word@h:x"],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SmtpUrlInvalid) as refusal:
        read_smtp_url(url)
    assert "secret-word" not in str(refusal.value)


# Every mailbox.


@pytest.fixture(params=["memory", "none", "starttls", "implicit"])
async def mailbox(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Mailbox, Post | MailboxInMemory]]:
    """Every way to hand letters over."""
    if request.param == "memory":
        memory = MailboxInMemory()
        yield memory, memory
        return
    post, certificate = Post(), make_certificate(tmp_path)
    async with real_server(
        post, tls=request.param, certificate=certificate, wants_login=request.param != "none"
    ) as port:
        login = "" if request.param == "none" else "rugpt:p%40ss%2Fword@"
        url = f"smtp://{login}127.0.0.1:{port}?tls={request.param}"
        context = ssl.create_default_context(cafile=str(certificate))
        made = SmtpMailbox(read_smtp_url(url), talk_seconds=3, context=context)
        yield made, post
        await made.close()


async def test_every_mailbox_takes_a_letter_as_it_is(
    mailbox: tuple[Mailbox, Post | MailboxInMemory],
) -> None:
    box, post = mailbox
    letters = [WRITER.write(note(tiding(body=f"Строка.\n.\n..{number}\nКонец"))) for number in range(3)]

    for letter in letters:
        await box.deliver(letter)

    if isinstance(post, MailboxInMemory):
        assert post.delivered == letters
        return
    assert [read(letter)["Message-ID"] for letter in letters] == [
        taken["Message-ID"] for taken in post.letters()
    ]
    assert "\n.\n..1\n" in body_of(post.letters()[1], "plain")
    assert post.envelopes[0].rcpt_tos == ["ann@example.com"]


@pytest.mark.parametrize(
    "address", ["a@b\r\nRCPT TO:<c@d>", "a b@example.com", "<a@b>", "", "иван@example.com"]
)
async def test_every_mailbox_refuses_what_is_no_address(
    mailbox: tuple[Mailbox, Post | MailboxInMemory], address: str
) -> None:
    box, _ = mailbox
    letter = WRITER.write(note(tiding()))

    with pytest.raises(DeliveryRefused):
        await box.deliver(Letter(letter.sender, address, letter.message_id, letter.content))


# A server that refuses, hangs, lies or goes away.


def smtp(port: int, tls: str = "none", **more: object) -> SmtpMailbox:
    return SmtpMailbox(read_smtp_url(f"smtp://127.0.0.1:{port}?tls={tls}"), talk_seconds=0.5, **more)  # type: ignore[arg-type]


def letter_to(address: str = "ann@example.com") -> Letter:
    return WRITER.write(note(tiding(), address=address))


async def test_an_address_in_a_russian_domain_is_reached() -> None:
    post = Post()
    async with real_server(post) as port:
        box = smtp(port)
        await box.deliver(letter_to("ivan@почта.рф"))
        await box.close()

    assert post.envelopes[0].rcpt_tos == ["ivan@xn--80a1acny.xn--p1ai"]


@pytest.mark.parametrize(
    ("address", "kind", "breaks"),
    [
        ("nobody", DeliveryRefused, True),
        ("elsewhere", DeliveryRefused, False),
        ("later", DeliveryDelayed, None),
    ],
)
async def test_what_the_server_says_of_an_address_decides(
    address: str, kind: type[Exception], breaks: bool | None
) -> None:
    async with real_server(Post()) as port:
        with pytest.raises(kind) as refusal:
            await smtp(port).deliver(letter_to(f"{address}@example.com"))

    assert getattr(refusal.value, "breaks_channel", None) is breaks


@pytest.mark.parametrize(
    ("said", "kind"), [("451 disk full", DeliveryDelayed), ("554 spam", DeliveryRefused)]
)
async def test_what_the_server_says_of_a_letter_decides(said: str, kind: type[Exception]) -> None:
    post = Post(refusals=[said])
    async with real_server(post) as port:
        box = smtp(port)
        with pytest.raises(kind, match=said[:3]):
            await box.deliver(letter_to())
        await box.deliver(letter_to())  # The next one is taken.
        await box.close()

    assert len(post.envelopes) == 1


async def test_nobody_listens() -> None:
    async with misbehaving(lambda _reader, _writer: asyncio.sleep(0)) as port:
        pass

    with pytest.raises(DeliveryDelayed):
        await smtp(port).deliver(letter_to())


@pytest.mark.parametrize("command", [b"", b"EHLO", b"MAIL", b"RCPT"])
async def test_a_server_that_hangs_before_it_has_the_letter_has_not_got_it(command: bytes) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if command:
            await talk_until(reader, writer, command)
        await asyncio.sleep(60)

    async with misbehaving(hang) as port:
        with pytest.raises(DeliveryDelayed):
            await smtp(port).deliver(letter_to())


@pytest.mark.parametrize("manner", ["hangs", "hangs up", "talks nonsense", "goes on"])
async def test_a_server_that_does_not_acknowledge_the_letter_may_have_it(manner: str) -> None:
    async def lose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk_until(reader, writer, b"DATA")
        writer.write(b"354 go on\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        if manner == "hangs":
            await asyncio.sleep(60)
        elif manner == "talks nonsense":
            writer.write(b"\xff\xfe\r\n\r\n")
            await asyncio.sleep(60)
        elif manner == "goes on":
            writer.write(b"354 and on\r\n")
            await asyncio.sleep(60)

    async with misbehaving(lose) as port:
        with pytest.raises(DeliveryUnknown):
            await smtp(port).deliver(letter_to())


async def test_tls_is_not_done_without_where_it_was_asked_for() -> None:
    seen: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.test ESMTP\r\n")
        while line := await reader.readline():
            seen.append(line)
            writer.write(
                b"250-mail.test\r\n250 AUTH PLAIN\r\n" if line.startswith(b"EHLO") else b"250 ok\r\n"
            )

    async with misbehaving(plain) as port:
        box = SmtpMailbox(read_smtp_url(f"smtp://u:secret@127.0.0.1:{port}"), talk_seconds=0.5)
        with pytest.raises(DeliveryDelayed):
            await box.deliver(letter_to())

    assert not [line for line in seen if line.upper().startswith((b"AUTH", b"MAIL", b"DATA"))]


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    post = Post()
    for tls in ("starttls", "implicit"):
        async with real_server(post, tls=tls, certificate=make_certificate(tmp_path)) as port:
            with pytest.raises(DeliveryDelayed):
                await smtp(port, tls).deliver(letter_to())

    assert post.envelopes == []


async def test_a_server_that_refuses_the_login_is_told_without_the_password() -> None:
    async with real_server(Post(), wants_login=True) as port:
        box = SmtpMailbox(read_smtp_url(f"smtp://u:secret@127.0.0.1:{port}?tls=none"), talk_seconds=1)
        with pytest.raises(DeliveryDelayed) as refusal:
            await box.deliver(letter_to())

    assert "secret" not in str(refusal.value)
    assert "login" in str(refusal.value)


async def test_a_connection_that_the_server_has_dropped_is_made_anew() -> None:
    post = Post()
    async with real_server(post) as port:
        box = smtp(port)
        await box.deliver(letter_to())
        for client in box._idle:
            client.close()
        await box.deliver(letter_to())
        await box.close()

    assert len(post.envelopes) == 2
