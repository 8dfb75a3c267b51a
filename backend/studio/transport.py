"""One call to Label Studio: authentication, retries, and every failure as a sentence that says what to do.

Calls go through the SDK's own transport, which knows both kinds of tokens and renews the short-lived ones. Answers stay
the JSON that came, since the SDK's typed models belong to one release and the server to another. The SDK's retries are
switched off, because they repeat POSTs, which would push twice; a renewal that fails is repeated for all calls.
"""

import json
import re
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from backend.errors import NotFound, StudioError

if TYPE_CHECKING:
    import httpx
    from label_studio_sdk import LabelStudio

RETRY_AFTER_S = (0.2, 0.8, 2.4)  # waits before the second, third and fourth try
_RENEWAL = "api/token/refresh/"
_TRANSIENT = {429, 502, 503, 504}
_CREDENTIALS = re.compile(r"//[^/@\s]*@")
_TAGS = re.compile(r"<[^>]*>")
_DETAIL_CHARS = 500


class Refused(StudioError):
    """Label Studio answered with an error; ``answered`` is its HTTP status."""

    def __init__(self, message: str, hint: str, answered: int) -> None:
        super().__init__(message, hint)
        self.answered = answered

    def __reduce__(self) -> tuple[Any, ...]:  # the job engine keeps errors
        return Refused, (str(self), self.hint, self.answered)


