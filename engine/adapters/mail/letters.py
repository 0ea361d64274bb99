"""Writes a note as a letter: text and HTML from templates, and headers that nothing can break out of."""

import re
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import cache
from html import escape
from pathlib import Path
from string import Template

import nh3
from markdown_it import MarkdownIt

from engine.core.errors import Invalid
from engine.core.text import one_line
from engine.domains.notifications import Note, Office, Tiding, say

TEMPLATES = Path(__file__).parent / "templates"
LONGEST_SUBJECT = 150
_TAGS = {
    *("p", "br", "hr", "em", "strong", "del", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
_SCHEMES = {"http", "https", "mailto"}
_DOMAIN = re.compile(r"[A-Za-z0-9.-]{1,253}")


class MailFromInvalid(Invalid):
    code = "mail_from_invalid"

    def __init__(self) -> None:
        super().__init__("RUGPT_MAIL_FROM is no address; write it as RuGPT <rugpt@example.com>.")


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter ready for the post: who it goes from and to, and its whole text."""

    sender: str
    recipient: str
    message_id: str
    content: bytes


class LetterWriter:
    """Writes letters in the name of one installation."""

    def __init__(self, office: Office, *, mail_from: str) -> None:
        self._office = office
        name, address = parseaddr(mail_from)
        local, _, domain = address.rpartition("@")
        is_plain = mail_from.isprintable() and mail_from.strip().rstrip(">").endswith(address)
        if not (is_plain and local and local.isascii() and _DOMAIN.fullmatch(domain)) or " " in address:
            raise MailFromInvalid
        self._from = Address(one_line(name, longest=200) or "RuGPT", addr_spec=address)
        self._domain = domain

    def write(self, note: Note) -> Letter:
        """Write a letter; the same note gives the same letter, but for its date."""
        subject = self._subject(note)
        message = EmailMessage(policy=SMTP)
        message["From"] = self._from
        recipient = _in_ascii(note.address)
        if recipient.isascii():  # One that is not is refused before it reaches a server.
            message["To"] = Address(addr_spec=recipient)
        message["Subject"] = subject
        message["Date"] = format_datetime(datetime.now().astimezone())
        message["Auto-Submitted"] = "auto-generated"
        unsubscribe = self._unsubscribe_link(note)
        message.set_content(self._text(note, subject, unsubscribe), cte="quoted-printable")
        message.add_alternative(
            self._html(note, subject, unsubscribe), subtype="html", cte="quoted-printable"
        )
        message_id = f"<{note.delivery_id}@{self._domain}>"
        # Long words would be folded into encoded ones, which no program takes for an address.
        lines = [("Message-ID", message_id), *self._thread(note)]
        if unsubscribe is not None:
            lines.append(("List-Unsubscribe", f"<{unsubscribe}>"))
            lines.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines).encode("ascii")
        return Letter(self._from.addr_spec, recipient, message_id, head + message.as_bytes())

    def _subject(self, note: Note) -> str:
        if note.purpose == "code":
            text = say(note.locale, "code", {"code": note.code})
        elif note.purpose == "test":
            text = say(note.locale, "test")
        elif len(note.tidings) == 1:
            text = note.tidings[0].headline
        else:
            text = say(note.locale, "digest", {"count": len(note.tidings)})
        line = (
            one_line("".join(sign if sign.isprintable() else " " for sign in text), longest=10_000) or "RuGPT"
        )
        return line if len(line) <= LONGEST_SUBJECT else line[: LONGEST_SUBJECT - 1] + "…"

    def _thread(self, note: Note) -> list[tuple[str, str]]:
        """Let letters about one chat stand together in the reader's mail program."""
        chats = {tiding.chat_id for tiding in note.tidings}
        if len(chats) != 1 or (chat_id := chats.pop()) is None:
            return []
        root = f"<chat.{chat_id}@{self._domain}>"
        return [("In-Reply-To", root), ("References", root)]

    def _unsubscribe_link(self, note: Note) -> str | None:
        if note.purpose == "code":
            return None  # It is not subscribed yet.
        return self._office.unsubscribe_link(org_id=note.org_id, channel_id=note.channel_id)

    def _text(self, note: Note, subject: str, unsubscribe: str | None) -> str:
        items = [
            _template("item.txt").substitute(
                headline=tiding.headline, body=self._plain(note, tiding), link=self._link(tiding) or ""
            )
            for tiding in note.tidings
        ]
        return _template("letter.txt").substitute(
            content="\n".join(items) if items else _plain_words(note),
            title=subject,
            footer=say(note.locale, "footer"),
            unsubscribe=f"{say(note.locale, 'unsubscribe')}: {unsubscribe}" if unsubscribe else "",
        )

    def _html(self, note: Note, subject: str, unsubscribe: str | None) -> str:
        items = [
            _template("item.html").substitute(
                headline=escape(tiding.headline),
                body=_as_html(tiding.body),
                cut=f"<p><em>{escape(say(note.locale, 'is_cut'))}</em></p>" if tiding.is_cut else "",
                link=_anchor(self._link(tiding), say(note.locale, "open")),
            )
            for tiding in note.tidings
        ]
        return _template("letter.html").substitute(
            locale=note.locale,
            title=escape(subject),
            content="\n".join(items) if items else f"<p>{escape(_plain_words(note))}</p>",
            footer=escape(say(note.locale, "footer")),
            unsubscribe=_anchor(unsubscribe, say(note.locale, "unsubscribe")),
        )

    def _plain(self, note: Note, tiding: Tiding) -> str:
        return f"{tiding.body}\n\n{say(note.locale, 'is_cut')}" if tiding.is_cut else tiding.body

    def _link(self, tiding: Tiding) -> str | None:
        return self._office.chat_link(tiding.chat_id)


def _in_ascii(address: str) -> str:
    """Return an address with its domain as the DNS knows it."""
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return address


def _plain_words(note: Note) -> str:
    if note.purpose == "code":
        return f"{say(note.locale, 'code', {'code': note.code})}\n\n{say(note.locale, 'code_body')}"
    return say(note.locale, "test_body")


@cache
def _template(name: str) -> Template:
    return Template((TEMPLATES / name).read_text("utf-8"))


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _as_html(text: str) -> str:
    """Return Markdown that people and models wrote as HTML that does nothing: no images, no scripts."""
    html = _markdown().render(text)
    return nh3.clean(html, tags=_TAGS, attributes={"a": {"href"}}, url_schemes=_SCHEMES)


def _anchor(link: str | None, words: str) -> str:
    return f'<p><a href="{escape(link)}">{escape(words)}</a></p>' if link else ""
