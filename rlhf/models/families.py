"""Tiny random models of every causal family that transformers has, each taken through what a round asks of a model."""

from __future__ import annotations

import logging
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from rlhf.models import check, tokenizer
from rlhf.models.never import never_said
from rlhf.models.policy import response_logprobs
from rlhf.sampling.engine import sample_ids

TEXT = ["the river runs past the castle", "who built the northern gate", "a sailor sold the silver bell"]
#: what a configuration is made small by, of that which it has
SMALL: dict[str, Any] = {
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "embed_dim": 32, "dim": 32, "word_embed_proj_dim": 32,
    "intermediate_size": 48, "ffn_dim": 48, "n_inner": 48, "ffn_hidden_size": 48, "d_ff": 48, "feed_forward_size": 48,
    "decoder_ffn_dim": 48, "encoder_ffn_dim": 48, "shared_intermediate_size": 16, "shared_expert_intermediate_size": 16,
    "moe_intermediate_size": 16, "block_ff_dim": 48, "num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2,
    "decoder_layers": 2, "encoder_layers": 2, "num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4,
    "decoder_attention_heads": 4, "encoder_attention_heads": 4, "num_key_value_heads": 2, "num_kv_heads": 2, "head_dim": 8,
    "global_head_dim": 8, "max_position_embeddings": 128, "n_positions": 128, "n_ctx": 128, "max_seq_len": 128,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "n_shared_experts": 1,
    "num_experts_per_tok": 2, "num_experts_per_token": 2, "moe_topk": 2, "moe_k": 2, "top_k_experts": 2, "n_group": 1,
    "topk_group": 1, "sliding_window": 8, "attention_window_size": 8, "kv_lora_rank": 8, "q_lora_rank": 8,
    "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8, "rotary_dim": 8, "state_size": 8, "mamba_d_state": 8,
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_num_heads": 4, "mamba_head_dim": 16, "time_step_rank": 4,
    "mamba_dt_rank": 4, "lru_width": 32, "linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "first_k_dense_replace": 1, "hidden_size_per_layer_input": 8, "laurel_rank": 4,
    "vocab_size_per_layer_input": 0, "attention_hidden_size": 32, "conv_L_cache": 3, "is_decoder": True,
}  # fmt: skip
OFF = (
    "dropout",
    "attention_dropout",
    "resid_pdrop",
    "embd_pdrop",
    "attn_pdrop",
    "hidden_dropout",
    "activation_dropout",
)


#: that making one small model may take
SECONDS = 10


HEAD = """# Families of models

Printed by `rlhf model check --all` with transformers {transformers} and torch {torch} on a CPU: tiny random models of the {rows}
causal families that transformers names. {right} go through all that a round asks of a model; the largest gap of what they
decode in float32 to their own forward pass of each row by itself is {worst:.0e} nats. Of {small} no small model could be made
here, and nothing is claimed of them: the same questions are asked of the real model when it is imported. The other {refused}
are refused by a sentence, or did not come to their end.

Rows are packed (no padding), or padded where the model is not right otherwise. Decoding in slots lets a row that ends make room
for the next; padded keeps a cache of rows padded on the left; replayed keeps none and reads each row again for every token.
The gap packed is that of hidden states, a share of the largest; decoded, that of log-probabilities of short rows that are read,
continued and retired, nats; bfloat16, the largest between some hundred sampled tokens' log-probabilities and those that are
learned from. The first ratio is how far PPO's ratios are from 1 before any update; export is the gap to the model that
transformers alone opens, nats.
"""


NOT_MADE = "no small model was made"


class Family(NamedTuple):
    """One row. why: the sentence that refuses it, or why no small model was made; the gaps as in `check.Checked`."""

    name: str
    why: str = ""
    decodes: str = ""
    decoding: float = 0.0
    packing: float | None = None
    sampling_bfloat16: float = 0.0
    first_ratio: float = 0.0
    export: float = 0.0
    has_reward_model: bool = False


def families() -> Iterator[Family]:
    """A row for each name, in order."""
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("rlhf").setLevel(logging.ERROR)
    for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        with tempfile.TemporaryDirectory() as work:
            yield _tried(name, Path(work))


def _tried(name: str, work: Path) -> Family:
    words = tokenizer.train(TEXT, 300, 128)
    try:
        with _at_most(SECONDS):
            model = _small(name, words)
        model.save_pretrained(work / "outside")
        words.save_pretrained(work / "outside")
    except Exception as error:  # whatever its own code says to sizes that are not its own
        return Family(name, f"{NOT_MADE}: {_first(error)}")
    try:
        with _at_most(3 * SECONDS):
            checked = check.check(str(work / "outside"), work, context=64, today=date(2026, 1, 1))
            return _row(name, checked, work)
    except ValueError as error:
        return Family(name, str(error).replace(f"base.path {work / 'outside'}", "refused"))
    except Exception as error:  # a row of a table: what its own code says
        return Family(name, f"not tried to its end: {_first(error)}")


