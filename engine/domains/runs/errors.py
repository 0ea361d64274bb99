"""Why a run says no, and why one fails."""

from uuid import UUID

from engine.core.errors import Conflict, Forbidden, NotFound, Unavailable

RETRY_AFTER_SECONDS = 30


class RunNotFound(NotFound):
    code = "run_not_found"

    def __init__(self, run_id: UUID) -> None:
        super().__init__("There is no such run, or you are not in its chat.", run_id=run_id)


class RunHasEnded(Conflict):
    code = "run_has_ended"


class RunNotRetryable(Conflict):
    code = "run_not_retryable"


class TooManyRuns(Unavailable):
    """So much waits already that more would only wait behind it; nothing was stored."""

    code = "too_many_runs"

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message, limit=limit, retry_after_seconds=RETRY_AFTER_SECONDS)
        self.retry_after_seconds = RETRY_AFTER_SECONDS


class NotYourRun(Forbidden):
    code = "not_your_run"


class ModelUnavailable(Unavailable):
    """The model cannot be reached, refuses, or broke off; the run can be retried."""

    code = "model_unavailable"


class PromptTooLong(ModelUnavailable):
    """What the model was to read does not fit into its window, however little of the chat it is shown."""

    code = "prompt_too_long"


class ModelTimeout(Unavailable):
    """The model kept silent, or went on writing, for longer than its time limits allow."""

    code = "model_timeout"


class ModelGarbled(Unavailable):
    """The model sent something that is not an answer, or stopped before its end."""

    code = "model_garbled"
