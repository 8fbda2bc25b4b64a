"""What is known of a model directory before any round: what was found, what an import changes, what it can do here."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rlhf.chat import ends
from rlhf.models import directories, importing
from rlhf.models.packed import is_packing, packing_gap
from rlhf.models.policy import response_logprobs
from rlhf.models.suitable import longest_row, require_reward_model
from rlhf.sampling import probe
from rlhf.sampling.engine import sample_ids


@dataclass(frozen=True)
class Checked:
    """What an imported model does, and how far it is from its own forward pass of each row by itself.

    packing: of hidden states packed, a share of the largest; None where rows are padded. decoding: nats, of short rows read,
    continued and retired, in float32; sampling_bfloat16: nats, of sampled tokens with weights in bfloat16. reward_model: why there
    is none, else empty.
    """

    model: Any
    tokenizer: Any
    said: list[str]
    decodes: str
    packing: float | None
    decoding: float
    sampling_bfloat16: float
    reward_model: str


def check(path: str, work: Path, *, context: int, today: date, adapter: str | None = None) -> Checked:
    """Imports the directory at `path` (or package:NAME) into `work`, and asks the model. ValueError where it is refused."""
    target = work / "model"
    figures = importing.import_model(
        path, target, key="base.path", longest=("base.context", context), today=today, adapter=adapter
    )
    model, tokenizer = directories.load_policy(target)
    model.eval()
    coarse = copy.deepcopy(model)
    directories.round_weights(coarse, "bfloat16")
    way = figures["decodes"]
    return Checked(
        model=model,
        tokenizer=tokenizer,
        said=figures["said"],
        decodes=way,
        packing=packing_gap(model) if is_packing(model) else None,
        decoding=probe.decoding_gap(model, tokenizer.pad_token_id, way),
        sampling_bfloat16=sampling_gap(coarse, tokenizer),
        reward_model=_no_reward_model(target),
    )


def sampling_gap(model: Any, tokenizer: Any) -> float:
    """The largest difference, in nats, of sampled tokens' log-probabilities from those that are learned from.

    Rounding shows over some hundred tokens, where three short rows may come out equal. Infinite where the model's code does
    not run.
    """
    prompts = [[5 + row % 3, 6, 7 + row % 5] for row in range(16)]
    try:
        drawn = sample_ids(model, tokenizer, prompts, max_new_tokens=24, temperature=0.7, seed=0)
        ids = [completion.ids for completion in drawn]
        learned = response_logprobs(model, prompts, ids, pad_id=tokenizer.pad_token_id, temperature=0.7)
    except (
        Exception
    ):  # of a family's own code, which may hold buffers of float32 that its bfloat16 weights do not meet
        return float("inf")
    gaps = [(row.logprobs - mine).abs().max() for row, mine in zip(drawn, learned, strict=True)]
    return float(max(gaps))


def lines(checked: Checked) -> Iterator[tuple[str, str]]:
    """(what, the answer) as a person reads it."""
    model, tokenizer = checked.model, checked.tokenizer
    parameters = sum(parameter.numel() for parameter in model.parameters())
    yield "model", f"{type(model).__name__}, {parameters:,} parameters"
    rows = model.get_output_embeddings().weight.shape[0]
    yield "tokens", f"{len(tokenizer):,}, and {rows:,} rows; the rows without a token are never said"
    yield "longest row", f"{longest_row(model.config) or 'no limit'}"
    yield "answers end at", ", ".join(tokenizer.convert_ids_to_tokens(ends(model, tokenizer)))
    for sentence in checked.said or ["nothing"]:
        yield "changed or joined", sentence
    packed = (
        "packed without padding" if checked.packing is not None else "padded: this family does not pack here"
    )
    yield "rows", packed
    how = {
        "slots": "a row that ends makes room for the next",
        "padded": "with a cache, rows padded on the left",
        "replayed": "without a cache, each row read again for each token: slow",
    }
    yield "decoding", how[checked.decodes]
    hidden = "" if checked.packing is None else f"packed {checked.packing:.1e} of the largest hidden state; "
    yield (
        "gap to its own forward pass",
        f"{hidden}decoded {checked.decoding:.1e} nats in float32, {checked.sampling_bfloat16:.1e} in bfloat16",
    )
    yield "reward model", checked.reward_model or "can be made of it"


def _no_reward_model(directory: Path) -> str:
    try:
        require_reward_model(directory, "sft")
    except ValueError as error:
        return str(error)
    return ""
