"""The page of a round: one HTML file that opens without a server, a script or a network.

    page(report) -> str            the whole page; what models and users wrote is escaped, and redacted again
    figures(report) -> {name: Figure}   its pictures, which MLflow gets too

A report is a plain dict of what a round left behind; whatever is missing is left out of the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypedDict

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from rlhf.data.pii import redact
from rlhf.evaluation import figures as pictures
from rlhf.evaluation.figures import figures, names
from rlhf.training.hacking import alarm

__all__ = ["Report", "figures", "page"]

SHOWN_PROMPTS = 6
COLORS = {
    pictures.INK: "var(--ink)",
    pictures.MUTED: "var(--muted)",
    pictures.LINE: "var(--line)",
    pictures.ACCENT: "var(--accent)",
    pictures.SECOND: "var(--second)",
    pictures.SOFT: "var(--soft)",
}


class Report(TypedDict, total=False):
    """What a page is made of. Every key but `round` may be missing.

    round: its number. made: when, as it should read. policy: the version that the round made.
    evaluation: evaluation.json (rlhf.evaluation.evaluate), on validation users. release: the same on test users, with
    earlier_releases, where there was one. gate: {passed: bool, reasons: [sentence], note?}.
    samples: rows of the evaluation's samples.jsonl. ppo: lines of PPO's metrics.jsonl {step, reward, kl, ...}.
    reward_model: {metrics: lines {step, loss, accuracy}, accuracy, accuracy_low, accuracy_high, ceiling}.
    ranking: figures of the stage rank. funnel: funnel.json. history: [{round, win_rate: [low, mid, high]}].
    stages: [{stage, seconds, cached, model, figure}]. lineage: {what: version or digest}, in order.
    """

    round: int
    made: str
    policy: str
    evaluation: dict[str, Any]
    release: dict[str, Any] | None
    gate: dict[str, Any]
    samples: Sequence[dict[str, Any]]
    ppo: Sequence[dict[str, float]]
    reward_model: dict[str, Any]
    ranking: dict[str, float]
    funnel: dict[str, Any]
    history: Sequence[dict[str, Any]]
    stages: Sequence[dict[str, Any]]
    lineage: Mapping[str, str]


def page(report: Report) -> str:
    """The report as one HTML document."""
    evaluated = (report.get("evaluation") or {}).get("policies") or {}
    return (
        _templates()
        .get_template("report.html")
        .render(
            report=report,
            pictures={name: Markup(svg(name, figure)) for name, figure in figures(report).items()},
            names=names(report),
            evaluated=evaluated,
            policy=evaluated.get("policy"),
            tiles=tiles(report),
            alarm=alarm((report.get("ppo") or [{}])[-1]),
            samples=[_shown(row) for row in list(report.get("samples") or [])[:SHOWN_PROMPTS]],
        )
    )


def svg(name: str, figure: Figure) -> str:
    """A figure as an inline SVG: the page's fonts and colours, ids that no other picture has."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.S)
    drawing = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawing, count=1)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'(href="|url\()#', rf"\1#{name}-", drawing)
    drawing = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", drawing)
    for color, variable in COLORS.items():
        drawing = drawing.replace(color, variable)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{name.replace("_", " ")}"', 1)


def tiles(report: Report) -> list[dict[str, str]]:
    """The figures beside the headline: {label, value, note}."""
    policy = ((report.get("evaluation") or {}).get("policies") or {}).get("policy") or {}
    rm = report.get("reward_model") or {}
    found = []
    if "minus_low_temperature" in policy:
        low, mid, high = (100 * number for number in policy["minus_low_temperature"])
        if low > 0:
            note = "above 0 with its whole interval: more than sharpening"
        elif high < 0:
            note = "under 0 with its whole interval: lowering the temperature is worth more"
        else:
            note = "its interval holds 0: sharpening may explain it"
        found.append(
            _tile("over low-temperature SFT", f"{mid:+.1f} pts", f"{low:+.1f} to {high:+.1f}; {note}")
        )
    if "kl" in policy:
        low, mid, high = policy["kl"]
        found.append(_tile("KL to the RL start", f"{mid:.2f}", f"nats a response, {low:.2f}–{high:.2f}"))
    if "alignment_tax" in policy:
        note = f"nats a token on held-out text; its loss is {policy['pretraining_loss']:.2f}"
        found.append(_tile("alignment tax", f"{policy['alignment_tax']:+.2f}", note))
    if "accuracy" in rm:
        ceiling = f"; the ceiling is {100 * rm['ceiling']:.0f} %" if rm.get("ceiling") else ""
        found.append(
            _tile(
                "reward model accuracy",
                f"{100 * rm['accuracy']:.0f} %",
                f"on held-out pairs{ceiling}",
            )
        )
    accuracy = ((report.get("evaluation") or {}).get("reward_model") or {}).get("accuracy_by_utility") or {}
    if "policy" in accuracy:
        value, among = f"{100 * accuracy['policy'][1]:.0f} %", accuracy.get("sft")
        sft = f"; of SFT's {100 * among[1]:.0f} %" if among else ""
        note = f"of pairs of its own answers ordered as the utility does{sft}"
        found.append(_tile("reward model on the policy", value, note))
    if "over_optimisation" in policy:
        note = "win rate by the reward model less that by noise-free utility; far above 0, it is being gamed"
        found.append(_tile("over-optimisation", f"{100 * policy['over_optimisation']:+.0f} pts", note))
    if "agreement" in (report.get("ranking") or {}):
        found.append(
            _tile(
                "labelers agree",
                f"{100 * report['ranking']['agreement']:.0f} %",
                "two of them, on pairs of completions",
            )
        )
    return found


def _tile(label: str, value: str, note: str) -> dict[str, str]:
    return {"label": label, "value": value.replace("-", "−"), "note": f" {note}".replace(" -", " −")[1:]}


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A sample as the page shows it: the last turns of the prompt, SFT's and the policy's answers."""
    answers = {
        name: {**row["answers"][name], "text": redact(row["answers"][name]["text"])}
        for name in ("sft", "policy")
        if name in row["answers"]
    }
    turns = [{"role": m["role"], "text": redact(m["content"])} for m in row["messages"]]
    best = max((answer["utility"] for answer in answers.values()), default=0.0)
    for answer in answers.values():
        answer["preferred"] = answer["utility"] == best and len({a["utility"] for a in answers.values()}) > 1
    return {"turns": turns[-3:], "answers": answers}


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("rlhf.evaluation", "pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "duration": _duration,
        "number": _number,
        "interval": _interval,
    }
    return environment


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.0f}–{100 * interval[2]:.0f} %"


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
