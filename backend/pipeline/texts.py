"""Suggested texts that are written after a publication: each takes seconds, so only tasks near the top have one."""

from backend.pipeline.parts import Parts
from backend.pipeline.publish import load, prediction_id
from backend.pipeline.suggestions import show_above
from backend.problems.base import readers
from backend.registry import versions as records
from backend.studio.codec import encode_prediction


def without_text(parts: Parts, key: str) -> list[int]:
    """Tasks among the first ``TEXT_SUGGESTIONS`` of the published ones that wait for a text, in the queue's order."""
    project, activation = parts.registry.project(key), records.active(parts.registry, key)
    if project is None or activation is None or not parts.settings.text_model:
        return []
    if "generator" not in readers(project.asks()):
        return []
    touched = parts.registry.touched(key)
    held = records.published(parts.registry, key, activation.name)
    waiting = sorted((score, task) for task, (score, _) in held.items() if task not in touched)
    table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
    top = [task for _, task in waiting[: parts.settings.text_suggestions] if task in table.position]
    model = load(parts, project, activation.version)
    known = model.knows_texts([table.items[table.position[task]] for task in top])
    return [task for task, there in zip(top, known, strict=True) if not there]


def write_more(parts: Parts, key: str) -> int:
    """Write for tasks that came to the top since the publication, and show it in Label Studio; for how many.

    Takes seconds for each task. One that is answered meanwhile is left alone.
    """
    shown = 0
    for task in without_text(parts, key):
        project, activation = parts.registry.must_project(key), records.active(parts.registry, key)
        table = parts.pools.table(parts.registry, project, parts.settings.audit_share)
        if activation is None or task not in table.position or task in parts.registry.touched(key):
            continue
        item = table.items[table.position[task]]
        said = load(parts, project, activation.version).predict([item])
        outputs = {name: found[0] for name, found in said.items()}
        above = show_above(parts, project, project.asks(), fresh=True)
        body = encode_prediction(project.asks(), outputs, item, 0.0, activation.name, above=above)
        prediction = prediction_id(parts, project, activation.name, task)
        if body["result"] and prediction is not None:
            parts.studio.patch_result(prediction, body["result"])
            shown += 1
    return shown
