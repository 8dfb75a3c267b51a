"""Connect a project with this program, and undo it. Both may be run again at any time; each says what it did.

Order matters. The webhook comes first, with its secret: Label Studio would make one without credentials for a new
backend, and does not if there is one; and its guard against local addresses then refuses before anything exists. What
the project's settings were before is kept in the backend's ``extra_params``, so that it can be put back from anywhere.

``project.model_version`` is not set here: only a version that has predictions may stand there, so that is the first
publication's last step.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from backend.errors import StudioError, UserError
from backend.studio.client import UNCERTAINTY, Json, Studio
from backend.studio.identity import project_id as number_of
from backend.studio.schema import read_config
from backend.studio.strategy import strategy_of
from backend.studio.transport import Refused

SECRET_HEADER = "X-LS-Active-Secret"
# sampling: ascending score. The second shows our predictions to annotators. The third, if on, makes every page of the
# data manager ask us for predictions.
WANTED: Mapping[str, Any] = {
    "sampling": UNCERTAINTY,
    "show_collab_predictions": True,
    "evaluate_predictions_automatically": False,
}
BEFORE = "settings_before"
GUARD_HINT = (
    "Label Studio refuses local and private addresses, container networks too. Start it with both "
    "ML_BLOCK_LOCAL_IP=False and SSRF_PROTECTION_ENABLED=False (one alone does not do), or with "
    "USE_DEFAULT_BANNED_SUBNETS=False; or give the backend a public address."
)
_ADDRESS_HINT = (
    "The backend URL must be one that works where Label Studio runs; inside a container, localhost is not us."
)

NO_DOT_HINT = (
    "Give our server a name with a dot that works where Label Studio runs (for a container: a network alias such as "
    "ls-active.internal), or its IP address, and use that as backend URL."
)


def connect(
    studio: Studio,
    project_id: int | str,
    backend_url: str,
    *,
    title: str = "ls-active",
    basic_user: str = "",
    basic_password: str = "",
    webhook_secret: str,
    strategy: str = "auto",
) -> list[str]:
    """What was done, in sentences; afterwards the project has one webhook and one backend of ours, and our sampling.

    ``backend_url`` is our server's address as Label Studio reaches it; ``strategy`` is the setting, which the label
    config may override: a sentence says so. Raises UnsupportedConfig for a config that
    cannot be learned, StudioError when Label Studio refuses, with the cause; a webhook made in vain is removed again.
    """
    number, url = number_of(project_id), backend_address(backend_url)
    if without_dot(url):
        raise UserError(f"Label Studio makes no webhook to {url}: the host name has no dot.", NO_DOT_HINT)
    project = studio.project(number)
    config = read_config(str(project.get("label_config") or ""))
    done, made = _ensure_webhook(studio, number, url, webhook_secret)
    try:
        done += _ensure_backend(studio, project, url, _credentials(basic_user, basic_password), title)
    except UserError:
        if made is not None:
            studio.delete_webhook(made)
        raise
    done += _ensure_settings(studio, project)
    said = [f"Not learned: {sentence}" for sentence in config.left_out] + _strategy(project, strategy)
    said += [config.note] if config.note else []
    return (done or ["Nothing was to be done: the project is connected."]) + said


def _strategy(project: Json, setting: str) -> list[str]:
    """What is to be said of a strategy that the label config names."""
    found = strategy_of(str(project.get("label_config") or ""), setting)
    if found.problem:
        return [f"{found.problem} {found.hint}"]
    return [] if found.source == "setting" else [f"The label config names the strategy: {found.name!r}."]


def disconnect(studio: Studio, project_id: int | str, backend_url: str) -> list[str]:
    """What was done, in sentences: backend and webhook removed, settings put back unless another backend of ours stays.

    Label Studio leaves the webhook of a removed backend, which would go on firing. Annotations and predictions are
    never touched.
    """
    number, url = number_of(project_id), backend_address(backend_url)
    done: list[str] = []
    backends = studio.backends(number)
    ours = ours_among(backends, url)
    left = [backend for backend in backends if backend not in ours and _before([backend])]
    for backend in ours:
        studio.delete_backend(int(backend["id"]))
        done.append(f"Removed the backend {backend['title']!r} at {url}.")
    for hook in hooks_among(studio.webhooks(number), url):
        studio.delete_webhook(int(hook["id"]))
        done.append(f"Removed the webhook {hook['url']}.")
    if not left:
        done += _put_back(studio, number, _before(ours))
    elif done:
        done.append(f"Left the settings as they are: the project is still connected with {left[0]['url']}.")
    return done or ["Nothing was to be done: the project has no backend or webhook at this address."]


def backend_address(url: str) -> str:
    """The address without a slash at the end. Raises UserError for anything but a plain http(s) address."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # half a pair of brackets
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UserError("The backend URL is no http or https address.", "Give one such as http://192.0.2.7:9090.")
    if parts.username or parts.password:
        raise UserError(
            "The backend URL holds credentials, which Label Studio would show to its users.",
            "Set BASIC_AUTH_USER and BASIC_AUTH_PASSWORD instead.",
        )
    return url.strip().rstrip("/")


