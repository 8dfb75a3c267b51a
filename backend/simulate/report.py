"""The report of a simulation: a table for the terminal, curves as a picture, and a page with both."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from backend.simulate.plan import DEFAULT, RANDOM

Results = Mapping[str, Any]
MEASURES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "ece": "calibration error (ECE)"}
MARKS = (50, 100, 200, 500)  # numbers of labels that the table shows beside the last, where they were measured
PAGE = """<!doctype html>
<html><head><meta charset="utf-8"><title>simulation</title>
<style>
body {{ font-family: sans-serif; margin: 2em }}
table {{ border-collapse: collapse }}
td, th {{ padding: .3em .8em; border-bottom: 1px solid #ddd; text-align: left }}
</style></head>
<body>
{body}
</body></html>
"""


def write_report(results: Results, out: Path) -> None:
    """``curves.png``, ``report.html`` and ``table.md`` in ``out``."""
    (out / "table.md").write_text(table(results) + "\n", encoding="utf-8")
    _picture(results, out / "curves.png")
    _page(results, out / "report.html")


def rows_of(results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: one row for each strategy, best area first."""
    strategies = results["strategies"]
    rounds = [str(r) for r in results["plan"]["rounds"]]
    marks = list(dict.fromkeys([*(str(m) for m in MARKS if str(m) in rounds), rounds[-1]]))
    header = ["strategy", "AULC", "against random", *(f"at {m}" for m in marks), "labels to 90 / 95 / 99 %"]
    header += ["ECE", "macro-F1", "rest of pool", "audit interval holds rest of pool / test file, %"]
    header += ["classes", "similarity", "CPU s a round"]
    order = sorted(strategies, key=lambda name: -strategies[name]["aulc"]["mean"])
    return header, [[name, *_cells(strategies[name], marks, rounds[-1], name == RANDOM)] for name in order]


def _last(found: Mapping[str, Any], measure: str, last: str) -> float | None:
    """The mean of a measure in the last round; None where there is none."""
    values: float | None = found[measure][last]["mean"] if measure in found else None
    return values


def _cells(found: Mapping[str, Any], marks: list[str], last: str, is_random: bool) -> list[str]:
    against = found["against_random"]["aulc"]
    low, high = against["low"], against["high"]
    spread = f" ({100 * low:+.1f} to {100 * high:+.1f})" if low is not None else ""
    to = [found["labels_to"][f"{t}%"] for t in (90, 95, 99)]
    return [
        f"{100 * found['aulc']['mean']:.1f}",
        "" if is_random else f"{100 * against['mean']:+.1f}{spread}",
        *(f"{100 * found['accuracy'][m]['mean']:.1f}" for m in marks),
        " / ".join("–" if t is None else f"{t:.0f}" for t in to),
        *("–" if (m := _last(found, k, last)) is None else f"{100 * m:.1f}" for k in ("ece", "macro_f1")),
        "–" if found["rest"][last] is None else f"{100 * found['rest'][last]:.1f}",
        " / ".join("–" if held is None else f"{100 * held:.0f}" for held in found["audit_interval_holds"].values()),
        f"{found['coverage']['classes']:.0f}",
        f"{found['coverage']['similarity']:.2f}",
        f"{sum(found['seconds_per_round'].values()):.1f}",
    ]


def table(results: Results) -> str:
    """The table in Markdown, with a line above it that says what was measured."""
    header, rows = rows_of(results)
    lines = [" | ".join(header), " | ".join("---" for _ in header), *(" | ".join(row) for row in rows)]
    return headline(results) + "\n\n" + "\n".join(f"| {line} |" for line in lines)


def headline(results: Results) -> str:
    """What was simulated, in one sentence."""
    plan, full = results["plan"], results["full"]
    learner = "LoRA adapter" if plan["adapter"] == "lora" else "frozen features and a linear head"
    floor = f"; without a label {100 * results['before']['accuracy']:.1f} %" if results["before"] else ""
    ceiling = f"; with all {full['labels']} labels {100 * full['accuracy']:.1f} %" if full else ""
    return (
        f"{plan['data'].split(':')[0]}: {results['tasks']} tasks, {results['classes']} classes, "
        f"{results['seeds']} seeds, {learner}, {plan['audit_share']:.0%} audit labels{floor}{ceiling}. "
        f"{results['metric'].capitalize()} on {results['test_items']} test items, %.{_by_default(results)}"
    )


def _by_default(results: Results) -> str:
    """Which strategies could not choose, and for how many labels; empty where all could."""
    found = {name: strategy["by_default"] for name, strategy in results["strategies"].items()}
    said = ", ".join(f"{labels:.0f} labels of {name}" for name, labels in found.items() if labels)
    return f" What a strategy could not choose, the default did: {said}." if said else ""


def measures(results: Results) -> dict[str, str]:
    """Those measures that the strategies have, and what they are called."""
    found = {**MEASURES, "accuracy": results["metric"]}
    return {key: name for key, name in found.items() if key in results["strategies"][DEFAULT]}


def _series(results: Results, measure: str) -> dict[str, tuple[list[int], list[float], list[float], list[float]]]:
    """Strategy -> labels, mean, lowest and highest seed."""
    found = {}
    for name, strategy in results["strategies"].items():
        values = {n: v for n, v in strategy.get(measure, {}).items() if v["mean"] is not None}
        seeds = [[s for s in v["seeds"] if s is not None] for v in values.values()]
        found[name] = (
            [int(n) for n in values],
            [v["mean"] for v in values.values()],
            [min(s) for s in seeds],
            [max(s) for s in seeds],
        )
    return found


def _picture(results: Results, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    names = measures(results)
    for axes, measure in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for name, (labels, mean, low, high) in _series(results, measure).items():
            strong = name in (DEFAULT, RANDOM)
            (line,) = axes.plot(labels, mean, label=name, linewidth=2.2 if strong else 1.0)
            if strong:
                axes.fill_between(labels, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
        if results["full"] and measure in results["full"]:
            axes.axhline(results["full"][measure], color="gray", linestyle=":", label="all labels")
        axes.set(xlabel="labels", ylabel=names[measure])
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def _page(results: Results, path: Path) -> None:
    from plotly.subplots import make_subplots

    names = measures(results)
    figure = make_subplots(rows=1, cols=len(names), subplot_titles=list(names.values()))
    palette = figure.layout.template.layout.colorway or ("#636efa", "#ef553b", "#00cc96", "#ab63fa", "#ffa15a")
    for column, measure in enumerate(names, 1):
        for at, (name, (labels, mean, _, _)) in enumerate(_series(results, measure).items()):
            line = {"color": palette[at % len(palette)], "width": 3 if name in (DEFAULT, RANDOM) else 1.5}
            style = {"name": name, "legendgroup": name, "showlegend": column == 1, "line": line}
            figure.add_scatter(x=labels, y=mean, row=1, col=column, **style)
    figure.update_xaxes(title_text="labels")
    figure.update_layout(template="plotly_white", height=480)
    header, rows = rows_of(results)
    body = [
        f"<p>{escape(headline(results))}</p>",
        figure.to_html(full_html=False, include_plotlyjs=True),
        f"<table>{_tr('th', header)}{''.join(_tr('td', row) for row in rows)}</table>",
    ]
    path.write_text(PAGE.format(body="\n".join(body)), encoding="utf-8")


def _tr(tag: str, cells: list[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
