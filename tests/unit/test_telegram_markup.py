"""Texts for Telegram: whole, in pieces that fit, with entities that lie where they should."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.adapters.telegram import Pace, render
from engine.adapters.telegram.markup import Ending, Piece, units
from engine.domains.notifications import DeliveryDelayed


def parts(piece: Piece) -> list[tuple[str, str]]:
    """Return what each entity covers, cut as Telegram cuts: by UTF-16 code units."""
    encoded = piece.text.encode("utf-16-le")
    return [
        (entity.kind, encoded[entity.offset * 2 : (entity.offset + entity.length) * 2].decode("utf-16-le"))
        for entity in piece.entities
    ]


def test_markdown_becomes_text_and_entities() -> None:
    markdown = (
        "# Итог\n\nМожно, **но** _не_ ~~сразу~~: [закон](https://x.ru/1) и `код`.\n\n"
        "- раз\n- два\n  1. вложенный\n\n> цитата\n\n```python\nprint(1)\n```\n\n"
        "| а | б |\n|---|---|\n| 1 | 2 |\n\n😀😀 **после эмодзи**"
    )

    (piece,) = render(markdown, before="Черновик")

    assert parts(piece) == [
        ("bold", "Черновик"), ("bold", "Итог"), ("bold", "но"), ("italic", "не"), ("strikethrough", "сразу"),
        ("text_link", "закон"), ("code", "код"), ("blockquote", "цитата"), ("pre", "print(1)"),
        ("bold", "после эмодзи"),
    ]  # fmt: skip
    assert "• раз\n• два\n  1. вложенный" in piece.text
    assert "а | б" in piece.text
    assert next(each.language for each in piece.entities if each.kind == "pre") == "python"


@pytest.mark.parametrize(
    "markdown",
    [
        "[x](javascript:alert(1))",
        "[x](tg://user?id=1)",
        "<b>жирно</b>",
        "![картинка](https://x/y.png)",
    ],
)
def test_what_telegram_has_no_safe_form_for_stays_text(markdown: str) -> None:
    assert [entity for piece in render(markdown) for entity in piece.entities] == []


def test_an_ending_stands_outside_of_what_the_text_leaves_open() -> None:
    (piece,) = render("```\nкод без конца", endings=[Ending("Открыть", "text_link", "https://x.ru")])

    assert parts(piece) == [("pre", "код без конца"), ("text_link", "Открыть")]


def test_long_texts_are_cut_between_paragraphs() -> None:
    paragraphs = [f"Абзац {number}. " + "слово " * 150 for number in range(20)]

    pieces = render("\n\n".join(paragraphs))

    assert len(pieces) > 3
    assert all(piece.text.startswith("Абзац ") for piece in pieces)
    assert "\n\n".join(piece.text for piece in pieces) == "\n\n".join(each.strip() for each in paragraphs)


BLOCKS = [
    *("**жирно** ", "_косо_ ", "`код` ", "\n\n", "\n- пункт", "\n> цитата", "\n```\nкод\n```\n", "😀" * 30),
    *(
        "[ссылка](https://x.ru) ",
        "слово " * 40,
        "# Заголовок\n",
        "я" * 300,
        "| а | б |\n|---|---|\n| 1 | 2 |\n",
    ),
]
markdowns = st.lists(st.one_of(st.text(max_size=60), st.sampled_from(BLOCKS)), max_size=30).map("".join)


@given(markdowns, st.sampled_from([20, 64, 4096]))
def test_whatever_was_written_arrives_whole_and_fits(markdown: str, longest: int) -> None:
    markdown = markdown.encode(errors="ignore").decode()

    pieces, whole = render(markdown, longest=longest), render(markdown, longest=10**9)

    told = "".join(piece.text for piece in pieces)
    expected = "".join(piece.text for piece in whole)
    assert "".join(told.split()) == "".join(expected.split())
    for piece in pieces:
        assert piece.text == piece.text.strip() != ""
        assert units(piece.text) == len(piece.text.encode("utf-16-le")) // 2 <= longest
        assert len(piece.entities) <= 100
        assert all(covered.strip() for _, covered in parts(piece))


class Clock:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@given(st.lists(st.sampled_from([1, 2, 3, -4]), min_size=1, max_size=60))
async def test_no_chat_no_group_and_no_second_gets_more_than_telegram_allows(chats: list[int]) -> None:
    clock = Clock()
    pace = Pace(now=lambda: clock.now, sleep=clock.sleep)
    sent: list[tuple[float, int]] = []
    for chat_id in chats:
        await pace.turn(chat_id)
        sent.append((clock.now, chat_id))

    for chat_id, seconds in ((1, 1.0), (2, 1.0), (3, 1.0), (-4, 3.0)):
        moments = [moment for moment, where in sent if where == chat_id]
        assert all(later - earlier >= seconds - 1e-6 for earlier, later in pairwise(moments))
    moments = [moment for moment, _ in sent]
    assert all(later - earlier >= 0.04 - 1e-6 for earlier, later in pairwise(moments))


async def test_a_chat_that_wants_quiet_gets_it_and_the_others_go_on() -> None:
    clock = Clock()
    pace = Pace(now=lambda: clock.now, sleep=clock.sleep)

    pace.hold(1, 60)
    await pace.turn(2)

    assert clock.now == 0
    with pytest.raises(DeliveryDelayed) as delay:
        await pace.turn(1)
    assert delay.value.retry_after_seconds == 60
    pace.hold(3, 5)
    await pace.turn(3)
    assert clock.now == 5
