"""The pictures of a round, for its page and for MLflow: matplotlib figures of the report's data.

No global state: figures are made without pyplot. Colours are the constants below, so that the page can put
its own light and dark ones in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

if TYPE_CHECKING:
    from rlhf.evaluation.report import Report

INK, MUTED, LINE = "#1c2026", "#69707c", "#dcdfe4"
ACCENT, SECOND, SOFT = "#0c7a70", "#bf5b0b", "#b3bac4"

STYLE: Any = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.solid_capstyle": "round",
    "figure.constrained_layout.use": True,
}
WIDTH = 4.7  # inches


def figures(report: Report) -> dict[str, Figure]:
    """The pictures that the report has data for, by name, in the order of the page."""
    makers: dict[str, Callable[[Report], Figure | None]] = {
        "win_rates": win_rates,
        "gain_by_feature": gain_by_feature,
        "ppo_reward": lambda r: ppo_curve(r, "reward", "reward"),
        "ppo_kl": lambda r: ppo_curve(r, "kl", "nats a response"),
        "ppo_watch": ppo_watch,
        "ppo_health": ppo_health,
        "reward_model": reward_model,
        "alignment_tax": alignment_tax,
        "data_funnel": data_funnel,
        "rounds": rounds,
    }
    with rc_context(STYLE):
        return {name: figure for name, make in makers.items() if (figure := make(report)) is not None}


def names(report: Report) -> dict[str, str]:
    """What each policy of the evaluation is called."""
    evaluation = report.get("evaluation") or {}
    return {
        "base": "base",
        "base_few_shot": "base, few-shot",
        "rl_start": "RL start",
        "sft": "SFT",
        "sft_control": "SFT, sampled again",
        "sft_low_temperature": f"SFT at temperature {evaluation.get('low_temperature', 0.5):g}",
        "best_of_n": f"SFT, best of {evaluation.get('best_of_n', 'n')} by RM",
        "policy": "policy",
        "champion": "champion",
        "ppo": "PPO",
        "ppo_ptx": "PPO-ptx",
    }


def win_rates(report: Report) -> Figure | None:
    """Every policy's win rate over SFT, by noise-free utility, by held-out labelers and by the reward model."""
    policies = _policies(report, "win_rate_vs_sft")
    if not policies:
        return None
    figure = Figure(figsize=(WIDTH, 0.75 + 0.46 * len(policies)))
    axes = figure.subplots()
    kinds = [
        ("win_rate_vs_sft", -0.22, ACCENT, "noise-free utility"),
        ("win_rate_vs_sft_by_labelers", 0.0, INK, "held-out labelers"),
        ("win_rate_vs_sft_by_rm", 0.22, SECOND, "reward model"),
    ]
    for key, shift, color, label in kinds:
        for row, (name, found) in enumerate(policies.items()):
            if key not in found:
                continue
            low, mid, high = found[key]
            strong = 1.0 if name in ("policy", "champion") else 0.62
            axes.plot([low, high], [row + shift] * 2, color=color, linewidth=1.8, alpha=strong)
            axes.plot(
                mid,
                row + shift,
                "o",
                color=color,
                markersize=5.5,
                alpha=strong,
                label=label if row == 0 else None,
            )
    axes.axvline(0.5, color=MUTED, linewidth=1)
    for row, (name, found) in enumerate(policies.items()):
        weight = "bold" if name == "policy" else "normal"
        axes.text(1.03, row, f"{found['win_rate_vs_sft'][1]:.0%}", va="center", color=ACCENT, weight=weight)
    called = names(report)
    axes.set_yticks(range(len(policies)), [called.get(name, name) for name in policies])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
    axes.set_ylim(len(policies) - 0.45, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(axis="y", visible=False)
    _legend(figure, axes)
    return figure


def gain_by_feature(report: Report) -> Figure | None:
    """Each feature's part of the policy's gain in utility over SFT."""
    own = _policies(report, "gain_by_feature").get("policy")
    if own is None:
        return None
    parts: Mapping[str, float] = own["gain_by_feature"]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.34 * len(parts)))
    axes = figure.subplots()
    reach = max(0.01, *map(abs, parts.values()))
    for row, value in enumerate(parts.values()):
        axes.barh(row, value, height=0.56, color=ACCENT if value >= 0 else SECOND)
        side = 1 if value >= 0 else -1
        said = f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")
        axes.text(
            value + side * 0.03 * reach,
            row,
            said,
            va="center",
            ha="left" if side > 0 else "right",
            fontsize=9,
        )
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(parts)), [name.replace("_", " ") for name in parts])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
    axes.set_ylim(len(parts) - 0.5, -0.5)
    low, high = min(0.0, *parts.values()), max(0.0, *parts.values())
    axes.set_xlim(low - 0.28 * reach * (low < 0), high + 0.28 * reach)
    total = f"{sum(parts.values()):+.2f}".replace("-", "−")
    axes.set_xlabel(f"utility over SFT: {total} in all")
    axes.grid(axis="y", visible=False)
    return figure


