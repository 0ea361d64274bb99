"""What the demo organization is made of."""

from dataclasses import dataclass

from engine.domains.users import UserRole

ORGANIZATION = "Ромашка"
SLUG = "romashka"


@dataclass(frozen=True, slots=True)
class Colleague:
    """Somebody who works there."""

    username: str
    display_name: str
    role: UserRole = "user"

    @property
    def email(self) -> str:
        return f"{self.username}@romashka.example"


@dataclass(frozen=True, slots=True)
class Room:
    """A chat: who is in it, which roles may be called there, and what was said, each by somebody."""

    title: str
    members: tuple[str, ...]
    roles: tuple[str, ...]
    said: tuple[tuple[str, str], ...]


PEOPLE = (
    Colleague("anna", "Анна Соколова", "admin"),
    Colleague("ivan", "Иван Громов"),
    Colleague("olga", "Ольга Белова"),
    Colleague("pavel", "Павел Орлов"),
)

ROOMS = (
    Room(
        "Общий",
        ("anna", "ivan", "olga", "pavel"),
        (),
        (
            ("anna", "Коллеги, доброе утро! Здесь общее; договоры и бухгалтерия — в своих чатах."),
            ("pavel", "Напоминаю: графики отпусков на следующий год сдаём до 10 декабря."),
            ("olga", "Авансовые отчёты за командировки жду до пятницы."),
        ),
    ),
    Room(
        "Бухгалтерия",
        ("anna", "olga"),
        ("accountant", "assistant"),
        (
            ("olga", "ООО «Василёк» прислало счёт на 120 000 ₽ без НДС, они на упрощёнке. Акта пока нет."),
            ("anna", "Без акта не платим. @olga, напомни им, пожалуйста."),
        ),
    ),
    Room(
        "Договоры",
        ("anna", "ivan", "olga"),
        ("lawyer", "accountant", "assistant"),
        (
            ("ivan", "Пришёл договор поставки от ООО «Василёк»: предоплата 100 %, срок поставки 60 дней."),
            ("ivan", "Неустойка только с нас: 0,5 % в день за просрочку оплаты, с них — ничего."),
            ("anna", "Предоплату в 100 % подписывать не хочу. @ivan, какие варианты?"),
        ),
    ),
)  # fmt: skip
