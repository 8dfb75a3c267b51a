"""The two kinds of exceptions: sentences said to people, and bugs.

Everything a user can cause raises a :class:`UserError`; it carries what failed and what to do. Anything else that is
raised is a bug: the caller sees a request id, the log has the traceback.
"""


class UserError(Exception):
    """Something a person can mend; ``str(error)`` says what is wrong, ``hint`` what to do.

    ``status`` is the HTTP status a web route answers with. ``retry_after_s`` is set where trying again helps.
    """

    status = 400

    def __init__(self, message: str, hint: str = "", *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.retry_after_s = retry_after_s

    def sentence(self) -> str:
        """The message and the hint in one line."""
        return f"{self} {self.hint}".strip()


class UnsupportedConfig(UserError):
    """The label config holds something that no problem module can learn; the message names the tag."""

    status = 422


class TooLarge(UserError):
    """An input over a limit of the settings; the hint names the setting."""

    status = 413


class NotFound(UserError):
    """A project, version or job that is not known here."""

    status = 404


class Busy(UserError):
    """All places are taken, or the model is not loaded yet: the same call may succeed a moment later."""

    status = 503

    def __init__(self, message: str, hint: str = "", *, retry_after_s: int = 2) -> None:
        super().__init__(message, hint, retry_after_s=retry_after_s)


class StudioError(UserError):
    """Label Studio refused a call or could not be reached."""

    status = 502


class ModelError(UserError):
    """A base model or an adapter that cannot be loaded."""

    status = 503