class Transport:
    """Calls to one Label Studio with one API key; may be used by several threads at once."""

    def __init__(self, url: str, api_key: str, timeout_s: float) -> None:
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self._api_key = api_key.strip()  # secrets in files end in a line break
        self._lock = threading.Lock()
        self._made: LabelStudio | None = None

    @property
    def personal(self) -> bool:
        """Whether the key is a personal access token (a JWT) rather than a legacy token."""
        return self._api_key.count(".") == 2

    def call(self, method: str, path: str, *, params: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        """The answer's JSON; None where a change is answered with nothing.

        Raises NotFound for 404, StudioError for all other failures. All calls but POST are repeated a few times after a
        transient failure.
        """
        for wait_s in RETRY_AFTER_S:
            answer = self._try(method, path, params, body, last=False)
            if answer is not None:
                return _content(answer)
            time.sleep(wait_s)
        last = self._try(method, path, params, body, last=True)
        return _content(last) if last is not None else None

    def _try(
        self, method: str, path: str, params: Mapping[str, Any] | None, body: Any, *, last: bool
    ) -> "httpx.Response | None":
        """A good answer, or None after a transient failure that is not the last."""
        import httpx
        from label_studio_sdk.core.api_error import ApiError

        try:
            answer = self._ask(method, path, params, body)
        except httpx.RequestError as error:
            if last or (method == "POST" and not _renews(error)):
                raise self._unreachable(error) from None
            return None
        except ApiError as error:  # the token could not be renewed
            status = error.status_code or 401
            if not last and _transient(status, str(error.body)):
                return None
            if status == 404:
                raise self.foreign() from None
            raise self._refused(status, "POST", _RENEWAL, _detail(error.body)) from None
        except ValueError:
            raise self.foreign() from None
        if answer.is_success:
            return answer
        if not last and method != "POST" and _transient(answer.status_code, answer.text):
            return None
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        raise self._refused(answer.status_code, method, path, _detail(answer.text), ours=is_json)

    def _ask(self, method: str, path: str, params: Mapping[str, Any] | None, body: Any) -> "httpx.Response":
        """The answer, whatever it is; of a second call where the access token had ended, though not by our clock.

        A POST too may be repeated then: it was refused before anything was done.
        """
        sdk = self._sdk()._client_wrapper
        query = {**params} if params else None
        ask = partial(sdk.httpx_client.request, method=method, params=query, json=body)
        answer = ask(path, request_options={"max_retries": 0})
        if answer.status_code == 401 and self.personal:
            sdk._tokens_client._set_access_token(sdk._tokens_client.refresh().access)
            answer = ask(path, request_options={"max_retries": 0})
        return answer

    def _sdk(self) -> "LabelStudio":
        if not self._api_key:
            raise StudioError("There is no API key for Label Studio.", _KEY_HINT)
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            raise StudioError("The API key for Label Studio holds characters that no key has.", _KEY_HINT)
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> "LabelStudio":
        import httpx
        from label_studio_sdk import LabelStudio

        hooks: dict[str, list[Callable[..., Any]]] = {"response": [partial(_examine, self.url)]}
        http = httpx.Client(timeout=self.timeout_s, follow_redirects=False, event_hooks=hooks)
        self._closing = weakref.finalize(self, http.close)
        # the slash: without it the SDK renews tokens at the wrong address when Label Studio is under a path
        return LabelStudio(base_url=self.url + "/", api_key=self._api_key, httpx_client=http, timeout=self.timeout_s)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close the connections; also done when the object is forgotten."""
        with self._lock:
            if self._made is not None:
                self._closing()
                self._made = None

    # ---------------------------------------------------------------------------------------------------- failures
    def _clean(self, text: str) -> str:
        return _CREDENTIALS.sub("//", text.replace(self._api_key, "[key]"))

    def _unreachable(self, error: Exception) -> StudioError:
        said = self._clean(f"Label Studio at {self.url} cannot be reached ({type(error).__name__}: {error}).")
        hint = _CERTIFICATE_HINT if "CERTIFICATE_VERIFY_FAILED" in said else _ADDRESS_HINT
        return StudioError(said, hint, retry_after_s=5)

    def foreign(self) -> StudioError:
        """What is to be raised where another server answers."""
        return StudioError(self._clean(f"What answers at {self.url} is not Label Studio."), "Correct LABEL_STUDIO_URL.")

    def _refused(self, status: int, method: str, path: str, detail: str, *, ours: bool = True) -> Refused | NotFound:
        """``ours``: whether it is Label Studio that answers; a proxy before it says 404 too while it is started."""
        said = self._clean(f"Label Studio answered {status} to {method} {path}: {detail}")
        if status == 404 and ours:
            return NotFound(said, "Does it exist, and may the API key's owner see it?")
        return Refused(said, self._hint(status), status)

    def _hint(self, status: int) -> str:
        if status == 401:
            return _PERSONAL_HINT if self.personal else _LEGACY_HINT
        if status == 403:
            return "The API key's owner may not do this; use the key of an owner or manager of the project."
        if status == 404:
            return "LABEL_STUDIO_URL is to be Label Studio's own address, without a path such as /projects/1."
        if status == 429:
            return "Label Studio, or a proxy before it, limits how often it may be asked; try again later."
        if status >= 500:
            return "Label Studio itself failed; its log says why."
        return ""


_ADDRESS_HINT = (
    "Is it running, and is LABEL_STUDIO_URL its address as seen from this machine? "
    "Inside a container, localhost is the container itself."
)
_CERTIFICATE_HINT = (
    "A certificate that is self-signed is not trusted: set SSL_CERT_FILE to a file that holds it, and those of other "
    "servers that are needed."
)
_KEY_HINT = (
    "Set LABEL_STUDIO_API_KEY to a personal access token: in Label Studio, Account & Settings, Personal Access Token."
)
_PERSONAL_HINT = "The personal access token has expired, was revoked, or is another server's. " + _KEY_HINT
_LEGACY_HINT = (
    "The token is wrong, or legacy tokens are switched off, as they are by default (Organization, API tokens). "
    + _KEY_HINT
)


def _examine(url: str, answer: "httpx.Response") -> None:
    """Raise for a redirect: on the way a POST would become a GET. And for a renewal that is refused: the SDK would read
    a proxy's page as JSON."""
    from label_studio_sdk.core.api_error import ApiError

    if answer.has_redirect_location:
        there = answer.headers["location"].partition("?")[0]
        raise StudioError(
            _CREDENTIALS.sub("//", f"Label Studio at {url} sends us on to {there}."),
            "Set LABEL_STUDIO_URL to the address that Label Studio itself has, https where it has that.",
        )
    if answer.request.url.path.endswith(_RENEWAL) and not answer.is_success:
        answer.read()
        raise ApiError(status_code=answer.status_code, body=answer.text)


def _renews(error: "httpx.RequestError") -> bool:
    """Whether it was the renewal of a token that broke off: what was asked for was not sent, or was refused."""
    try:
        return error.request.url.path.endswith(_RENEWAL)
    except RuntimeError:  # there was no request
        return False


def _transient(status: int, text: str) -> bool:
    """Whether the same call may succeed a moment later; SQLite under load answers 500 with its reason."""
    return status in _TRANSIENT or (status == 500 and "database is locked" in text)


def _content(answer: "httpx.Response") -> Any:
    if not answer.content and answer.request.method != "GET":
        return None
    try:
        return answer.json()
    except ValueError:
        raise StudioError(
            f"Label Studio's answer to {answer.request.method} {answer.request.url.path} is not JSON.",
            "Is LABEL_STUDIO_URL Label Studio's own address, not that of a login page or proxy?",
        ) from None


def _detail(body: Any) -> str:
    """The reason in an error's body, in one line."""
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return "no reason given" if "<" in body else body[:_DETAIL_CHARS]
    if isinstance(body, Mapping):
        reasons = body.get("validation_errors") or body.get("detail") or {k: v for k, v in body.items() if k != "id"}
        body = "; ".join(map(str, _leaves(reasons)))
    return _TAGS.sub("", str(body))[:_DETAIL_CHARS]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [leaf for child in value.values() for leaf in _leaves(child)]
    return [leaf for child in value for leaf in _leaves(child)] if isinstance(value, list) else [value]
