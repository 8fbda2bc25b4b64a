"""The data card and the picture of a curation: what went in, what was removed and why, what is left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rlhf.records import write_jsonl

Record = dict[str, Any]
KEPT, HELD_OUT, REMOVED = "#2b6cb0", "#a0aec0", "#dd6b20"


def write(out_dir: Path, funnel: Record) -> None:
    """funnel.json, card.md and funnel.svg. funnel: {kind: what Funnel.as_dict gives}."""
    write_jsonl(out_dir / "funnel.json", [funnel])
    (out_dir / "card.md").write_text(render(funnel), encoding="utf-8")
    picture(out_dir / "funnel.svg", funnel)


def render(funnel: Record) -> str:
    """Markdown: steps with rows in and out, reasons, sizes, shares and redacted examples."""
    lines = ["# Data card", "", "![What each step kept](funnel.svg)", ""]
    for kind, part in funnel.items():
        lines += [f"## {kind}", "", "| step | rows in | rows out | removed, and why |", "|---|---|---|---|"]
        for step in part["steps"]:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in step["reasons"].items()) or "-"
            lines.append(f"| {_name(step)} | {step['in']:,} | {step['out']:,} | {reasons} |")
        lines += ["", "| set | rows | words, median | 95 % | longest | users |", "|---|---|---|---|---|---|"]
        for name, shape in part["shapes"].items():
            words = shape["words"]
            lines.append(
                f"| {name} | {shape['rows']:,} | {words['median']} | {words['p95']} | {words['longest']} "
                f"| {shape.get('users', '-')} |"
            )
        if part["pii"]:
            found = ", ".join(f"{kind} {count:,}" for kind, count in part["pii"].items())
            lines += ["", f"Personal data found in the training split: {found}."]
        lines += _use_cases(part["shapes"])
        lines += ["", *_examples(part), ""]
    return "\n".join(lines)


def picture(path: Path, funnel: Record) -> None:
    """Bars: what each step kept, held out and removed; the same funnel gives the same bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    steps = [(kind, step) for kind, part in funnel.items() for step in part["steps"] if "of" not in step]
    figure = Figure(figsize=(7.5, 0.8 + 0.3 * len(steps)), layout="constrained")
    axes = figure.subplots()
    for row, (_, step) in enumerate(steps):
        whole = max(step["in"], 1)
        aside = HELD_OUT if step["step"] == "split" else REMOVED
        axes.barh(row, step["out"] / whole, height=0.6, color=KEPT)
        axes.barh(row, (step["in"] - step["out"]) / whole, left=step["out"] / whole, height=0.6, color=aside)
        lost = f"  −{step['in'] - step['out']:,}" if step["in"] > step["out"] else ""
        axes.text(1.01, row, f"{step['out']:,}{lost}", va="center", fontsize=8)
    axes.set_yticks(range(len(steps)), [f"{kind}: {_name(step)}" for kind, step in steps], fontsize=8)
    axes.set_ylim(len(steps) - 0.5, -0.5)
    axes.set_xlim(0, 1.25)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"], fontsize=8)
    axes.set_xlabel("of the rows that came to the step: kept (blue), held out (grey), removed (orange)", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    with matplotlib.rc_context({"svg.hashsalt": "funnel"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _name(step: Record) -> str:
    return f"{step['step']} ({step['of']})" if "of" in step else str(step["step"])


def _use_cases(shapes: Record) -> list[str]:
    shares: Counter[str] = Counter()
    for shape in shapes.values():
        shares.update(shape.get("use_cases", {}))
    if not shares:
        return []
    total = shares.total()
    ordered = sorted(shares.items(), key=lambda case: (-case[1], case[0]))
    return ["", "| use case | share |", "|---|---|", *(f"| {case} | {n / total:.1%} |" for case, n in ordered)]


def _examples(part: Record) -> list[str]:
    kept = [f"- {name}: {_code(text)}" for name, shape in part["shapes"].items() for text in shape["examples"][:2]]
    gone = [
        f"- {_name(step)}, {example['reason']}: {_code(example['text'])}"
        for step in part["steps"]
        for example in step["examples"][:1]
    ]
    return ["Kept, for example:", "", *kept] + (["", "Removed, for example:", "", *gone] if gone else [])


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"
