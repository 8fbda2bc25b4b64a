"""Step 2: the reward model, trained on rankings of K completions.

All C(K,2) pairs of a prompt form one batch element, so each completion goes through one forward pass.
One epoch, cosine to 10 %, dropout off (arXiv:2203.02155, C.2). Afterwards a bias is set so that labeler
demonstrations score 0 on average.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rlhf import distributed, seeds
from rlhf.chat import encode_completion, encode_prompt
from rlhf.data.load import demonstrations
from rlhf.jobs import Job
from rlhf.labeling.rankings import standing, tied
from rlhf.models import directories, importing, reward
from rlhf.models.packed import shortest
from rlhf.models.reward import RewardModel
from rlhf.models.rows import by_length, pad, tokens_at_once
from rlhf.objectives.ranking import has_untied_pair, pairwise_accuracy, ranking_loss
from rlhf.records import read_jsonl
from rlhf.training.checkpoint import Checkpoints, cut_log, random_state, set_random_state
from rlhf.training.engine import Engine, mine
from rlhf.training.finite import require_finite
from rlhf.training.lora import adapt, merged, trainable
from rlhf.training.progress import progress
from rlhf.training.schedule import cosine_to_tenth

log = logging.getLogger(__name__)


class Ranked(NamedTuple):
    """A prompt with its K completions as token ids, and their ranks (1 is best, equal is a tie)."""

    prompt: list[int]
    responses: list[list[int]]
    ranks: list[float]


class Scorer(nn.Module):
    """A sequence classifier as one forward: rows in, one score a row out, bias left out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, is_real: Tensor) -> Tensor:
        return reward.row_scores(self.model, ids, is_real)


def run(job: Job) -> dict[str, Any]:
    """Stage `reward_model`: out/model is a sequence classifier with `reward_bias` in its config.

    With reward_model.held_out_share, out/model/held_out is another, trained on the rankings that were kept from the first.
    """
    params = job.params.reward_model
    device = distributed.start(job.params.compute)
    distributed.share(params.batch, "reward_model.batch")
    if "policy" in job.inputs:
        job = replace(job, inputs=job.inputs | {"base": own_start(job)})
    tokenizer = directories.load_tokenizer(job.path("base"))
    train, valid = load_comparisons(job, tokenizer, params.max_tokens)
    seed = seeds.of_round(job.params.seed, job.round)
    kept, rest = held_out(train, params.held_out_share, seed)
    if not rest:
        raise ValueError(
            "there is no comparison to train the reward model on: the training split has none, or each is a tie throughout, or its "
            f"completions are empty or have more than reward_model.max_tokens = {params.max_tokens} tokens with their prompt"
        )
    figures = fit(job, rest, valid, device, "reward model", seed)
    if kept:
        watching = replace(job, out=job.out / "held-out")
        watching.out.mkdir(exist_ok=True)
        own = seeds.mixed(
            seed, "held-out reward model"
        )  # a head and an order of its own: other errors than the first's
        accuracy = fit(watching, kept, valid, device, "held-out reward model", own).get("accuracy")
        figures |= {"held_out_comparisons": len(kept)} | ({"held_out_accuracy": accuracy} if accuracy else {})
        if job.is_main:
            shutil.rmtree(job.out / "model" / "held_out", ignore_errors=True)
            shutil.move(watching.out / "model", job.out / "model" / "held_out")
        distributed.barrier()
    return figures


def held_out(rankings: list[Ranked], share: float, seed: int) -> tuple[list[Ranked], list[Ranked]]:
    """(about this share of the rankings, the rest), by chance; all rankings of a prompt are on one side."""
    if not share:
        return [], rankings
    by_prompt: dict[tuple[int, ...], list[Ranked]] = {}
    for ranked in rankings:
        by_prompt.setdefault(tuple(ranked.prompt), []).append(ranked)
    groups = random.Random(f"held out {seed}").sample(list(by_prompt.values()), len(by_prompt))
    kept: list[Ranked] = []
    rest: list[Ranked] = []
    for number, group in enumerate(groups, 1):
        is_kept = len(kept) < round(share * len(rankings)) and number < len(groups)  # one prompt stays
        (kept if is_kept else rest).extend(group)
    return kept, rest


def own_start(job: Job) -> Path:
    """The directory that reward_model.base names, mended as base.path is. Raises ValueError where it reads other tokens
    than the policy, which is found here and not after training: PPO gives it the policy's tokens."""
    start = job.out / "start"
    if job.is_main and not start.is_dir():  # there, and whole, where the job goes on after a kill
        importing.import_model(
            str(job.path("base")),
            start,
            key="reward_model.base",
            longest=("reward_model.max_tokens", job.params.reward_model.max_tokens),
            today=job.params.chat.today,
        )
    distributed.barrier()
    own, policy = (directories.load_tokenizer(path).get_vocab() for path in (start, job.path("policy")))
    if own != policy:
        raise ValueError(
            f"reward_model.base {job.path('base')} reads other tokens than the policy; allowed: a model with the policy's "
            "tokenizer"
        )
    return start


