"""What a run may use up, and how it says that it has."""

from typing import Literal

from engine.roles import Limits, Role, render

Limit = Literal["steps", "tokens", "seconds", "window"]

_WHAT: dict[Limit, tuple[str, str]] = {
    "steps": ("обращений к модели", "model calls"),
    "tokens": ("токенов ответа", "tokens written"),
    "seconds": ("секунд работы", "seconds of work"),
    "window": ("токенов, поместившихся в окно модели", "tokens that fit the model's window"),
}


class LimitReached(Exception):
    """A run has used up what its role allows; not a failure, the answer so far stands."""

    def __init__(self, limit: Limit, number: int) -> None:
        super().__init__(f"{limit}: {number}")
        self.limit: Limit = limit
        self.number = number


class Budget:
    """Model calls and tokens that are left. A share of it draws on the whole as well as on itself."""

    def __init__(self, limits: Limits, *, whole: "Budget | None" = None) -> None:
        self.limits = limits
        self._whole = whole
        self._steps = 0
        self._tokens = 0

    @property
    def steps_left(self) -> int:
        own = self.limits.steps - self._steps
        return own if self._whole is None else min(own, self._whole.steps_left)

    @property
    def tokens_left(self) -> int:
        own = self.limits.tokens - self._tokens
        return own if self._whole is None else min(own, self._whole.tokens_left)

    @property
    def steps_used(self) -> int:
        return self._steps

    @property
    def tokens_used(self) -> int:
        return self._tokens

    def take_step(self) -> int:
        """Take one model call and give its number within the run; raise LimitReached if none is left."""
        self._refuse_if_spent()
        return self._count_step()

    def spend(self, tokens: int) -> None:
        """Note tokens that a model wrote."""
        self._tokens += tokens
        if self._whole is not None:
            self._whole.spend(tokens)

    def restore(self, *, steps: int, tokens: int) -> None:
        """Count what an earlier attempt at the same run has used up."""
        self._steps += steps
        self._tokens += tokens

    def share(self, limits: Limits, *, steps: int, tokens: int) -> "Budget":
        """Set a part aside for somebody who works within the same run, under limits of their own."""
        part = Limits(
            steps=max(1, min(limits.steps, steps)),
            seconds=limits.seconds,
            tokens=max(1, min(limits.tokens, tokens)),
        )
        return Budget(part, whole=self)

    def _refuse_if_spent(self) -> None:
        if self._steps >= self.limits.steps:
            raise LimitReached("steps", self.limits.steps)
        if self._tokens >= self.limits.tokens:
            raise LimitReached("tokens", self.limits.tokens)
        if self._whole is not None:
            self._whole._refuse_if_spent()

    def _count_step(self) -> int:
        self._steps += 1
        return self._steps if self._whole is None else self._whole._count_step()


def limit_message(role: Role, reached: LimitReached, locale: str) -> str:
    """Tell a person, in their language, which limit a run has hit."""
    english = locale.lower().startswith("en")
    template = role.common.limit_en if english else role.common.limit_ru
    return render(template, {"what": _WHAT[reached.limit][english], "number": str(reached.number)})
