"""What people say of a time, on Wednesday 25 November 2026, three in the afternoon in Moscow."""

from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domains.calendar.errors import WhenUnclear
from engine.domains.calendar.models import Schedule
from engine.domains.calendar.recurrence import occurrences
from engine.domains.calendar.words import understand

NOW = datetime.fromisoformat("2026-11-25T15:00+03:00")
MOSCOW = "Europe/Moscow"


def coming(schedule: Schedule, most: int = 3) -> list[str]:
    found = islice(occurrences(schedule, after=NOW), most)
    return [f"{one.at.astimezone(ZoneInfo(MOSCOW)):%m-%d %H:%M}" for one in found]


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("в пятницу в 10", "11-27 10:00"),
        ("в пятницу в 10:30", "11-27 10:30"),
        ("в эту пятницу в 18:00", "11-27 18:00"),
        ("в ближайший понедельник в 9 утра", "11-30 09:00"),
        ("в следующий вторник в 9:00", "12-01 09:00"),
        ("завтра в 9 утра", "11-26 09:00"),
        ("послезавтра в полдень", "11-27 12:00"),
        ("сегодня в 7 вечера", "11-25 19:00"),
        ("в 16:00", "11-25 16:00"),
        ("в 10 утра", "11-26 10:00"),
        ("через 2 часа", "11-25 17:00"),
        ("через полчаса", "11-25 15:30"),
        ("через час", "11-25 16:00"),
        ("через неделю в 10", "12-02 10:00"),
        ("через три дня в 15:00", "11-28 15:00"),
        ("через месяц в 11:00", "12-25 11:00"),
        ("25 декабря в 14:30", "12-25 14:30"),
        ("5 декабря 2026 года в 9:00", "12-05 09:00"),
        ("10.12.2026 в 09:00", "12-10 09:00"),
        ("10.12 в 09:00", "12-10 09:00"),
        ("2026-12-10 09:00", "12-10 09:00"),
        ("15 числа в 12:00", "12-15 12:00"),
        ("в среду в 10", "12-02 10:00"),
        ("Friday at 10am", "11-27 10:00"),
        ("tomorrow at 10:30 pm", "11-26 22:30"),
        ("in 3 days at 15:00", "11-28 15:00"),
        ("in an hour", "11-25 16:00"),
        ("December 10 at 9am", "12-10 09:00"),
        ("10 December, 9am", "12-10 09:00"),
        ("the day after tomorrow at noon", "11-27 12:00"),
        ("next tuesday at 9:00", "12-01 09:00"),
    ],
)
def test_a_time_is_one_moment(words: str, moment: str) -> None:
    assert coming(understand(words, now=NOW, timezone=MOSCOW)) == [moment]


@pytest.mark.parametrize(
    ("words", "moments"),
    [
        ("каждый вторник в 10:00", ["12-01 10:00", "12-08 10:00", "12-15 10:00"]),
        ("по вторникам и четвергам в 10", ["11-26 10:00", "12-01 10:00", "12-03 10:00"]),
        ("каждый вторник в 10:00, кроме праздников", ["12-01 10:00", "12-08 10:00", "12-15 10:00"]),
        ("каждый день в 9 утра", ["11-26 09:00", "11-27 09:00", "11-28 09:00"]),
        ("ежедневно в 16:00", ["11-25 16:00", "11-26 16:00", "11-27 16:00"]),
        ("по будням в 18:00", ["11-25 18:00", "11-26 18:00", "11-27 18:00"]),
        ("каждый рабочий день в 9:00", ["11-26 09:00", "11-27 09:00", "11-30 09:00"]),
        ("каждый месяц 10 числа в 12:00", ["12-10 12:00", "01-10 12:00", "02-10 12:00"]),
        ("5 числа каждого месяца в 10", ["12-05 10:00", "01-05 10:00", "02-05 10:00"]),
        ("в последний день месяца в 17:00", ["11-30 17:00", "12-31 17:00", "01-31 17:00"]),
        ("в последний рабочий день месяца в 17:00", ["11-30 17:00", "12-30 17:00", "01-29 17:00"]),
        ("каждые 2 часа", ["11-25 17:00", "11-25 19:00", "11-25 21:00"]),
        ("каждые 15 минут", ["11-25 15:15", "11-25 15:30", "11-25 15:45"]),
        ("каждые 2 недели в пятницу в 10", ["11-27 10:00", "12-11 10:00", "12-25 10:00"]),
        ("ежегодно 31 декабря в 12:00", ["12-31 12:00", "12-31 12:00", "12-31 12:00"]),
        ("every Tuesday at 10am", ["12-01 10:00", "12-08 10:00", "12-15 10:00"]),
        ("every weekday at 9:00", ["11-26 09:00", "11-27 09:00", "11-30 09:00"]),
        ("every 2 hours", ["11-25 17:00", "11-25 19:00", "11-25 21:00"]),
        ("every month on the 10th at noon", ["12-10 12:00", "01-10 12:00", "02-10 12:00"]),
        ("on mondays at 9am", ["11-30 09:00", "12-07 09:00", "12-14 09:00"]),
    ],
)
def test_what_repeats_is_a_rule(words: str, moments: list[str]) -> None:
    assert coming(understand(words, now=NOW, timezone=MOSCOW)) == moments


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("в пятницу", "Во сколько"),
        ("завтра утром", "Во сколько"),
        ("каждый вторник", "Во сколько"),
        ("когда-нибудь", "Не понял"),
        ("в пятницу в 5", "утра или"),
        ("в среду в 18:00", "или среда 02.12.2026 18:00"),
        ("в следующую пятницу в 10", "27.11.2026 10:00 или пятница 04.12.2026 10:00"),
        ("31 февраля в 10", "Такого дня нет"),
        ("сегодня в 9:00", "уже прошло"),
        ("10/12/2026 в 9:00", "какой день и какой месяц"),
        ("в пятницу в 25:00", "не бывает"),
        ("в пятницу в 10 в кабинете директора", "Не понял"),
        ("каждые 0 минут", "Ноль"),
        ("", "Когда"),
    ],
)
def test_what_is_ambiguous_or_not_understood_is_asked_back(words: str, asked: str) -> None:
    with pytest.raises(WhenUnclear) as unclear:
        understand(words, now=NOW, timezone=MOSCOW)

    assert asked in unclear.value.message


@given(st.text(alphabet="0123456789:./- вапятницукждыйчсnextfridaym,", max_size=60))
def test_no_words_break_it(words: str) -> None:
    try:
        schedule = understand(words, now=NOW, timezone=MOSCOW)
    except WhenUnclear:
        return
    assert schedule.starts_at.tzinfo is not None