def fit(
    job: Job, train: list[Ranked], valid: list[Ranked], device: torch.device, label: str, seed: int
) -> dict[str, Any]:
    """Train one model on these rankings, from checkpoint to checkpoint, into out/model. Returns its figures.

    seed: of its head and of the order of the rankings.
    """
    params, compute = job.params.reward_model, job.params.compute
    torch.manual_seed(seed)
    rm = reward.from_policy(job.path("base"), seed=seed)
    scorer = Scorer(adapt(rm.model, params.lora_rank).to(device))
    scorer.eval()  # no dropout in the reward model
    optimizer = torch.optim.AdamW(
        trainable(scorer), lr=params.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    engine = Engine(scorer, optimizer, compute, max_grad_norm=1.0, dtype=params.dtype)
    draw = random.Random(seed)
    batches = [batch for _ in range(params.epochs) for batch in length_grouped(train, params.batch, draw)]
    checkpoints = Checkpoints.of(job)
    done = 0
    if found := checkpoints.latest():
        done, state, folder = found
        engine.restore(state["engine"], folder)
        set_random_state(state["random"])
    if job.is_main:
        cut_log(job.out / "metrics.jsonl", "step", done)
    for step in progress(range(done, len(batches)), label, job.is_main):
        batch = batches[step]
        for group in engine.optimizer.param_groups:
            group["lr"] = params.lr * cosine_to_tenth(step, len(batches))
        with engine.training():
            seen = train_step(engine, mine(batch) or batch, rm.tokenizer.pad_token_id)
        if step % 5 == 0 or step + 1 == len(batches):
            job.log(step + 1, **seen, learning_rate=engine.optimizer.param_groups[0]["lr"])
        if step + 1 < len(batches) and checkpoints.is_due():
            checkpoints.save(step + 1, {"engine": engine.state(), "random": random_state()}, engine.write)
    with engine.whole():
        figures: dict[str, Any] = {
            "comparisons": len(train),
            "steps": len(batches),
            "bias": set_bias(rm, job),
            **accuracy_of(rm, valid),
        }
        if job.is_main:
            weights = merged(rm.model, engine.weights_of(rm.model))
            directories.save(rm.model, rm.tokenizer, job.out / "model", state=weights)
    return figures


def length_grouped(rankings: list[Ranked], size: int, draw: random.Random) -> list[list[Ranked]]:
    """Every ranking once, in batches of `size` prompts of like length, batches in an order by chance.

    A last batch that is not full is left out, unless it is the only one.
    """
    order = draw.sample(rankings, len(rankings))
    chunk = 16 * size  # sorted within chunks, so that batches differ from epoch to epoch
    order = [r for at in range(0, len(order), chunk) for r in sorted(order[at : at + chunk], key=length)]
    batches = [order[at : at + size] for at in range(0, len(order) - size + 1, size)] or [order]
    return draw.sample(batches, len(batches))


def length(ranked: Ranked) -> int:
    """Tokens of the prompt with its longest completion."""
    return len(ranked.prompt) + max(map(len, ranked.responses))


def train_step(engine: Engine, batch: list[Ranked], pad_id: int) -> dict[str, float]:
    """One update on a batch of prompts, each process on its part. Returns loss and accuracy of the whole batch:
    the share of its untied pairs in the labeler's order.

    Whole prompts go through in groups of like length, each weighted by its share of the prompts, so that memory does
    not grow with the batch. ZeRO exchanges at each backward: a process with fewer groups passes one again at weight 0.
    """
    model: Any = engine.module.model
    groups = list(
        by_length(
            [length(ranked) for ranked in batch],
            tokens_at_once(model.device) // max(len(ranked.responses) for ranked in batch),
            least=shortest(model),
        )
    )
    total, right, pairs = 0.0, 0, 0
    passes = int(distributed.largest(len(groups)))
    for number in range(passes):
        group = [batch[at] for at in groups[min(number, len(groups) - 1)]]
        weight = len(group) / len(batch) if number < len(groups) else 0.0
        loss, found = group_loss(engine, group, pad_id)
        require_finite("the reward model's step", loss=loss.detach())
        engine.backward(weight * loss, more_to_come=number + 1 < passes)
        total += weight * float(loss.detach())
        if weight:
            right, pairs = right + found[0], pairs + found[1]
    engine.step()
    means = distributed.mean({"loss": total, "right": right, "pairs": pairs})
    return {"loss": means["loss"], "accuracy": means["right"] / means["pairs"]}


def group_loss(engine: Engine, group: list[Ranked], pad_id: int) -> tuple[Tensor, tuple[int, int]]:
    """The mean over prompts of the ranking loss, and (pairs in the labeler's order, untied pairs)."""
    prompts = [ranked.prompt for ranked in group for _ in ranked.responses]
    responses = [response for ranked in group for response in ranked.responses]
    rows = pad(prompts, responses, pad_id, next(engine.module.parameters()).device)
    scores = engine(rows.ids, rows.is_real).split([len(ranked.responses) for ranked in group])
    ranks = [torch.tensor(ranked.ranks, device=rows.ids.device) for ranked in group]
    loss = torch.stack([ranking_loss(s, r) for s, r in zip(scores, ranks, strict=True)]).mean()
    counts = [pairwise_accuracy(s.detach(), r) for s, r in zip(scores, ranks, strict=True)]
    return loss, (sum(right for right, _ in counts), sum(pairs for _, pairs in counts))


def load_comparisons(job: Job, tokenizer: Any, max_tokens: int) -> tuple[list[Ranked], list[Ranked]]:
    """(training, held-out) rankings of every file; of one labeler's several of the same answers the latest, equal texts tied.

    A completion that is empty and did not end, which has no token to score, or that is too long with its prompt is left
    out of its ranking, and a ranking that then tells no two completions apart is left out. The log says how many of each.
    """
    splits: dict[str, list[Ranked]] = {"train": [], "valid": []}
    left_out: Counter[str] = Counter()
    given = [record for file in job.inputs["comparisons"] for record in read_jsonl(file)]
    records, replaced = standing(given)
    if replaced:
        left_out["rankings of the same answers by the same labeler were given again later"] = replaced
    for record in records:
        ranked = Ranked(encode_prompt(tokenizer, record["messages"]), [], [])
        for completion, rank in zip(record["completions"], tied(record), strict=True):
            ids = encode_completion(tokenizer, completion["text"], ended=completion.get("ended", True))
            if not ids:
                left_out["completions are empty and did not end"] += 1
            elif len(ranked.prompt) + len(ids) > max_tokens:
                left_out[
                    f"completions have more than reward_model.max_tokens = {max_tokens} tokens with their prompt"
                ] += 1
            else:
                ranked.responses.append(ids)
                ranked.ranks.append(rank)
        if ranked.ranks and has_untied_pair(torch.tensor(ranked.ranks)):
            splits[record.get("split", "train")].append(ranked)
        else:
            left_out["rankings tell no two completions apart"] += 1
    for reason, count in left_out.items():
        if job.is_main:
            log.warning("%d %s, and are left out", count, reason)
    return splits["train"], splits["valid"]


def accuracy_of(rm: RewardModel, valid: list[Ranked]) -> dict[str, float]:
    """Pairwise accuracy on held-out rankings, with the 95 % interval of a mean over prompts: of a prompt that several
    labelers ranked the mean counts."""
    if not valid:
        return {}
    scores = reward.score_together(
        rm,
        [ranked.prompt for ranked in valid for _ in ranked.responses],
        [r for ranked in valid for r in ranked.responses],
    )
    by_prompt: dict[tuple[int, ...], list[float]] = {}
    start = 0
    for ranked in valid:
        found = torch.tensor(scores[start : start + len(ranked.responses)])
        start += len(ranked.responses)
        right, pairs = pairwise_accuracy(found, torch.tensor(ranked.ranks))
        by_prompt.setdefault(tuple(ranked.prompt), []).append(right / pairs)
    shares = [sum(found) / len(found) for found in by_prompt.values()]
    mean = sum(shares) / len(shares)
    spread = (sum((s - mean) ** 2 for s in shares) / max(1, len(shares) - 1)) ** 0.5
    half = 1.96 * spread / len(shares) ** 0.5
    return {
        "accuracy": mean,
        "accuracy_low": mean - half,
        "accuracy_high": mean + half,
        "valid_prompts": len(shares),
    }


def set_bias(rm: RewardModel, job: Job) -> float:
    """Set and return the bias that makes demonstrations score 0 on average (arXiv:2203.02155, 3.5)."""
    params = job.params.reward_model
    rows = (
        (encode_prompt(rm.tokenizer, d["messages"]), encode_completion(rm.tokenizer, d["completion"]))
        for d in seeds.shuffled(
            demonstrations(job.path("curated"), "train"), job.params.seed, "reward's zero"
        )
    )
    short = (row for row in rows if sum(map(len, row)) <= params.max_tokens)
    chosen = list(islice(short, params.bias_demonstrations))
    if not chosen:
        raise ValueError(
            f"no demonstration has at most reward_model.max_tokens = {params.max_tokens} tokens, and the reward's zero is theirs"
        )
    rm.model.config.reward_bias = 0.0
    scores = reward.score_together(rm, [prompt for prompt, _ in chosen], [c for _, c in chosen])
    rm.model.config.reward_bias = -sum(scores) / len(scores)
    return rm.bias
