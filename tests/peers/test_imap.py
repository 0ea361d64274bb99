"""A letter on its whole way: to a real SMTP server, by LMTP into a real mailbox, and read there over IMAP."""

import asyncio
import pwd
import shutil
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import cast

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from imap_tools import MailBoxUnencrypted, MailMessage

from engine.adapters.mail import Letter, SmtpMailbox, read_smtp_url
from tests.contracts.mail_servers import Post, real_server
from tests.contracts.test_mail import OFFICE, WRITER, note, tiding

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]
CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{folder}/mail/%n
default_internal_user = {user}
default_login_user = {user}
first_valid_uid = 0
mail_uid = {uid}
mail_gid = {gid}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/home/%n
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
"""


class Forwarding(Post):
    """Hands what it takes over to a mailbox by LMTP."""

    def __init__(self, lmtp_port: int) -> None:
        super().__init__()
        self.lmtp_port = lmtp_port

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        def forward() -> None:
            with smtplib.LMTP("127.0.0.1", self.lmtp_port) as lmtp:
                recipients = [str(one) for one in envelope.rcpt_tos]
                lmtp.sendmail(str(envelope.mail_from), recipients, cast(bytes, envelope.content))

        await asyncio.to_thread(forward)
        return await super().handle_DATA(server, session, envelope)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@contextmanager
def dovecot(folder: Path) -> Iterator[tuple[int, int]]:
    """Run Dovecot as nobody's mail server; give its IMAP and LMTP ports."""
    user = pwd.getpwnam("nobody")
    ports = {"imap": free_port(), "lmtp": free_port()}
    for name in ("run", "state", "mail", "home"):
        (folder / name).mkdir()
    for place in (folder, *folder.rglob("*")):
        shutil.chown(place, user.pw_uid, user.pw_gid)
    for parent in folder.parents:
        if parent.stat().st_mode & 0o005 != 0o005 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o005)
    file = folder / "dovecot.conf"
    file.write_text(
        CONFIGURATION.format(folder=folder, user="nobody", uid=user.pw_uid, gid=user.pw_gid, **ports)
    )
    process = subprocess.Popen(["dovecot", "-F", "-c", str(file)])
    try:
        patience = monotonic() + 20
        while not all(_listens(port) for port in ports.values()):
            assert process.poll() is None, (folder / "log").read_text()
            assert monotonic() < patience, (folder / "log").read_text()
            sleep(0.05)
        yield ports["imap"], ports["lmtp"]
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def letters_in(port: int, user: str) -> list[MailMessage]:
    with MailBoxUnencrypted("127.0.0.1", port).login(user, "any") as box:
        return list(box.fetch())


async def sent_twice(letter: Letter, imap: int, lmtp: int) -> list[MailMessage]:
    """Send a letter again, as after a lost acknowledgement; return what came into the mailbox."""
    async with real_server(Forwarding(lmtp)) as smtp:
        box = SmtpMailbox(read_smtp_url(f"smtp://127.0.0.1:{smtp}?tls=none"))
        await box.deliver(letter)
        await box.deliver(letter)
        await box.close()
    return await asyncio.to_thread(letters_in, imap, "ann")


async def test_a_letter_is_read_over_imap_as_it_was_written(tmp_path: Path) -> None:
    written = note(tiding("Черновик «Ромашки» ждёт подписи — №1", "**Можно**, но «не сразу».\n\n.\nС точкой"))
    letter = WRITER.write(written)

    with dovecot(tmp_path) as (imap, lmtp):
        read = await sent_twice(letter, imap, lmtp)

    assert len(read) == 2
    for message in read:
        assert message.subject == "Черновик «Ромашки» ждёт подписи — №1"
        assert message.from_values is not None
        assert (message.from_values.name, message.from_values.email) == ("РуГПТ", "rugpt@example.com")
        assert message.to == ("ann@example.com",)
        assert "**Можно**, но «не сразу».\r\n\r\n.\r\nС точкой" in message.text
        assert "<strong>Можно</strong>, но «не сразу»." in message.html
        assert message.headers["message-id"] == (letter.message_id,)
        assert message.headers["references"] == (f"<chat.{written.tidings[0].chat_id}@example.com>",)
        link = OFFICE.unsubscribe_link(org_id=written.org_id, channel_id=written.channel_id)
        assert message.headers["list-unsubscribe"] == (f"<{link}>",)
        assert message.attachments == []
