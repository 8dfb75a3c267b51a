"""Find the usual causes of trouble between Label Studio and this program, each with what to do.

Nothing is changed, and nothing is made: a doctor may be asked at any time, from any machine that has the settings.
What our server is sent is an event that it ignores, to see whether it takes the webhook's secret.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from backend.errors import UserError
from backend.problems.base import readers
from backend.settings import Settings
from backend.studio.client import UNCERTAINTY, Json, Studio
from backend.studio.connect import (
    BEFORE,
    GUARD_HINT,
    NO_DOT_HINT,
    SECRET_HEADER,
    WANTED,
    hooks_among,
    oldest_first,
    secret_of,
    without_dot,
)
from backend.studio.schema import read_config
from backend.studio.strategy import strategy_of

Level = Literal["ok", "warning", "error"]
_LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
_CONNECT = "Run `ls-active connect {project} --backend-url URL` where the server runs; it may be run again at any time."


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it stands, and what to do (empty where all is well)."""

    level: Level
    title: str
    advice: str = ""


def examine(settings: Settings, project_id: int | None, studio: Studio | None = None) -> list[Finding]:
    """Findings in the order in which to mend them; what cannot be looked at because of an error before is left out."""
    key = settings.label_studio_api_key.get_secret_value()
    asked = studio or Studio(settings.studio_url, key, timeout_s=min(30.0, settings.label_studio_timeout_s))
    findings = [_our_server(settings)]
    try:
        findings += _label_studio(asked)
        if project_id is not None:
            findings += _project(settings, asked, project_id)
    except UserError as error:
        findings.append(Finding("error", str(error), error.hint))
    finally:
        if studio is None:
            asked.close()
    return findings


def _address(settings: Settings) -> str:
    """Where our server answers if it runs on this machine."""
    here = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{settings.model_copy(update={'host': here}).address}"


