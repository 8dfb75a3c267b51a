"""The command line. Imports what a command needs only when it runs, so that ``--help`` is there at once."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.errors import UserError
from backend.settings import Settings, load_settings

if TYPE_CHECKING:
    from backend.pipeline.parts import Parts
    from backend.registry.records import Project

app = typer.Typer(
    name="ls-active",
    help="Active-learning backend for Label Studio. Settings are environment variables: `ls-active settings`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ProjectId = Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="The project's number in Label Studio.")]
BackendUrl = Annotated[str, typer.Option("--backend-url", help="This server's address as Label Studio reaches it.")]


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="Overrides PORT.")] = None,
    host: Annotated[str | None, typer.Option(help="Overrides HOST.")] = None,
) -> None:
    """Run web and worker on this machine: all that one installation needs."""
    import os

    from backend.server import run_serve

    for name, value in (("PORT", port), ("HOST", host)):
        if value is not None:
            os.environ[name] = str(value)
    raise typer.Exit(run_serve(load_settings()))


@app.command()
def web() -> None:
    """Run only the web server."""
    from backend.server import run_web

    run_web(load_settings())


@app.command()
def worker() -> None:
    """Run only the worker: trainings and the queue."""
    from backend.server import run_worker

    run_worker(load_settings())


@app.command()
def connect(
    project: ProjectId,
    backend_url: BackendUrl,
    title: Annotated[str, typer.Option(help="Name of the model in Label Studio.")] = "ls-active",
    as_json: AsJson = False,
) -> None:
    """Connect a Label Studio project: backend, webhook with its secret, sampling. May be run again at any time."""
    from backend.studio import connect as studio

    settings = load_settings()
    if not settings.known_webhook_token:
        raise UserError(
            f"There is no webhook secret in {settings.data_dir.resolve()}, where the server keeps the one it made.",
            "Run `connect` where `ls-active serve` runs, with its DATA_DIR, or set the same WEBHOOK_SECRET for both.",
        )
    done = studio.connect(
        _studio(settings),
        project,
        backend_url,
        title=title,
        basic_user=settings.basic_auth_user,
        basic_password=settings.basic_auth_password.get_secret_value(),
        webhook_secret=settings.known_webhook_token,
        strategy=settings.strategy,
    )
    _print({"project": project, "done": done}, as_json, "\n".join(done))


@app.command()
def disconnect(project: ProjectId, backend_url: BackendUrl, as_json: AsJson = False) -> None:
    """Undo `connect`: remove backend and webhook. Annotations are never touched."""
    from backend.studio import connect as studio

    done = studio.disconnect(_studio(load_settings()), project, backend_url)
    _print({"project": project, "done": done}, as_json, "\n".join(done))


@app.command()
def doctor(
    project: Annotated[int | None, typer.Argument(min=1, max=2**31 - 1, help="Also examine this project.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find the usual causes of trouble and say what to do. Exit code 1 if there is an error among them."""
    from dataclasses import asdict

    from backend.studio.doctor import examine

    findings = examine(load_settings(), project)
    marks = {"ok": "ok     ", "warning": "warning", "error": "error  "}
    lines = [f"{marks[f.level]}  {f.title}" + (f"\n         {f.advice}" if f.advice else "") for f in findings]
    _print([asdict(f) for f in findings], as_json, "\n".join(lines))
    raise typer.Exit(int(any(f.level == "error" for f in findings)))


@app.command()
def train(project: ProjectId, as_json: AsJson = False) -> None:
    """Ask for a training now."""
    from backend.pipeline.requests import request_training

    parts, found = _open(project)
    job = request_training(parts, found.key)
    _print({"job": job}, as_json, f"Training asked for, job {job}. `ls-active status {project}` shows how far it is.")


@app.command()
def status(project: ProjectId, as_json: AsJson = False) -> None:
    """Labels, versions, queue, training and latencies of a project."""
    from backend.pipeline.status import status as read_status

    parts, found = _open(project)
    state = read_status(parts, found)
    _print(state, as_json, _status_text(state))


@app.command()
def versions(project: ProjectId, as_json: AsJson = False) -> None:
    """All versions of a project, oldest first."""
    from backend.pipeline.status import status as read_status

    parts, found = _open(project)
    rows = read_status(parts, found)["versions"]
    _print(rows, as_json, "\n".join(_version_line(row) for row in rows) or "No version yet.")


