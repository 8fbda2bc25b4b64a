"""The report page of a round: .rlhf/reports/round-NNNN.html, and the same page and pictures in MLflow."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks import keys, registry, stage
from tasks.registry import StageRef
from tasks.stage import Round, stage_task
from tasks.tracking import client, home

SHOWN = 12  # prompts whose answers are kept for the page


@stage_task(name="write-report")
def write_report(this: Round, decision: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Renders the page of a round from the figures of its stages; returns its path.

    decision: the gate's. rows: the closing table. A page that was made of the same stages and decision stands.
    """
    path, done = page_path(this.number), registry.stages(this.run_id)
    made_of = keys.digest([{stage: ref.run_id for stage, ref in done.items()}, decision])
    mark = f"<!-- made of {made_of} -->"
    if path.is_file() and mark in path.read_text(encoding="utf-8"):
        return str(path)
    from rlhf.evaluation.report import figures, page

    report = gather(this, done, decision, rows)
    text = page(report) + mark + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
    client().log_text(this.run_id, text, "report.html")
    for name, picture in figures(report).items():
        client().log_figure(this.run_id, picture, f"figures/{name}.svg")
    stage.say(f"report: {path}")
    return str(path)


def gather(
    this: Round, done: dict[str, StageRef], decision: dict[str, Any], rows: list[dict[str, Any]]
) -> Any:
    """The page's data (rlhf.evaluation.report.Report) out of what the stages registered."""
    evaluation, ppo, rm = done["evaluate"], done["ppo"], done["reward_model"]
    return {
        "round": this.number,
        "made": f"{datetime.now():%Y-%m-%d %H:%M}",
        "policy": str(ppo.model),
        "evaluation": evaluation.figures["evaluation"],
        "release": release(done),
        "gate": decision,
        "samples": evaluation.figures["shown"],
        "ppo": ppo.figures["series"],
        "reward_model": {**rm.figures, "metrics": rm.figures["series"]},
        "ranking": done["rank"].figures,
        "funnel": {
            name: done["curate"].figures[name] for name in ("prompts", "demonstrations", "pretraining")
        },
        "history": history(this),
        "stages": rows,
        "lineage": lineage(this, done),
    }


def release(done: dict[str, StageRef]) -> dict[str, Any] | None:
    """The figures on the test users, with "earlier_releases"; None unless they are of the policy that stands now."""
    made = done.get("release")
    if made is None or made.figures["parents"]["policy"] != done["ppo"].run_id:
        return None
    return {**made.figures["evaluation"], "earlier_releases": made.figures["earlier_releases"]}


def history(this: Round) -> list[dict[str, Any]]:
    """[{round, win_rate: [low, mid, high]}] of every round that was evaluated."""
    found = []
    for ref in registry.rounds():
        evaluated = registry.stages(ref.run_id).get("evaluate")
        if evaluated and ref.round <= this.number:
            names = ("win_rate_low", "win_rate", "win_rate_high")
            found.append({"round": ref.round, "win_rate": [evaluated.figures[name] for name in names]})
    return found


def lineage(this: Round, done: dict[str, StageRef]) -> dict[str, str]:
    """Which version of what the policy comes from."""
    tags = done["ppo"].tags
    ranked = done["reward_model"].tags
    return {
        "base": str(done["base"].model),
        "sft": done["choose_sft"].figures["sft"],
        "sampled": ", ".join(this.policies) or "SFT alone",
        "comparisons of rounds": ", ".join(map(str, range(1, this.number + 1))),
        "reward model": str(done["reward_model"].model),
        "policy": str(done["ppo"].model),
        "champion": this.champion or "none yet",
        "data": ranked.get("rlhf.data", ""),
        "git commit": tags.get("rlhf.git_commit", ""),
        "parameters": tags.get("rlhf.params", "")[:12],
    }


def page_path(number: int) -> Path:
    """.rlhf/reports/round-NNNN.html"""
    return home() / "reports" / f"round-{number:04d}.html"


def page(number: int | None) -> Path:
    """The page of a round, by default of the newest that has one. ValueError where there is none."""
    numbers = [ref.round for ref in registry.rounds() if page_path(ref.round).is_file()]
    if number is None and numbers:
        return page_path(numbers[-1])
    if number not in numbers:
        had = ", ".join(map(str, numbers)) or "none yet"
        which = "there is no report yet" if number is None else f"there is no report of round {number}"
        raise ValueError(f"{which} (rounds with one: {had}); a round writes its report when it is finished")
    return page_path(number)