def ppo_curve(report: Report, key: str, label: str) -> Figure | None:
    """One figure of PPO over its iterations: as measured, and smoothed."""
    steps, values = _series(report.get("ppo") or [], key)
    if not steps:
        return None
    figure = Figure(figsize=(WIDTH, 2.5))
    axes = figure.subplots()
    _curve(axes, steps, values)
    axes.set_ylabel(label)
    axes.set_xlabel("PPO iteration")
    return figure


def ppo_watch(report: Report) -> Figure | None:
    """Gains of the trained and of the held-out reward model, in standard deviations (rlhf.training.hacking)."""
    lines = report.get("ppo") or []
    shown = (("reward_gain", "trained towards", ACCENT), ("held_out_gain", "held out", SECOND))
    series = [(label, color, *_series(lines, key)) for key, label, color in shown]
    if not all(steps for _, _, steps, _ in series):
        return None
    figure = Figure(figsize=(WIDTH, 2.8))
    axes = figure.subplots()
    for label, color, steps, values in series:
        axes.plot(steps, values, color=color, linewidth=1.9, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylabel("gain, sd")
    axes.set_xlabel("PPO iteration")
    _legend(figure, axes)
    return figure


def ppo_health(report: Report) -> Figure | None:
    """Four figures that show PPO going wrong before the win rate does."""
    shown = [
        ("length", "response length, tokens"),
        ("entropy", "entropy, nats a token"),
        ("clip_fraction", "share of ratios clipped"),
        ("explained_variance", "value: variance explained"),
        ("ptx_loss", "pretraining loss"),
        ("eos_rate", "share that end by EOS"),
    ]
    series = [(label, *_series(report.get("ppo") or [], key)) for key, label in shown]
    series = [entry for entry in series if entry[1]][:6]
    if not series:
        return None
    rows = -(-len(series) // 2)
    figure = Figure(figsize=(WIDTH, 1.45 * rows))
    grid = figure.subplots(rows, 2, squeeze=False).ravel()
    for axes, (label, steps, values) in zip(grid, series, strict=False):
        _curve(axes, steps, values)
        axes.set_title(label, fontsize=9, loc="left", color=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axes in grid[len(series) :]:
        axes.set_visible(False)
    return figure


def reward_model(report: Report) -> Figure | None:
    """Pairwise accuracy while the reward model learns, on held-out rankings, and the ceiling."""
    found = report.get("reward_model") or {}
    steps, values = _series(found.get("metrics") or [], "accuracy")
    if not steps and "accuracy" not in found:
        return None
    figure = Figure(figsize=(WIDTH, 3.5))
    axes = figure.subplots()
    if steps:
        _curve(axes, steps, values, label="training rankings, batch by batch")
    end = steps[-1] if steps else 1
    if "accuracy" in found:
        low, high = (
            found.get("accuracy_low", found["accuracy"]),
            found.get("accuracy_high", found["accuracy"]),
        )
        axes.plot([end * 1.03] * 2, [low, high], color=SECOND, linewidth=1.8)
        axes.plot(end * 1.03, found["accuracy"], "o", color=SECOND, markersize=5.5, label="held-out rankings")
    for level, label, rise in (
        (found.get("ceiling"), "ceiling: the utility itself", 3),
        (0.5, "chance", -11),
    ):
        if level is not None:
            axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                label,
                (0, level),
                (2, rise),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color=MUTED,
                fontsize=8.5,
            )
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_ylim(min(0.44, *values) if values else 0.44, max(0.9, found.get("ceiling") or 0, *values) + 0.03)
    axes.set_xlabel("step")
    _legend(figure, axes)
    return figure


def alignment_tax(report: Report) -> Figure | None:
    """Held-out pretraining loss of each model, as a rise over base."""
    policies = _policies(report, "pretraining_loss")
    if len(policies) < 2:
        return None
    losses = {name: found["pretraining_loss"] for name, found in policies.items()}
    start = losses.get("base", min(losses.values()))
    figure = Figure(figsize=(WIDTH, 0.9 + 0.5 * len(losses)))
    axes = figure.subplots()
    called = names(report)
    reach = max(abs(loss - start) for loss in losses.values()) or 0.1
    for row, (name, loss) in enumerate(losses.items()):
        axes.barh(row, loss - start, left=start, height=0.52, color=ACCENT if name == "policy" else SOFT)
        risen = "" if loss == start else f"  {loss - start:+.2f}"
        axes.text(max(loss, start) + 0.03 * reach, row, f"{loss:.2f}{risen}", va="center", fontsize=9)
    axes.axvline(start, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(losses)), [called.get(name, name) for name in losses])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
    axes.set_ylim(len(losses) - 0.5, -0.5)
    axes.set_xlim(min(start, *losses.values()) - 0.05 * reach, max(losses.values()) + 0.45 * reach)
    axes.set_xlabel("nats a token on held-out text")
    axes.grid(axis="y", visible=False)
    return figure


def data_funnel(report: Report) -> Figure | None:
    """What each step of curation kept of the logged prompts."""
    steps = ((report.get("funnel") or {}).get("prompts") or {}).get("steps") or []
    steps = [step for step in steps if "of" not in step]  # of a held-out side
    if not steps:
        return None
    figure = Figure(figsize=(WIDTH, 0.6 + 0.36 * len(steps)))
    axes = figure.subplots()
    widest = max(step["in"] for step in steps) or 1
    for row, step in enumerate(steps):
        dropped = step["in"] - step["out"]
        axes.barh(row, step["out"], height=0.52, color=ACCENT, alpha=0.85)
        axes.barh(
            row,
            dropped,
            left=step["out"],
            height=0.52,
            color=SOFT if step["step"] == "split" else SECOND,
            alpha=0.6,
        )
        said = f"{step['out']:,}" + (f"  −{dropped:,}" if dropped else "")
        axes.text(step["in"] + 0.015 * widest, row, said, va="center", fontsize=9)
    axes.set_yticks(range(len(steps)), [step["step"].replace("_", " ") for step in steps])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
    axes.set_ylim(len(steps) - 0.5, -0.5)
    axes.set_xlim(0, 1.3 * widest)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel("prompts")
    axes.grid(axis="y", visible=False)
    return figure


def rounds(report: Report) -> Figure | None:
    """Win rate over SFT of each round's policy."""
    history = [entry for entry in report.get("history") or [] if entry.get("win_rate")]
    if len(history) < 2:
        return None
    figure = Figure(figsize=(WIDTH, 2.3))
    axes = figure.subplots()
    at = [entry["round"] for entry in history]
    low, mid, high = np.array([entry["win_rate"] for entry in history]).T
    axes.fill_between(at, low, high, color=ACCENT, alpha=0.16, linewidth=0)
    axes.plot(at, mid, "o-", color=ACCENT, linewidth=1.8, markersize=5)
    axes.axhline(0.5, color=MUTED, linewidth=1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("round")
    return figure


def _policies(report: Report, key: str) -> dict[str, Mapping[str, Any]]:
    evaluated = (report.get("evaluation") or {}).get("policies") or {}
    return {name: found for name, found in evaluated.items() if key in found}


def _series(lines: Sequence[Mapping[str, float]], key: str) -> tuple[list[float], list[float]]:
    found = [(line["step"], line[key]) for line in lines if key in line and "step" in line]
    return [step for step, _ in found], [value for _, value in found]


def _curve(axes: Axes, steps: Sequence[float], values: Sequence[float], label: str | None = None) -> None:
    axes.plot(steps, values, color=ACCENT, linewidth=1, alpha=0.28)
    axes.plot(steps, smooth(values), color=ACCENT, linewidth=1.9, label=label)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def smooth(values: Sequence[float]) -> list[float]:
    """A running mean that looks as far back as ahead, a tenth of the run wide; the ends look less far."""
    half = max(1, len(values) // 20)
    return [
        float(np.mean(values[at - near : at + near + 1]))
        for at in range(len(values))
        for near in [min(half, at, len(values) - 1 - at)]
    ]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=2,
            labelcolor=MUTED,
            handletextpad=0.5,
            columnspacing=1.4,
        )