@app.command()
def activate(
    project: ProjectId,
    version: Annotated[str, typer.Argument(help="A version's name, as `versions` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Make a version the active one: promotion and rollback alike."""
    from backend.pipeline.requests import request_activation

    parts, found = _open(project)
    parts.host.encoder()  # with BASE_MODEL changed since, the version may be of no use to the worker
    request_activation(parts, found, version)
    _print(
        {"status": "accepted", "version": version}, as_json, f"{version} becomes active; the queue follows in seconds."
    )


@app.command("settings")
def show_settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the README's table.")] = False,
    as_json: AsJson = False,
) -> None:
    """Every setting with its default and meaning."""
    rows = [(name.upper(), _default(field.default), field.description) for name, field in Settings.model_fields.items()]
    if markdown:
        lines = ["| variable | default | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{n}` | {f'`{d}`' if d else 'empty'} | {text} |" for n, d, text in rows]
    else:
        lines = [f"{n}={d}\n    {text}" for n, d, text in rows]
    _print([{"name": n, "default": d, "meaning": t} for n, d, t in rows], as_json, "\n".join(lines))


@app.command()
def simulate(
    data: Annotated[
        Path, typer.Option(help="Labelled tasks to draw from: JSON lines, or an export of Label Studio with --config.")
    ],
    test: Annotated[Path, typer.Option(help="Labelled tasks to measure on, same format.")],
    out: Annotated[Path, typer.Option(help="Folder for results; an interrupted simulation goes on there.")],
    config: Annotated[Path | None, typer.Option(help="The label config of an export of Label Studio.")] = None,
    strategy: Annotated[
        list[str] | None, typer.Option(help="Compare this one too; may be repeated. `default` and `random` always are.")
    ] = None,
    labels: Annotated[int, typer.Option(min=2, help="Labels given in each run, unless --rounds says.")] = 500,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each strategy; six or more for a claim.")] = 6,
    adapter: Annotated[
        str, typer.Option(help="`lora` as in production, or `none`: a head on frozen features.")
    ] = "lora",
    rounds: Annotated[
        str, typer.Option(help="Numbers of labels at which to train and measure, such as 50,100,200. Empty: as live.")
    ] = "",
    batch: Annotated[int, typer.Option(min=1, help="Labels between two decisions.")] = 10,
    audit_share: Annotated[float | None, typer.Option(help="Overrides AUDIT_SHARE.")] = None,
    test_tasks: Annotated[
        int, typer.Option(min=0, help="Test tasks to measure on, at random; 0: all, or 100 where texts are written.")
    ] = 0,
    jobs: Annotated[int, typer.Option(min=0, help="Runs side by side; 0: one for each core.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Replay the labelling of a labelled file, offline: how many labels an order saves on it."""
    from backend.demo.command import make_folder, terminated_like_interrupted
    from backend.simulate import plan as plans
    from backend.simulate.report import table, write_report
    from backend.simulate.run import jobs_here
    from backend.simulate.run import simulate as run

    if adapter not in ("lora", "none"):
        raise UserError(f"There is no adapter {adapter!r}.", "Use lora or none.")
    make_folder(out, "--out")
    given = plans.numbers(rounds)
    most = max(given) if given else labels
    content = plans.read_data(data, test, most, config, test_tasks)
    for note in content.notes:
        typer.echo(note, err=True)
    plan = plans.plan_of(
        load_settings(threads=1),
        data,
        test,
        adapter=adapter,  # type: ignore[arg-type]
        labels=most,
        rounds=given,
        batch=batch,
        audit_share=audit_share,
        test_tasks=test_tasks,
        config=config,
    )
    try:
        with terminated_like_interrupted():
            results = run(plan, content, strategy or [], seeds, out, jobs or jobs_here())
    except KeyboardInterrupt:
        typer.echo("\nStopped. The same command goes on from there.", err=True)
        raise typer.Exit(130) from None
    write_report(results, out)
    _print(results, as_json, f"{table(results)}\n\n{out}: results.json, curves.png, report.html, table.md")


@app.command()
def demo(
    annotators: Annotated[int, typer.Option(min=0, help="Simulated annotators; 0: label yourself.")] = 0,
    labels: Annotated[int, typer.Option(min=1, help="Labels that simulated annotators give in all.")] = 150,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the summary of simulated annotators here.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="JSON lines, such as `text` and `label`. Default: BBC News.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Lines of the same form that measure every version.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Our port; 0: any free one.")] = 9090,
    studio_port: Annotated[int, typer.Option(min=0, max=65535, help="Label Studio's port; 0: any free one.")] = 8080,
    folder: Annotated[Path, typer.Option(help="Folder of the demo: database, versions, Label Studio's data.")] = Path(
        "demo-data"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Order of the tasks, and training.")] = 0,
    wait: Annotated[
        bool, typer.Option(help="Simulated annotators wait for a version that is due, as slow people do.")
    ] = True,
) -> None:
    """A real Label Studio with a sample project, connected; simulated annotators on request."""
    from backend.demo.run import run_demo

    code = run_demo(
        annotators=annotators,
        labels=labels,
        json_file=json_file,
        data=data,
        test=test,
        port=port,
        studio_port=studio_port,
        folder=folder,
        seed=seed,
        wait=wait,
    )
    raise typer.Exit(code)


# ---------------------------------------------------------------------------------------------------------- helpers
def _studio(settings: Settings) -> Any:
    from backend.studio.client import Studio

    return Studio(
        settings.studio_url, settings.label_studio_api_key.get_secret_value(), timeout_s=settings.label_studio_timeout_s
    )


def _open(project: int) -> "tuple[Parts, Project]":
    from backend.errors import NotFound
    from backend.pipeline.parts import build_parts
    from backend.telemetry import configure_logging

    configure_logging("warning")
    parts = build_parts(load_settings(device="cpu"))  # an accelerator's memory is the server's
    found = parts.registry.newest_project(project)
    if found is None:
        raise NotFound(
            f"Project {project} is not known in {parts.settings.database.split('@')[-1]}.",
            "Connect it first, or point DATA_DIR (DATABASE_URL) to the server's.",
        )
    return parts, found


def _print(value: Any, as_json: bool, text: str) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False) if as_json else text)


def _default(value: Any) -> str:
    reveal = getattr(value, "get_secret_value", None)
    return str(reveal() if reveal else value).rstrip("/")


def _version_line(row: dict[str, Any]) -> str:
    audit = row["audit"]
    measured = (
        f"{audit['value']:.0%} of {audit['n']} held-out tasks ({audit['low']:.0%}–{audit['high']:.0%})"
        if audit
        else "not measured"
    )
    return f"{row['name']:<8} {row['state']:<9} {row['labels']:>6} labels   {measured}   {row['created_at']}"


def _suggested(said: dict[str, Any]) -> str:
    answers = f"{said['kept']} kept, {said['changed']} changed, {said['blank']} blank"
    above = ", ".join(f"{share:.0%} ({name})" for name, share in said["show_above"].items())
    return f"{answers}; shown where surer than {above}" if above else answers


def _quality_lines(said: dict[str, Any]) -> list[str]:
    """How far annotators agree; nothing where no task has answers of several."""
    lines = [
        f"  agreement  {name}: {rate['agreement']:.0%} of {rate['pairs']} pairs of answers to one task"
        for name, rate in said["controls"].items()
    ]
    if said["disputed"]:
        lines.append(f"             annotators differ on tasks {', '.join(map(str, said['disputed']))}")
    return lines


def _status_text(state: dict[str, Any]) -> str:
    lines = [f"{state['title']} (project {state['project']})"]
    if state["problem"]:
        lines.append(f"  config     {state['problem']}")
    held_out, new = state["audit_labels"], state["new_labels"]
    lines.append(f"  labels     {state['labels']}, of them {held_out} held out, {new} not learned yet")
    strategy = state["strategy"]
    lines.append(f"  strategy   {strategy['name']} ({strategy['source']})")
    if strategy["problem"]:
        lines.append(f"             {strategy['problem']}")
    lines.append(f"  advice     {state['advice']['sentence']}")
    lines.append(f"  suggested  {_suggested(state['suggestions'])}")
    lines += _quality_lines(state["label_quality"])
    training = state["training"]
    lines.append(f"  training   {training['state']}, {training['progress']:.0%} {training['message']}".rstrip())
    failed = state["failed_trainings"]
    lines.append(f"             {failed} training{'' if failed == 1 else 's'} failed so far")
    queue = state["published"]
    if queue:
        order = {True: "in order", False: f"NOT in order: {queue['detail']}", None: "not checked yet"}[
            queue["in_order"]
        ]
        lines.append(f"  queue      {queue['tasks']} tasks of {queue['name']} published, {order}")
        lines += [
            f"             task {t['task']}: {json.dumps(t['reason'], ensure_ascii=False)}" for t in queue["top"][:5]
        ]
    lines += [
        f"  latency    {name}: p50 {ms['p50'] / 1000:.1f} s, p95 {ms['p95'] / 1000:.1f} s, max {ms['max'] / 1000:.1f} s"
        for name, ms in state["latency_ms"].items()
    ]
    if not state["worker_alive"]:
        lines.append("  worker     not running: start `ls-active serve` or `ls-active worker`")
    lines += [f"  version    {_version_line(row)}" for row in state["versions"]]
    return "\n".join(lines)


def main() -> None:
    """Run the command line; what a person can mend is one sentence and exit code 1."""
    try:
        app()
    except UserError as error:
        typer.echo(f"ls-active: {error.sentence()}", err=True)
        sys.exit(1)
