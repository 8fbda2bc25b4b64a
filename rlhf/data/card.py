"""The data card and the picture of a curation: what went in, what was removed and why, what is left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from rlhf.data import use_case
from rlhf.records import write_jsonl

Record = dict[str, Any]
KEPT, HELD_OUT, REMOVED = "#2b6cb0", "#a0aec0", "#dd6b20"
LEFT, WIDTH = 190, 430  # pixels: where bars begin, and the longest


def write(out_dir: Path, funnel: Record) -> None:
    """funnel.json, card.md and funnel.svg. funnel: {kind: what Funnel.as_dict gives}."""
    write_jsonl(out_dir / "funnel.json", [funnel])
    (out_dir / "card.md").write_text(render(funnel), encoding="utf-8")
    (out_dir / "funnel.svg").write_text(picture(funnel), encoding="utf-8")


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
        lines += [*_languages(part["steps"]), *_use_cases(part["shapes"])]
        lines += ["", *_examples(part), ""]
    return "\n".join(lines)


def picture(funnel: Record) -> str:
    """An SVG of bars: what each step kept, held out and removed. Written by hand: matplotlib takes a second to load."""
    steps = [(kind, step) for kind, part in funnel.items() for step in part["steps"] if "of" not in step]
    height = 26 * len(steps) + 44
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" width="760" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="760" height="{height}" fill="white"/>',
    ]
    for row, (kind, step) in enumerate(steps):
        y, lost = 26 * row + 10, step["in"] - step["out"]
        kept = WIDTH * step["out"] / max(step["in"], 1)
        aside = HELD_OUT if step["step"] == "split" else REMOVED
        said = f"{step['out']:,}" + (f" \u2212{lost:,}" if lost else "")
        lines += [
            f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(f"{kind}: {_name(step)}")}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{kept:.1f}" height="18" fill="{KEPT}"/>',
            f'<rect x="{LEFT + kept:.1f}" y="{y}" width="{WIDTH - kept if step["in"] else 0:.1f}" height="18" fill="{aside}"/>',
            f'<text x="{LEFT + WIDTH + 8}" y="{y + 13}">{said}</text>',
        ]
    legend = ((KEPT, "kept"), (HELD_OUT, "held out"), (REMOVED, "removed"))
    for at, (colour, said) in enumerate(legend):
        x = LEFT + 110 * at
        lines.append(f'<rect x="{x}" y="{height - 26}" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{x + 18}" y="{height - 16}">{said}</text>')
    lines.append(f'<text x="{LEFT + 330}" y="{height - 16}">of the rows that came to a step</text>')
    return "\n".join([*lines, "</svg>", ""])


def _name(step: Record) -> str:
    return f"{step['step']} ({step['of']})" if "of" in step else str(step["step"])


def _languages(steps: list[Record]) -> list[str]:
    """Shares of what came to the language step."""
    step = next((step for step in steps if step["step"] == "language" and step["in"]), None)
    if step is None:
        return []
    shares = {"kept: wanted, or not to be told": step["out"]}
    shares |= {reason.removeprefix("language "): count for reason, count in step["reasons"].items()}
    ordered = sorted(shares.items(), key=lambda language: (-language[1], language[0]))
    return [
        "",
        "| language | share |",
        "|---|---|",
        *(f"| {language} | {count / step['in']:.1%} |" for language, count in ordered),
    ]


def _use_cases(shapes: Record) -> list[str]:
    shares: Counter[str] = Counter()
    for shape in shapes.values():
        shares.update(shape.get("use_cases", {}))
    if not shares:
        return []
    total = shares.total()
    ordered = sorted(shares.items(), key=lambda case: (-case[1], case[0]))
    return [
        "",
        "| use case | share |",
        "|---|---|",
        *(f"| {case} | {n / total:.1%} |" for case, n in ordered),
        "",
        "Where a record gives none it is classified, rightly for "
        f"{use_case.held_out_figure()['all']:.0%} of prompts that the rules were not written for.",
    ]


def _examples(part: Record) -> list[str]:
    kept = [
        f"- {name}: {_code(text)}" for name, shape in part["shapes"].items() for text in shape["examples"][:2]
    ]
    gone = [
        f"- {_name(step)}, {example['reason']}: {_code(example['text'])}"
        for step in part["steps"]
        for example in step["examples"][:1]
    ]
    return ["Kept, for example:", "", *kept] + (["", "Removed, for example:", "", *gone] if gone else [])


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"