def _our_server(settings: Settings) -> Finding:
    import httpx

    address = _address(settings)
    try:
        answer = httpx.get(f"{address}/health", timeout=3, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Finding(
            "error",
            f"Our server does not answer at {address} ({type(error).__name__}).",
            "Start it with `ls-active serve`; if it runs on another machine, run the doctor there.",
        )
    if not answer.is_success:
        return Finding("error", f"{address}/health answers {answer.status_code}.", "Is that port another program's?")
    return Finding("ok", f"Our server answers at {address}.")


def _label_studio(studio: Studio) -> list[Finding]:
    me = studio.me()
    name = f"Label Studio {studio.release()}".rstrip()
    found = [Finding("ok", f"{name} answers at {studio.url}; the key is {me['email']}'s.")]
    if not studio.personal_token:
        found.append(
            Finding(
                "warning",
                "The API key is a legacy token, which Label Studio no longer accepts by default.",
                "Make a personal access token (Account & Settings) and set LABEL_STUDIO_API_KEY to it.",
            )
        )
    return found


def _project(settings: Settings, studio: Studio, number: int) -> Iterator[Finding]:
    project = studio.project(number)
    yield from _config(project)
    yield from _texts(settings, project)
    yield from _strategy(settings, project)
    backends = oldest_first(studio.backends(number))
    yield from _backends(studio, number, backends)
    if backends:
        yield from _webhooks(settings, studio.webhooks(number), number, backends)
    yield from _settings(project)
    yield from _queue(studio, project, backends)


def _config(project: Json) -> Iterator[Finding]:
    try:
        found = read_config(str(project.get("label_config") or ""))
    except UserError as error:
        yield Finding("error", f"The label config cannot be learned: {error}", error.hint)
        return
    labels = sum(len(control.labels) for control in found.schema.controls)
    yield Finding("ok", f"Project {project['id']} {project['title']!r} has a supported label config, {labels} labels.")
    for sentence in found.left_out:
        yield Finding("warning", f"Not learned: {sentence}", "Nothing has to be done; the other controls are learned.")
    if found.note:
        yield Finding("ok", found.note)


def _texts(settings: Settings, project: Json) -> Iterator[Finding]:
    try:
        wanted = "generator" in readers(read_config(str(project.get("label_config") or "")).schema)
    except UserError:
        return
    if wanted and not settings.text_model:
        yield Finding(
            "warning",
            "The label config asks for texts, and TEXT_MODEL is not set: none are suggested, tasks are put in order.",
            "Set TEXT_MODEL to a causal or sequence-to-sequence model, or leave it so.",
        )


def _strategy(settings: Settings, project: Json) -> Iterator[Finding]:
    found = strategy_of(str(project.get("label_config") or ""), settings.strategy)
    if found.problem:
        yield Finding("warning", found.problem, found.hint)
    elif found.source != "setting":
        yield Finding("ok", f"The next tasks are chosen by {found.name!r}, which the label config names.")


def _backends(studio: Studio, number: int, backends: list[Json]) -> Iterator[Finding]:
    if not backends:
        yield Finding("error", "No ML backend is connected.", f"{_CONNECT.format(project=number)} {_if_refused()}")
        return
    first = backends[0]
    if len(backends) > 1:
        yield Finding(
            "warning",
            f"The project has {len(backends)} backends; Label Studio asks only the oldest, {first['url']}.",
            "Remove those that are not wanted.",
        )
    yield _state(first)
    if first["state"] != "CO" and _is_local(first["url"]) and not _is_local(studio.url):
        yield Finding(
            "error",
            f"The backend URL {first['url']} is local to Label Studio, which runs elsewhere ({studio.url}).",
            f"Use the address of this machine as Label Studio sees it. {_CONNECT.format(project=number)}",
        )


def _state(backend: Json) -> Finding:
    title = f"Label Studio calls the backend at {backend['url']} {backend['readable_state']!r}"
    if backend["state"] == "CO":
        return Finding("ok", title + ".")
    advice = "The URL must work where Label Studio runs."
    if _is_local(backend["url"]):
        advice += " In a container, localhost is the container: use host.docker.internal or our service's name."
    reason = str(backend.get("error_message") or "no reason given").strip()
    return Finding("error", f"{title}: {reason:.300}", advice)


def _if_refused() -> str:
    return f"If it is answered 403: {GUARD_HINT}"


def _is_local(url: str) -> bool:
    return (urlsplit(url).hostname or "") in _LOCAL


# ------------------------------------------------------------------------------------------------------------ webhook
def _webhooks(settings: Settings, hooks: list[Json], number: int, backends: list[Json]) -> Iterator[Finding]:
    advice = _CONNECT.format(project=number)
    url = _our_url(backends, hooks)
    ours = hooks_among(hooks, url)
    if not ours:
        refused = f"Label Studio makes none while it refuses the address. {_if_refused()}"
        yield Finding(
            "error",
            f"No webhook leads to {url}/webhook: nothing is learned from annotations until they are compared.",
            NO_DOT_HINT if without_dot(url) else f"{advice} {refused}",
        )
        return
    if len(ours) > 1:
        yield Finding("warning", f"{len(ours)} webhooks lead to {url}/webhook: events come twice.", advice)
    problem = _hook_problem(settings, ours[0])
    yield Finding("error", problem, advice) if problem else Finding("ok", "The webhook sends all events, with secret.")


def _our_url(backends: list[Json], hooks: list[Json]) -> str:
    """The address of the oldest backend that was connected by this program; of the oldest if none was."""
    for backend in backends:
        url = str(backend["url"]).rstrip("/")
        if BEFORE in (backend.get("extra_params") or {}) or any(map(secret_of, hooks_among(hooks, url))):
            return url
    return str(backends[0]["url"]).rstrip("/")


def _hook_problem(settings: Settings, hook: Json) -> str:
    if not hook.get("is_active"):
        return "The webhook is switched off."
    if not (hook.get("send_for_all_actions") and hook.get("send_payload")):
        return "The webhook does not send all events with their content."
    sent = secret_of(hook)
    if sent is None:
        return "The webhook carries no secret, so its events are refused."
    refused = "The webhook's secret is not this server's, so its events are refused."
    return "" if _is_taken(settings, sent) else refused


def _is_taken(settings: Settings, sent: str) -> bool:
    """Whether our server takes events with this secret; by what the settings know where it is not here."""
    import httpx

    url, header = f"{_address(settings)}/webhook", {SECRET_HEADER.encode(): sent.encode("latin-1", "replace")}
    try:
        answer = httpx.post(url, headers=header, json={"action": "DOCTOR"}, timeout=3, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL):
        return settings.known_webhook_token in ("", sent)
    return answer.status_code != 401


# -------------------------------------------------------------------------------------------------- settings and queue
_CONSEQUENCE = {
    "sampling": "tasks are not served in our order.",
    "show_collab_predictions": "annotators do not see predictions.",
    "evaluate_predictions_automatically": "each page of the data manager asks for predictions.",
}


def _settings(project: Json) -> Iterator[Finding]:
    wrong = [name for name, value in WANTED.items() if project.get(name) != value]
    for name in wrong:
        level: Level = "error" if name == "sampling" else "warning"
        title = f"The project's {name} is {project.get(name)!r}: {_CONSEQUENCE[name]}"
        yield Finding(level, title, _CONNECT.format(project=project["id"]))
    if not wrong:
        yield Finding("ok", f"The project's sampling is {UNCERTAINTY!r} and predictions are shown.")
    if int(project.get("maximum_annotations") or 1) > 1:
        yield Finding(
            "warning",
            f"Each task is to get {project['maximum_annotations']} annotations: "
            "Label Studio serves tasks that others have begun first, at random.",
            "Order holds among tasks nobody has begun; set annotations per task to 1 if that is too late.",
        )


def _queue(studio: Studio, project: Json, backends: list[Json]) -> Iterator[Finding]:
    number, version = int(project["id"]), str(project.get("model_version") or "")
    if not version or version in {str(backend["title"]) for backend in backends}:
        what = f"a backend's title, {version!r}" if version else "empty"
        yield Finding(
            "error",
            f"The project's model version is {what}: the score column is empty and the order random.",
            "Our server sets it with its first publication; `ls-active status` and the log say why there was none.",
        )
        return
    rows = studio.predictions(number, version=version)
    if any(row["score"] is None for row in rows):
        yield Finding(
            "error",
            f"Some predictions of the current version {version!r} have no score, so that they are served at random.",
            "They are not ours: remove that version's predictions, then `ls-active activate` ours.",
        )
    waiting = studio.queue(number, 1)
    if waiting:
        yield Finding("ok", f"Version {version!r} is current; task {waiting[0][0]} is at the top of the queue.")
        return
    yield Finding(
        "warning",
        f"No unlabelled task has a prediction of the current version {version!r}: the order is random.",
        "All well if everything is labelled; else see `ls-active status` and the log.",
    )
