"""Hugging Face directories: opened only when they are plain data (plain.py), written so that transformers alone opens them.

The pad token is never EOS, because transformers reads a
sequence classifier's score at the last token that is not padding.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)

from rlhf.chat import ends
from rlhf.models.never import forbid
from rlhf.models.openable import require_loaded
from rlhf.models.packed import prepare
from rlhf.models.plain import require_plain
from rlhf.templates import require_usable

_DROPOUTS = ("resid_pdrop", "hidden_dropout", "residual_dropout", "hidden_dropout_prob", "dropout")


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a checked directory, with a chat template and a pad token that is not EOS."""
    tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    require_usable(tokenizer, str(directory))
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ValueError(
            f"{directory}: the pad token must be another than EOS (base.path and reward_model.base mend this)"
        )
    return tokenizer


def load_policy(
    directory: Path | str, *, dtype: torch.dtype = torch.float32, dropout: float = 0.0
) -> tuple[PreTrainedModel, Any]:
    """(causal LM, tokenizer) of a directory; `dropout` is residual dropout, where the architecture has it."""
    directory = Path(directory)
    require_plain(directory)
    model, info = AutoModelForCausalLM.from_pretrained(
        directory,
        config=configure(directory, dropout),
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    require_loaded(model, info, str(directory))
    tokenizer = load_tokenizer(directory)
    forbid(model, tokenizer)
    return prepare(model), tokenizer


def say_how_to_sample(model: PreTrainedModel, tokenizer: Any, temperature: float) -> None:
    """generation_config.json of what is saved: the distribution that the model was trained and judged at, and where answers end.

    A server's default temperature of 1, or a top-p that came with a base, is another policy.
    """
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=model.generation_config.suppress_tokens,
    )


def round_weights(model: torch.nn.Module, dtype: str) -> None:
    """The model's weights in `dtype`, in place. What it computes positions by (rotary frequencies, a buffer) stays as it is,
    as where transformers or DeepSpeed rounds: in bfloat16 a position would be off by 1/256 of itself."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype))


def configure(directory: Path, dropout: float) -> Any:
    """The directory's config with residual dropout set and every other dropout off."""
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    for name in (
        "attn_pdrop",
        "embd_pdrop",
        "attention_dropout",
        "embedding_dropout",
        "attention_probs_dropout_prob",
        "classifier_dropout",
    ):
        if getattr(config, name, None) is not None:
            setattr(config, name, 0.0)
    for name in _DROPOUTS:
        if getattr(config, name, None) is not None:
            setattr(config, name, dropout)
    return config


def save(
    model: PreTrainedModel, tokenizer: Any, directory: Path, *, state: dict[str, torch.Tensor] | None = None
) -> Path:
    """Write model and tokenizer aside and rename, so that a directory is whole or absent.

    `state`: the weights, where they are not the model's own (gathered from several processes).
    """
    aside = directory.with_name(directory.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    dropouts = {
        name: getattr(model.config, name)
        for name in _DROPOUTS
        if getattr(model.config, name, None) is not None
    }
    for name in dropouts:  # what is saved is used without dropout
        setattr(model.config, name, 0.0)
    if state is not None:  # a head that is the embedding is written once
        state = {name: value for name, value in state.items() if name not in model.all_tied_weights_keys}
    model.save_pretrained(aside, state_dict=state)
    for name, rate in dropouts.items():
        setattr(model.config, name, rate)
    tokenizer.save_pretrained(aside)
    if directory.exists():
        shutil.rmtree(directory)
    os.replace(aside, directory)
    return directory