def without_dot(url: str) -> bool:
    """Whether the address has a host name that Label Studio accepts for a backend, but not for a webhook."""
    host = urlsplit(url).hostname or ""
    return host != "localhost" and not set(host) & set(".:")


def oldest_first(rows: list[Json]) -> list[Json]:
    """Backends or webhooks by age; of several backends Label Studio asks only the first."""
    return sorted(rows, key=lambda row: int(row["id"]))


def ours_among(backends: list[Json], url: str) -> list[Json]:
    """The backends at our address, oldest first."""
    return [backend for backend in oldest_first(backends) if str(backend["url"]).rstrip("/") == url]


def hooks_among(hooks: list[Json], url: str) -> list[Json]:
    """The webhooks to our address, oldest first."""
    return [hook for hook in oldest_first(hooks) if str(hook["url"]).rstrip("/") == f"{url}/webhook"]


def secret_of(hook: Json) -> str | None:
    """The secret that a webhook carries, as ours do."""
    headers = hook.get("headers") or {}
    return next((value for name, value in headers.items() if name.lower() == SECRET_HEADER.lower()), None)


def hook_fields(url: str, secret: str) -> Json:
    """What our webhook must be: all events, with their payload and our secret."""
    return {
        "url": f"{url}/webhook",
        "send_payload": True,
        "send_for_all_actions": True,
        "is_active": True,
        "headers": {SECRET_HEADER: secret},
    }


def _ensure_webhook(studio: Studio, number: int, url: str, secret: str) -> tuple[list[str], int | None]:
    """What was done, and the id of a webhook that is new."""
    wanted = hook_fields(url, secret)
    hooks = hooks_among(studio.webhooks(number), url)
    done = [f"Removed another webhook to {url}/webhook: events would come twice." for _ in hooks[1:]]
    for hook in hooks[1:]:
        studio.delete_webhook(int(hook["id"]))
    if not hooks:
        made = _explained(lambda: studio.create_webhook(project=number, **wanted))
        return [f"Added a webhook to {url}/webhook, with a secret."], int(made["id"])
    if any(hooks[0].get(name) != value for name, value in wanted.items()):
        _explained(lambda: studio.update_webhook(int(hooks[0]["id"]), **wanted))
        done.append(f"Corrected the webhook to {url}/webhook: all events, with the secret.")
    return done, None


def _ensure_backend(studio: Studio, project: Json, url: str, credentials: Json, title: str) -> list[str]:
    number = int(project["id"])
    backends = studio.backends(number)
    ours = ours_among(backends, url)
    done = [_another(backend) for backend in backends if backend not in ours]
    for extra in ours[1:]:
        studio.delete_backend(int(extra["id"]))
        done.append(f"Removed a second backend at {url}.")
    fields = {"url": url, "project": number, "title": title, **credentials}
    # where the server has moved, the settings are ours already
    before = _before([*ours, *oldest_first(backends)]) or {name: project.get(name) for name in WANTED}
    if not ours:
        made = _explained(lambda: studio.create_backend(**fields, extra_params={BEFORE: before}))
        return [*done, f"Added the backend {title!r} at {url}: {made['readable_state']}."]
    # one that was added in Label Studio's own dialog has no settings kept yet
    params = {BEFORE: before, **(ours[0].get("extra_params") or {})}
    checked = _explained(lambda: studio.update_backend(int(ours[0]["id"]), **fields, extra_params=params))
    if credentials or ours[0].get("title") != title:
        done.append(f"Wrote title and credentials of the backend at {url}: {checked['readable_state']}.")
    return done


def _before(backends: list[Json]) -> Json:
    """The project's settings before :func:`connect`, as the first of these backends that knows them has them."""
    params = [backend.get("extra_params") or {} for backend in backends]
    return next((known[BEFORE] for known in params if BEFORE in known), {})


def _another(backend: Json) -> str:
    return (
        f"Left another backend of the project alone: {backend['title']!r} at {backend['url']}. "
        "Label Studio asks only the oldest; remove it if it is not wanted."
    )


def _credentials(user: str, password: str) -> Json:
    if not user:
        return {}
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": user, "basic_auth_pass": password}


def _ensure_settings(studio: Studio, project: Json) -> list[str]:
    changed = {name: value for name, value in WANTED.items() if project.get(name) != value}
    if changed:
        studio.update_project(int(project["id"]), **changed)
    return [f"Set {name} to {value!r} (it was {project.get(name)!r})." for name, value in changed.items()]


def _put_back(studio: Studio, number: int, before: Mapping[str, Any]) -> list[str]:
    project = studio.project(number)
    changed = {
        name: value
        for name, value in before.items()
        if name in WANTED and project.get(name) == WANTED[name] and value != WANTED[name]
    }
    if changed:
        studio.update_project(number, **changed)
    return [f"Put {name} back to {value!r}." for name, value in changed.items()]


def _explained(call: Callable[[], Json]) -> Json:
    """The call's answer; a refusal gets the hint that fits adding a backend or a webhook."""
    try:
        return call()
    except Refused as error:
        guarded = error.answered == 403 and "address" in str(error)
        unusable = error.answered in (400, 500)
        hint = GUARD_HINT if guarded else _ADDRESS_HINT if unusable else error.hint
        raise StudioError(str(error), hint) from None
