"""What a person sees at the terminal: the closing table of a round, status, data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from flows import schedule
from flows.hints import hint
from flows.terminal import console
from rlhf.evaluation.win_rate import text
from rlhf.params import Params
from tasks import lock, promotion, registry, report, rounds, versioning
from tasks.profile import data_folder
from tasks.tracking import home, shown


def show_round(result: dict[str, Any], params: Params) -> None:
    """The table of a round and where to look next."""
    number, state, rows = result["round"], result["state"], result["table"]
    out = console()
    table = Table(title=f"round {number}: {state}", title_justify="left")
    for name, right in (
        ("stage", False),
        ("time", True),
        ("", False),
        ("model version", False),
        ("key figure", False),
    ):
        table.add_column(name, justify="right" if right else "left")
    for row in rows:
        table.add_row(
            row["stage"],
            duration(row["seconds"]),
            "cached" if row["cached"] else "run",
            row["model"],
            row["figure"],
        )
    out.print(table)
    if rows and all(row["cached"] for row in rows):
        out.print("every stage was taken from the cache: nothing has changed")
    gate = result["gate"]
    if gate:
        failed = [reason.removeprefix("fails: ") for reason in gate["reasons"] if reason.startswith("fails")]
        said = "passed: `rlhf promote` makes the policy the champion" if gate["passed"] else "; ".join(failed)
        out.print(hint(f"gate    {said}"), highlight=False, soft_wrap=True)
    for line in NEXT[state](number, params):
        out.print(hint(line), highlight=False, soft_wrap=True)


def show_release(done: dict[str, Any]) -> None:
    """A policy's figures on the test users, and where its page is."""
    figures, out = done["figures"], console()
    own = figures["policies"]["policy"]
    of = f"{figures['prompts']} prompts of {figures['users']} test users"
    table = Table(title=f"release of {done['policy']}: {of}", title_justify="left", show_header=False)
    for label, interval in (
        ("win rate over SFT, held-out labelers", own["win_rate_vs_sft_by_labelers"]),
        ("the same at equal length", own["length_controlled_by_labelers"]),
        ("win rate over SFT, noise-free utility", own["win_rate_vs_sft"]),
        ("KL to the RL start, nats a response", own["kl"]),
    ):
        table.add_row(label, text(interval))
    out.print(table)
    if done["earlier_releases"]:
        out.print(f"these test users were read for {done['earlier_releases']} policies before")
    out.print(f"report  {page_path(done['round'])}", highlight=False, soft_wrap=True)


def _finished(number: int, params: Params) -> list[str]:
    return [
        f"report  {page_path(number)}",
        "models  " + ("" if shown().startswith("http") else "mlflow ui --backend-store-uri ") + shown(),
        "next    rlhf chat (talk to the policy), rlhf status, rlhf run (the next round)",
    ]


def _waiting(number: int, params: Params) -> list[str]:
    file = data_folder(params) / "rounds" / f"{number:04d}" / "to_rank.jsonl"
    return [
        f"waiting for rankings: {file}",
        "fill in labeler_id and ranks (1 is best, equal ranks are ties) in a copy of it, then",
        "  rlhf data add comparisons FILE && rlhf run",
    ]


def _no_prompts(number: int, params: Params) -> list[str]:
    return [
        "no fresh prompts are left: earlier rounds used them all. The round ends here.",
        "  rlhf data add prompts FILE && rlhf run",
    ]


NEXT = {"finished": _finished, "waiting for rankings": _waiting, "no fresh prompts": _no_prompts}


def show_status(params: Params) -> None:
    """Rounds, the newest version and aliases of each model, and who runs a round now."""
    out = console()
    promotion.reconcile()
    holder = lock.holder()
    table = Table(title="rounds", title_justify="left")
    for name in ("round", "state", "time", "policy", "report"):
        table.add_column(name)
    for ref in registry.rounds():
        rows = {row["stage"]: row for row in rounds.table(ref)}
        took = duration(sum(row["seconds"] for row in rows.values())) if rows else ""
        page = page_path(ref.round)
        policy = rows.get("ppo", {}).get("model", "")
        state = rounds.state(ref)
        if state == "running" and holder is None:
            state = hint("stopped: `rlhf run` continues it")
        table.add_row(str(ref.round), state, took, policy, str(page) if page.is_file() else "")
    out.print(table)
    models = Table(title="models", title_justify="left")
    for name in ("model", "versions", "aliases"):
        models.add_column(name)
    for name in registry.MODELS:
        versions = registry.versions(name)
        held = ", ".join(f"{alias} -> {version}" for alias, version in sorted(registry.aliases(name).items()))
        models.add_row(name, f"1 to {versions[-1]}" if versions else "none yet", held)
    out.print(models)
    out.print(f"running now: {holder or 'nothing'}", highlight=False)
    for sentence in schedule.sentences():
        out.print(sentence, highlight=False, soft_wrap=True)
    out.print(f"state {home()}   MLflow {shown()}", highlight=False, soft_wrap=True)


def show_data(params: Params) -> None:
    """Files under data/ and whether data.dvc names them as they are."""
    out = console()
    table = Table(title="data", title_justify="left")
    table.add_column("folder")
    table.add_column("files", justify="right")
    table.add_column("MB", justify="right")
    folders = [*sorted(Path("data/raw").glob("*/")), data_folder(params) / "curated"]
    folders += sorted((data_folder(params) / "rounds").glob("*/"))
    for folder in folders:
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        table.add_row(str(folder), str(len(sizes)), f"{sum(sizes) / 1e6:.1f}")
    out.print(table)
    if not Path("data").is_dir():
        out.print(hint("there is no data/ yet: `rlhf data fetch` builds the embedded default"))
    elif versioning.is_clean(params.versioning):
        out.print(f"kept as {versioning.current().digest} (data.dvc)", highlight=False)
    else:
        out.print(
            hint(
                "data/ has changes that no version keeps: the next round keeps them, or `rlhf data snapshot`"
            )
        )


def page_path(number: int) -> Path:
    """Of a round's report, relative to here where it lies below."""
    path = report.page_path(number)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
