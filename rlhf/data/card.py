"""The data card and the funnel of a curation: what went in, what was removed and why, what is left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rlhf.data.pii import redact
from rlhf.records import write_jsonl

Record = dict[str, Any]
EXAMPLE = 160  # characters shown of a text


def write(out_dir: Path, funnel: Record, sets: dict[str, list[Record]]) -> None:
    """funnel.json and card.md."""
    write_jsonl(out_dir / "funnel.json", [funnel])
    (out_dir / "card.md").write_text(render(funnel, sets), encoding="utf-8")


def render(funnel: Record, sets: dict[str, list[Record]]) -> str:
    """Markdown: steps with rows in and out, reasons, sizes, shares and redacted examples."""
    lines = ["# Data card", ""]
    for kind, part in funnel.items():
        lines += [f"## {kind}", "", "| step | rows in | rows out | removed, and why |", "|---|---|---|---|"]
        for step in part["steps"]:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in step["reasons"].items()) or "-"
            lines.append(f"| {step['step']} | {step['in']:,} | {step['out']:,} | {reasons} |")
        lines += ["", "| set | rows | words, median | longest |", "|---|---|---|---|"]
        for name in part["sets"]:
            lengths = sorted(_words(row) for row in sets[name])
            lines.append(f"| {name} | {len(lengths):,} | {lengths[len(lengths) // 2]} | {lengths[-1]} |")
        if part["pii"]:
            found = ", ".join(f"{kind} {count:,}" for kind, count in part["pii"].items())
            lines += ["", f"Personal data found in the training split: {found}."]
        lines.append("")
    prompts = [row for name, rows in sets.items() if name.startswith("prompts") for row in rows]
    shares = Counter(row["use_case"] or "not given" for row in prompts)
    lines += ["## Prompts by use case", "", "| use case | share |", "|---|---|"]
    lines += [f"| {case} | {count / len(prompts):.1%} |" for case, count in shares.most_common()]
    lines += ["", f"Users: {len({row['user_id'] for row in prompts}):,}.", "", "## Examples", ""]
    for name, rows in sets.items():
        for row in sorted(rows, key=lambda row: row["id"])[:2]:
            text = row["text"] if "text" in row else row["messages"][-1]["content"]
            shown = " ".join(redact(text).split())[:EXAMPLE].replace("`", "'")
            lines.append(f"- {name}: `{shown}`")
    return "\n".join(lines) + "\n"


def _words(row: Record) -> int:
    if "text" in row:
        return len(row["text"].split())
    return sum(len(message["content"].split()) for message in row["messages"])
