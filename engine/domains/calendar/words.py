"""When people say that something is to happen, in Russian and English; what is ambiguous is asked back.

A model copies the person's words and the arithmetic is done here: small models cannot count days. Whatever is
not understood, word for word, is refused, because half of a date is a wrong date.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from engine.domains.calendar.errors import WhenUnclear
from engine.domains.calendar.models import Schedule, WorkingDays
from engine.domains.calendar.recurrence import real_time

LONGEST_WORDS = 200
FARTHEST_YEARS = 100  # Dates end with the year 9999, and a day more must not lead beyond it.

_WEEKDAYS = (
    r"понедельник\w*|monday\w*|mon",
    r"вторник\w*|tuesday\w*|tue",
    r"сред[уаыеой]\w*|wednesday\w*|wed",
    r"четверг\w*|thursday\w*|thu",
    r"пятниц\w*|friday\w*|fri",
    r"суббот\w*|saturday\w*|sat",
    r"воскресень\w*|sunday\w*|sun",
)
_RRULE_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
_MONTHS = (
    r"январ\w+|january|jan",
    r"феврал\w+|february|feb",
    r"март\w*|march|mar",
    r"апрел\w+|april|apr",
    r"ма[йя]|may",
    r"июн\w+|june|jun",
    r"июл\w+|july|jul",
    r"август\w*|august|aug",
    r"сентябр\w+|september|sept|sep",
    r"октябр\w+|october|oct",
    r"ноябр\w+|november|nov",
    r"декабр\w+|december|dec",
)
_NUMBERS = {
    word: number
    for number, words in enumerate(
        (
            "один одну одна one a an", "два две two", "три three", "четыре four", "пять five",
            "шесть six", "семь seven", "восемь eight", "девять nine", "десять ten",
            "одиннадцать eleven", "двенадцать twelve",
        ),
        start=1,
    )
    for word in words.split()
}  # fmt: skip
_DAY = "|".join(f"(?:{names})" for names in _WEEKDAYS)
_MONTH = "|".join(f"(?:{names})" for names in _MONTHS)
_NUMBER = r"\d{1,4}|" + "|".join(_NUMBERS)
_UNITS = {
    "minute": r"минут\w*|мин|minutes?|min",
    "hour": r"час\w*|hours?",
    "day": r"дн\w+|день|суток|сутки|days?",
    "week": r"недел\w+|weeks?",
    "month": r"месяц\w*|months?",
}
_UNIT = "|".join(f"(?:{names})" for names in _UNITS.values())
_HALF = r"утра|дня|вечера|ночи|am|a\.m\.|pm|p\.m\."
_FILLER = re.compile(
    r"\b(?:в|во|на|и|at|on|and|the|of|ровно|часов|часа|час|o'clock|начиная|числа|числах)\b|[\s,.;]+"
)


@dataclass(slots=True)
class _Said:
    """What was found in the words so far, and what is left of them."""

    rest: str
    now: datetime  # the speaker's clock on the wall
    day: date | None = None
    is_this_weekday: bool = False  # named by its weekday alone
    at: time | None = None
    is_vague: bool = False
    after: timedelta | None = None
    rule: str | None = None
    every_seconds: int | None = None
    working_days: WorkingDays = "any"
    options: list[datetime] = field(default_factory=list)

    def take(self, pattern: str) -> re.Match[str] | None:
        """Take the first match out of what is left."""
        found = re.search(rf"(?<!\w)(?:{pattern})(?!\w)", self.rest)
        if found is not None:
            self.rest = f"{self.rest[: found.start()]} {self.rest[found.end() :]}"
        return found


def understand(words: str, *, now: datetime, timezone: str, country: str = "RU") -> Schedule:
    """Return the schedule that somebody means; raises WhenUnclear, with what to ask, when that is not one.

    `now` and `timezone` are the speaker's. Times of one and the same day that are over mean the next day.
    """
    zone = ZoneInfo(timezone)
    if len(words) > LONGEST_WORDS:
        raise WhenUnclear("Слишком длинно: назови только день и время.")
    text = words.casefold().replace("ё", "е")
    said = _Said(rest=text, now=now.astimezone(zone).replace(tzinfo=None, fold=0))
    for part in (_working_days, _repeated, _span, _dates, _times):
        part(said)
    if left := _FILLER.sub(" ", said.rest).strip():
        raise WhenUnclear(f"Не понял «{left}». Скажи день и время, например «в пятницу в 10:00».")
    schedule = Schedule("one_time", now, timezone, working_days=said.working_days, country=country)
    if said.every_seconds is not None:
        seconds = said.every_seconds
        first = _moment(said, zone) if said.at else now + timedelta(seconds=seconds)
        return replace(schedule, kind="interval", starts_at=first, every_seconds=seconds)
    if said.after is not None and said.at is None:
        return replace(schedule, starts_at=now.astimezone(zone) + said.after)
    if said.rule is not None:
        return replace(schedule, kind="recurring", rrule=said.rule, starts_at=_start_of_rule(said, zone))
    return replace(schedule, starts_at=_moment(said, zone))


def _working_days(said: _Said) -> None:
    ways: tuple[tuple[str, WorkingDays], ...] = (
        (r"кроме праздник\w+|без праздник\w+|except (?:on )?(?:public )?holidays", "skip"),
        (r"(?:с )?перенос\w* на следующий рабочий день|(?:or )?(?:the )?next working day", "next"),
        (r"(?:с )?перенос\w* на предыдущий рабочий день|(?:or )?(?:the )?previous working day", "previous"),
    )
    for pattern, way in ways:
        if said.take(pattern):
            said.working_days = way


def _repeated(said: _Said) -> None:
    for found in (_every_few, _every_working_day, _every_weekday, _every_month, _every_year, _every_day):
        if found(said):
            return


def _every_few(said: _Said) -> bool:
    found = said.take(
        rf"(?:кажд\w+|every) (?P<number>{_NUMBER}) (?P<unit>{_UNIT})|(?:кажд\w+|every) (?P<one>{_UNIT})"
        r"|(?P<word>ежечасно|еженедельно|hourly|weekly)"
    )
    if found is None:
        return False
    number = _number(found["number"] or "1")
    word = found["word"]
    unit = (
        ("hour" if word in ("ежечасно", "hourly") else "week")
        if word
        else _unit(found["unit"] or found["one"])
    )
    if number == 0:
        raise WhenUnclear("Ноль раз не бывает: скажи, как часто.")
    if unit in ("minute", "hour"):
        said.every_seconds = number * (60 if unit == "minute" else 3600)
    else:
        frequency = {"day": "DAILY", "week": "WEEKLY", "month": "MONTHLY"}[unit]
        said.rule = f"FREQ={frequency}" + (f";INTERVAL={number}" if number > 1 else "")
        if unit == "month":
            # What stands after «в» is an hour.
            day = said.take(
                r"(?<!\bв )(?<!\bat )(?<!:)(?P<day>\d{1,2})(?:-?го|th|st|nd|rd)?(?: числ\w+)?(?![:\d])"
            )
            if day is None:
                raise WhenUnclear("Какого числа каждый месяц?")
            said.rule += f";BYMONTHDAY={_day_of_month(day['day'])}"
        if unit == "week" and (days := list(_weekdays(said))):
            said.rule += f";BYDAY={','.join(days)}"
    return True


def _every_working_day(said: _Said) -> bool:
    if said.take(
        r"(?:в )?последн\w+ рабоч\w+ день (?:каждого )?месяца"
        r"|(?:on )?the last working day of (?:every|the) month"
    ):
        said.rule, said.working_days = "FREQ=MONTHLY;BYMONTHDAY=-1", "previous"
        return True
    if said.take(r"по рабочим дням|кажд\w+ рабоч\w+ день|every (?:working|business) day|on working days"):
        said.rule, said.working_days = "FREQ=DAILY", "skip"
        return True
    return False


def _every_weekday(said: _Said) -> bool:
    if said.take(r"по будням|кажд\w+ будн\w+(?: день)?|(?:on |every )weekdays?"):
        said.rule = "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"
        return True
    if said.take(r"по выходным|on weekends"):
        said.rule = "FREQ=WEEKLY;BYDAY=SA,SU"
        return True
    if re.search(
        rf"(?<!\w)(?:(?:кажд\w+|every|по) (?:{_DAY})|on (?:{'|'.join(_plurals())}))(?!\w)", said.rest
    ):
        said.take(r"кажд\w+|every|по|on")
        said.rule = f"FREQ=WEEKLY;BYDAY={','.join(_weekdays(said))}"
        return True
    return False


def _every_month(said: _Said) -> bool:
    if said.take(
        r"(?:в )?последн\w+ (?:день|числ\w+) (?:каждого )?месяца|(?:on )?the last day of (?:every|the) month"
    ):
        said.rule = "FREQ=MONTHLY;BYMONTHDAY=-1"
        return True
    found = said.take(
        r"(?P<a>\d{1,2})(?:-?го)?(?: числа)? (?:каждого месяца|ежемесячно)"
        r"|ежемесячно,? (?P<b>\d{1,2})(?:-?го)?(?: числа)?"
        r"|кажд\w+ (?P<c>\d{1,2})(?:-?[ео]е|-?го)? числ\w+|monthly on the (?P<d>\d{1,2})(?:th|st|nd|rd)?"
        r"|every month on the (?P<e>\d{1,2})(?:th|st|nd|rd)?"
    )
    if found is None:
        return False
    day = next(filter(None, found.groups()))
    said.rule = f"FREQ=MONTHLY;BYMONTHDAY={_day_of_month(day)}"
    return True


def _every_year(said: _Said) -> bool:
    if said.take(r"ежегодно|кажд\w+ год|every year|yearly|annually") is None:
        return False
    found = said.take(
        rf"(?P<day>\d{{1,2}}) (?P<month>{_MONTH})|(?P<named>{_MONTH}) (?P<nth>\d{{1,2}})(?:th|st|nd|rd)?"
    )
    if found is None:
        raise WhenUnclear("Какого числа каждый год?")
    month = _index(_MONTHS, found["month"] or found["named"]) + 1
    said.rule = f"FREQ=YEARLY;BYMONTH={month};BYMONTHDAY={_day_of_month(found['day'] or found['nth'])}"
    return True


def _every_day(said: _Said) -> bool:
    if said.take(r"ежедневно|daily"):
        said.rule = "FREQ=DAILY"
        return True
    return False


def _span(said: _Said) -> None:
    if said.take(r"через полчаса|in half an hour"):
        said.after = timedelta(minutes=30)
        return
    found = said.take(rf"(?:через|in) (?:(?P<number>{_NUMBER}) )?(?P<unit>{_UNIT})")
    if found is None:
        return
    number, unit = _number(found["number"] or "1"), _unit(found["unit"])
    if unit in ("minute", "hour"):
        said.after = timedelta(minutes=number * (1 if unit == "minute" else 60))
    elif unit == "month":
        said.day = _months_later(said.now.date(), number)
    else:
        said.day = said.now.date() + timedelta(days=number * (7 if unit == "week" else 1))


def _dates(said: _Said) -> None:
    if (
        said.day is not None
        or said.after is not None
        or said.every_seconds is not None
        or said.rule is not None
    ):
        return
    today = said.now.date()
    for pattern, days in (
        (r"послезавтра|(?:the )?day after tomorrow", 2),
        (r"завтра|tomorrow", 1),
        (r"сегодня|today", 0),
    ):
        if said.take(pattern):
            said.day = today + timedelta(days=days)
            return
    for found in (_iso_date, _dotted_date, _named_date, _bare_day, _one_weekday):
        if found(said):
            return


def _iso_date(said: _Said) -> bool:
    found = said.take(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})")
    return found is not None and _set_date(said, found["year"], int(found["month"]), found["day"])


def _dotted_date(said: _Said) -> bool:
    found = said.take(r"(?P<day>\d{1,2})[./](?P<month>\d{2})(?:[./](?P<year>\d{4}|\d{2}))?(?: (?:года|г))?")
    if found is None:
        return False
    if (
        "/" in found[0]
        and int(found["day"]) <= 12
        and int(found["month"]) <= 12
        and found["day"] != found["month"]
    ):
        raise WhenUnclear(f"«{found[0].strip()}» — это какой день и какой месяц? Назови месяц словом.")
    return _set_date(said, found["year"], int(found["month"]), found["day"])


def _named_date(said: _Said) -> bool:
    year = r"(?:,? (?P<year>\d{4})(?: года| г\.?)?)?"
    found = said.take(
        rf"(?P<day>\d{{1,2}})(?:-?го|th|st|nd|rd)? (?:of )?(?P<month>{_MONTH}){year}"
    ) or said.take(rf"(?P<month>{_MONTH}) (?P<day>\d{{1,2}})(?:th|st|nd|rd)?{year}")
    return found is not None and _set_date(
        said, found["year"], _index(_MONTHS, found["month"]) + 1, found["day"]
    )


def _bare_day(said: _Said) -> bool:
    found = said.take(r"(?P<day>\d{1,2})(?:-?го)? числа")
    if found is None:
        return False
    month = said.now.date().replace(day=1)
    for _ in range(12):
        try:
            day = month.replace(day=_day_of_month(found["day"]))
        except ValueError:
            day = None
        if day is not None and day >= said.now.date():
            said.day = day
            return True
        month = _months_later(month, 1)
    return False


def _one_weekday(said: _Said) -> bool:
    found = said.take(rf"(?P<which>эт\w+|this|следующ\w+|next|ближайш\w+|coming)? ?(?P<day>{_DAY})")
    if found is None:
        return False
    today = said.now.date()
    weekday = _index(_WEEKDAYS, found["day"])
    ahead = (weekday - today.weekday()) % 7
    which = found["which"] or ""
    said.day = today + timedelta(days=ahead)
    if which.startswith(("следующ", "next")):
        if today.weekday() < weekday:  # Of this week, or of the next? People mean both.
            said.options = [datetime.combine(said.day + timedelta(days=days), time()) for days in (0, 7)]
        elif ahead == 0:
            said.day += timedelta(days=7)
    elif not which:
        said.is_this_weekday = ahead == 0
    return True


def _times(said: _Said) -> None:
    if said.take(r"(?:в )?полдень|(?:at )?noon"):
        said.at = time(12)
        return
    if said.take(r"(?:в )?полночь|(?:at )?midnight"):
        said.at = time(0)
        if said.day is not None and not said.options:
            # Of which the day begins, or with which it ends? Of today it can only be the second.
            said.options = [datetime.combine(said.day + timedelta(days=days), time()) for days in (0, 1)]
        return
    found = said.take(
        rf"(?:в |во |at |к )?(?P<hour>\d{{1,2}})[:.](?P<minute>\d{{2}}) ?(?P<half>{_HALF})?"
        rf"|(?:в |во |at |к )(?P<hour_alone>\d{{1,2}}|{'|'.join(_NUMBERS)})(?: час\w*| o'clock)?"
        rf" ?(?P<half_alone>{_HALF})?"
        rf"|(?P<hour_named>\d{{1,2}}) ?(?P<half_named>{_HALF})"
    )
    if found is None:
        if said.take(r"утром|днем|вечером|ночью|(?:in the )?(?:morning|afternoon|evening)"):
            said.is_vague = True
        return
    text = found["hour"] or found["hour_alone"] or found["hour_named"]
    hour, minute = _number(text), int(found["minute"] or 0)
    part = (found["half"] or found["half_alone"] or found["half_named"] or "").replace(".", "")
    said.at = _time(hour, minute, part)
    if hour == 24 and said.day is not None:
        said.day += timedelta(days=1)
        said.options = [option + timedelta(days=1) for option in said.options]
    if 1 <= hour <= 6 and not part and not text.startswith("0"):
        raise WhenUnclear(
            f"В {hour} утра или в {hour} вечера ({hour:02}:{minute:02} или {hour + 12}:{minute:02})?"
        )


def _time(hour: int, minute: int, part: str) -> time:
    if part in ("pm", "вечера", "дня") and hour < 12:
        hour += 12
    elif part in ("am", "ночи") and hour == 12:
        hour = 0
    if hour == 24 and minute == 0:
        hour = 0
    if hour > 23 or minute > 59:
        raise WhenUnclear(f"Времени {hour}:{minute:02} не бывает.")
    return time(hour, minute)


def _moment(said: _Said, zone: ZoneInfo) -> datetime:
    """Return the one moment that is meant, or ask which."""
    if said.at is None:
        raise WhenUnclear("Во сколько?" if said.day or said.is_vague else "Когда? Скажи день и время.")
    if said.options:
        walls = [datetime.combine(day.date(), said.at) for day in said.options]
        coming = [wall for wall in walls if wall > said.now]
        if len(coming) != 1:
            raise _which(coming) if coming else _over(walls[-1])
        return real_time(coming[0], zone).astimezone(zone)
    wall = datetime.combine(said.day or said.now.date(), said.at)
    if wall <= said.now:
        if said.day is None:
            wall += timedelta(days=1)
        elif said.is_this_weekday:
            wall += timedelta(days=7)
        else:
            raise _over(wall)
    elif said.is_this_weekday:
        raise _which([wall, wall + timedelta(days=7)])
    return real_time(wall, zone).astimezone(zone)


def _start_of_rule(said: _Said, zone: ZoneInfo) -> datetime:
    if said.at is None:
        raise WhenUnclear("Во сколько?")
    return real_time(datetime.combine(said.now.date(), said.at), zone).astimezone(zone)


def _which(options: Iterable[datetime]) -> WhenUnclear:
    names = ("понедельник", "вторник", "среда", "четверг", "пятница", "суббота", "воскресенье")
    told = [f"{names[one.weekday()]} {one:%d.%m.%Y %H:%M}" for one in options]
    return WhenUnclear(f"{' или '.join(told)}?", options=told)


def _over(wall: datetime) -> WhenUnclear:
    return WhenUnclear(f"{wall:%d.%m.%Y %H:%M} уже прошло.")


def _set_date(said: _Said, year: str | None, month: int, day: str) -> bool:
    today = said.now.date()
    years = [int(year) + (2000 if len(year) == 2 else 0)] if year else range(today.year, today.year + 9)
    if years[0] > today.year + FARTHEST_YEARS:
        raise WhenUnclear("Так далеко не заглядываю.")
    for each in years:
        try:
            found = date(each, month, int(day))
        except ValueError:
            continue
        if year or found >= today:
            said.day = found
            return True
    raise WhenUnclear(f"Такого дня нет: {day}.{month:02}.")


def _weekdays(said: _Said) -> Iterator[str]:
    found: set[int] = set()
    while (match := said.take(_DAY)) is not None:
        found.add(_index(_WEEKDAYS, match[0]))
    return (_RRULE_DAYS[number] for number in sorted(found))


def _plurals() -> list[str]:
    return ["mondays", "tuesdays", "wednesdays", "thursdays", "fridays", "saturdays", "sundays"]


def _months_later(day: date, months: int) -> date:
    number = day.year * 12 + day.month - 1 + months
    for last in (day.day, 30, 29, 28):
        try:
            return date(number // 12, number % 12 + 1, min(day.day, last))
        except ValueError:
            continue
    raise WhenUnclear("Так далеко не заглядываю.")


def _day_of_month(text: str) -> int:
    if not 1 <= int(text) <= 31:
        raise WhenUnclear(f"{text} числа не бывает.")
    return int(text)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS[text]


def _unit(text: str) -> str:
    return next(unit for unit, names in _UNITS.items() if re.fullmatch(names, text))


def _index(patterns: tuple[str, ...], text: str) -> int:
    return next(number for number, names in enumerate(patterns) if re.fullmatch(names, text))