def _row(name: str, checked: check.Checked, work: Path) -> Family:
    return Family(
        name,
        decodes=checked.decodes,
        decoding=checked.decoding,
        packing=checked.packing,
        sampling_bfloat16=checked.sampling_bfloat16,
        first_ratio=_first_ratio(checked),
        export=_export(checked, work),
        has_reward_model=not checked.reward_model,
    )


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise TimeoutError(f"it takes more than {seconds} s: its sizes have other names")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _small(name: str, words: Any) -> Any:
    """A small random model of the family whose logits are far from uniform: of the sizes that its code takes first."""
    config = CONFIG_MAPPING[name]
    whole = config()
    inner = whole.get_text_config()
    if inner is not whole:
        raise ValueError("it is made of several models: its text model is a family of its own")
    given = {key: value for key, value in SMALL.items() if _default(inner, key) is not None}
    given |= {key: 0.0 for key in OFF if isinstance(_default(inner, key), float)}
    given |= {
        "vocab_size": len(words) + 8, "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }  # fmt: skip
    if "kv_lora_rank" in given:  # latent attention: widths of its own, and as many keys as heads
        given.pop("head_dim", None)
        given["num_key_value_heads"] = given["num_attention_heads"]
    unsaid = {
        key: SMALL[key]
        for key in ("num_key_value_heads", "head_dim", "num_experts_per_tok")
        if hasattr(whole, key)
    }
    without = {key: value for key, value in given.items() if "head_dim" not in key}
    more = {key: 4 for key in given if key.endswith(("layers", "n_layer"))}
    sizes = [
        given,
        given | unsaid,
        without,
        without | {"num_key_value_heads": 4},
        given | more,
        without | more,
    ]
    for number, these in enumerate(sizes):
        try:
            return _made(config(**these))
        except TimeoutError:
            raise
        except Exception:  # its code does not take these sizes: others may do
            if number + 1 == len(sizes):
                raise
    raise AssertionError


def _default(config: Any, key: str) -> Any:
    try:
        return getattr(config, key, None)
    except Exception:  # one for each layer, and none for all
        return None


def _made(config: Any) -> Any:
    with torch.device("meta"):
        shape = AutoModelForCausalLM.from_config(config)
    if sum(parameter.numel() for parameter in shape.parameters()) > 5_000_000:
        raise ValueError("its sizes have other names")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
        model(input_ids=torch.tensor([[5, 6, 7]]), use_cache=False)
    return model


def _first_ratio(checked: check.Checked) -> float:
    """How far ratios of sampled tokens are from 1 before any update."""
    pad_id = checked.tokenizer.pad_token_id
    drawn = sample_ids(
        checked.model, checked.tokenizer, [[5, 6, 7], [8]] * 4, max_new_tokens=6, temperature=0.7, seed=0
    )
    prompts, ids = [row.prompt_ids for row in drawn], [row.ids for row in drawn]
    learned = response_logprobs(checked.model, prompts, ids, pad_id=pad_id, temperature=0.7)
    return max(
        float(((row.logprobs - mine).exp() - 1).abs().max()) for row, mine in zip(drawn, learned, strict=True)
    )


def _export(checked: check.Checked, work: Path) -> float:
    """The largest difference in nats from the model that transformers alone opens."""
    theirs = AutoModelForCausalLM.from_pretrained(work / "model").eval()
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        right = theirs(input_ids=ids, use_cache=False).logits.float()
        right[..., never_said(checked.tokenizer, right.shape[-1])] = -torch.inf
        mine, right = (
            checked.model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1),
            right.log_softmax(-1),
        )
    return float((mine - right)[right > -20].abs().max())


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


def _nats(gap: float) -> str:
    return f"{gap:.0e}" if gap < float("inf") else "does not run"


def page(rows: list[Family]) -> str:
    """docs/models.md."""
    right = [row for row in rows if not row.why]
    small = [row for row in rows if row.why.startswith(NOT_MADE)]
    lines = [
        HEAD.format(
            transformers=transformers.__version__,
            torch=torch.__version__.partition("+")[0],
            right=len(right),
            rows=len(rows),
            small=len(small),
            refused=len(rows) - len(right) - len(small),
            worst=max((row.decoding for row in right), default=0.0),
        ),
        "| family | rows | decoding | gap packed | decoded | bfloat16 | first ratio | reward model | export |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in right:
        lines.append(
            f"| {row.name} | {'padded' if row.packing is None else 'packed'} | {row.decodes} | "
            f"{'' if row.packing is None else f'{row.packing:.0e}'} | {row.decoding:.0e} | "
            f"{_nats(row.sampling_bfloat16)} | {row.first_ratio:.0e} | {'yes' if row.has_reward_model else 'of another family'} | "
            f"{row.export:.0e} |"
        )
    lines += ["\n## Refused, or not tried\n", "| family | why |", "|---|---|"]
    lines += [f"| {row.name} | {row.why.replace('|', ' ')} |" for row in rows if row.why]
    return "\n".join(lines) + "\n"
