"""The training process: ``python -m backend.pipeline.train_job SNAPSHOT OUT [BEFORE]``; BEFORE is the folder of the
version that was active before, and may be empty.

Reads the snapshot, writes the version's directory, says how far it is as JSON lines on standard output. It ends by
itself when its standard input closes, so that it never outlives the worker that started it.
"""

import contextlib
import json
import os
import sys
import threading
from pathlib import Path

from backend.problems.examples import example_from
from backend.problems.schema import Schema


def main(snapshot: str, out: str, before: str = "") -> None:
    """Train once."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(10)  # predictions and the queue come first
    with contextlib.suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, it is this process that ends
    from backend.models.recipe import Recipe
    from backend.models.spec import ModelSpec, TextSpec
    from backend.problems.training import train_version

    content = json.loads(Path(snapshot).read_text())
    schema = Schema.from_json(content["schema"])
    train_version(
        ModelSpec(**content["model"]),
        schema,
        [example_from(schema, e) for e in [*content["train"], *content.get("guessed", ())]],
        [example_from(schema, e) for e in content["held_out"]],
        Recipe(**content["recipe"]),
        Path(out),
        _say,
        Path(before) if before else None,
        TextSpec(**content["text_model"]) if content.get("text_model") else None,
    )


def _say(step: int, steps: int, loss: float) -> None:
    message = f"step {step} of {steps}, loss {loss:.3f}"
    print(json.dumps({"progress": step / max(steps, 1), "message": message}), flush=True)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:4])
