"""Turns Markdown into plain text with entities, in pieces that fit into Telegram messages.

With explicit entities there is nothing to escape, and no text that Telegram could fail to parse.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from markdown_it.token import Token

LONGEST = 4096  # UTF-16 code units, which is how Telegram counts
MOST_ENTITIES = 100  # What is beyond them Telegram drops without a word.
_BORDERS = ("\n\n", "\n", " ")
_STYLES = {"strong": "bold", "em": "italic", "s": "strikethrough"}


@dataclass(frozen=True, slots=True)
class Entity:
    """A part of a text that looks otherwise; counted in UTF-16 code units."""

    kind: str
    offset: int
    length: int
    url: str | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A text of at most 4096 UTF-16 code units, and how its parts look."""

    text: str
    entities: tuple[Entity, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """A line after a text, whatever that text leaves open."""

    text: str
    kind: str = "italic"
    url: str | None = None


def render(
    markdown: str, *, before: str = "", endings: Sequence[Ending] = (), longest: int = LONGEST
) -> list[Piece]:
    """Return Markdown as messages; `before` is a headline that opens the first one.

    Texts are cut between paragraphs, else between lines, else between words, and only where a word alone
    is too long within one; never within a character.
    """
    writer = _Writer()
    if before:
        writer.styled(before, "bold")
        writer.space()
    writer.write(_markdown().parse(markdown.replace("\0", "")))
    for ending in endings:
        writer.space()
        writer.styled(ending.text, ending.kind, url=ending.url)
    return _pieces(writer.text, writer.spans, longest)


def units(text: str) -> int:
    """Return how long Telegram thinks a text is."""
    return len(text) + sum(1 for sign in text if ord(sign) > 0xFFFF)


@dataclass(frozen=True, slots=True)
class _Span:
    """An entity while the text is one: counted in characters."""

    kind: str
    start: int
    end: int
    url: str | None = None
    language: str | None = None


class _Writer:
    """Writes the tokens of Markdown down as text and spans."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._length = 0
        self._lists: list[int | None] = []
        self._open: list[tuple[str, int, str | None]] = []
        self.spans: list[_Span] = []

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def styled(self, text: str, kind: str, *, url: str | None = None, language: str | None = None) -> None:
        """Write a text that looks so."""
        start = self._length
        self._add(text)
        self._mark(kind, start, url=url, language=language)

    def space(self) -> None:
        """Begin a new paragraph."""
        tail = "".join(self._parts[-2:])[-2:]
        if self._length and tail != "\n\n":
            self._add("\n" if tail.endswith("\n") else "\n\n")

    def write(self, tokens: "list[Token]") -> None:
        """Write blocks down."""
        for token in tokens:
            self._block(token)

    def _block(self, token: "Token") -> None:
        match token.type:
            case "inline":
                self._inline(token.children or [])
            case "heading_open":
                self._begin("bold")
            case "heading_close" | "blockquote_close":
                self._end()
                self.space()
            case "blockquote_open":
                self.space()
                self._begin("blockquote")
            case "paragraph_close":
                self._line() if self._lists else self.space()
            case "fence" | "code_block":
                self.space()
                language = token.info.split()[0][:30] if token.info.strip() else None
                self.styled(token.content.rstrip("\n") or " ", "pre", language=language)
                self.space()
            case "hr":
                self._add("———")
                self.space()
            case "html_block":
                self._add(token.content)
                self.space()
            case _:
                self._structure(token)

    def _structure(self, token: "Token") -> None:
        """Write lists and tables as lines."""
        match token.type:
            case "bullet_list_open":
                self._lists.append(None)
            case "ordered_list_open":
                self._lists.append(int(token.attrs.get("start", 1)))
            case "bullet_list_close" | "ordered_list_close":
                self._lists.pop()
                if not self._lists:
                    self.space()
            case "list_item_open":
                self._line()
                number = self._lists[-1]
                self._add("  " * (len(self._lists) - 1) + ("• " if number is None else f"{number}. "))
                if number is not None:
                    self._lists[-1] = number + 1
            case "td_close" | "th_close":
                self._add(" | ")
            case "tr_close":
                self._line()
            case "table_close":
                self.space()

    def _inline(self, tokens: "list[Token]") -> None:
        for token in tokens:
            name = token.tag
            match token.type:
                case "text" | "html_inline":
                    self._add(token.content)
                case "code_inline":
                    self.styled(token.content, "code")
                case "softbreak" | "hardbreak":
                    self._add("\n")
                case "image":
                    self._add(token.content)
                case "link_open":
                    self._begin("text_link", _web_address(str(token.attrs.get("href", ""))))
                case "link_close":
                    self._end()
                case _ if token.nesting == 1:
                    self._begin(_STYLES.get(name, ""))
                case _ if token.nesting == -1:
                    self._end()

    def _add(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)

    def _line(self) -> None:
        if self._length and not "".join(self._parts[-2:]).endswith("\n"):
            self._add("\n")

    def _begin(self, kind: str, url: str | None = None) -> None:
        self._open.append((kind if kind != "text_link" or url else "", self._length, url))

    def _end(self) -> None:
        kind, start, url = self._open.pop()
        if kind:
            self._mark(kind, start, url=url)

    def _mark(self, kind: str, start: int, *, url: str | None = None, language: str | None = None) -> None:
        is_inside_same = any(kind == outer for outer, _, _ in self._open)
        if self._length > start and not (is_inside_same and kind == "blockquote"):
            self.spans.append(_Span(kind, start, self._length, url, language))


def _pieces(text: str, spans: list[_Span], longest: int) -> list[Piece]:
    pieces = []
    start = 0
    while start < len(text):
        end = _cut(text, start, longest)
        piece = _piece(text, start, end, spans)
        if piece.text:
            pieces.append(piece)
        start = end
    return pieces


def _cut(text: str, start: int, longest: int) -> int:
    """Return where a piece that begins here ends."""
    end, room = start, longest
    while end < len(text):
        room -= 2 if ord(text[end]) > 0xFFFF else 1
        if room < 0:
            break
        end += 1
    if end == len(text):
        return end
    for border in _BORDERS:
        # A piece of less than half the room for the sake of a border would make too many messages.
        place = text.rfind(border, start + (end - start) // 2, end)
        if place > start:
            return place + len(border)
    return end


def _piece(text: str, start: int, end: int, spans: list[_Span]) -> Piece:
    part = text[start:end]
    first = start + len(part) - len(part.lstrip())
    last = start + len(part.rstrip())
    entities = []
    for span in spans:
        clipped = replace(span, start=max(span.start, first), end=min(span.end, last))
        while clipped.start < clipped.end and text[clipped.end - 1].isspace():
            clipped = replace(clipped, end=clipped.end - 1)
        if clipped.start < clipped.end:
            offset, length = units(text[first : clipped.start]), units(text[clipped.start : clipped.end])
            entities.append(Entity(clipped.kind, offset, length, clipped.url, clipped.language))
    entities.sort(key=lambda entity: (entity.offset, -entity.length))
    return Piece(text[first:last] if first < last else "", tuple(entities[:MOST_ENTITIES]))


def _web_address(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.hostname else None


@cache
def _markdown() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
