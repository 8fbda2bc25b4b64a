"""Step 0: the base model. Pretrains a small GPT with its own tokenizer, or imports a Hugging Face directory.

Loss: -mean_t log P(x_t | x_<t) over all tokens of packed documents.
The architecture is Llama's (rotary positions, RMSNorm, gated layers, no dropout). Matrices are trained with
Muon, everything else with AdamW; both rates fall linearly to a tenth over the last 60 % of the run.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf import distributed
from rlhf.data.load import pretraining_texts
from rlhf.jobs import Job
from rlhf.models import directories, importing
from rlhf.models import tokenizer as own_tokenizer
from rlhf.params import BaseParams
from rlhf.templates import end_of_text
from rlhf.training.finite import require_finite
from rlhf.training.muon import MuonAdamW
from rlhf.training.progress import progress


def run(job: Job) -> dict[str, Any]:
    """Stage `base`: out/model is a Hugging Face directory."""
    params = job.params.base
    if params.path is None:
        return pretrain(job)
    if not job.is_main:
        return {}
    longest = ("base.context", params.context)
    return importing.import_model(
        params.path,
        job.out / "model",
        key="base.path",
        longest=longest,
        today=job.params.chat.today,
        dtype=params.dtype,
        adapter=params.adapter,
    )


def pretrain(job: Job) -> dict[str, Any]:
    params, curated = job.params.base, job.path("curated")
    device = distributed.start(job.params.compute)
    torch.manual_seed(job.params.seed)
    texts = pretraining_texts(curated, "train")
    tokenizer = own_tokenizer.train(
        [*texts, *["user\n", "assistant\n", "system\n"] * 2000], params.vocab_size, params.context
    )
    rows = pack(tokenizer, texts, params.context)
    model = initial_model(params, tokenizer).to(device)
    steps = max(1, params.tokens // params.batch_tokens)
    started = time.time()
    optimizer = MuonAdamW(model, lr=params.lr_rest, lr_matrices=params.lr_matrices)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: trapezoid(step / steps))
    processes = distributed.world_size()
    batch = max(1, params.batch_tokens // params.context // processes) * processes
    order = row_order(len(rows), steps * batch, job.params.seed)
    model.train()
    loss_sum, recent = 0.0, {"loss": 0.0}
    for step in progress(range(steps), "pretraining", job.is_main):
        mine = order[step * batch : (step + 1) * batch][distributed.rank() :: processes]
        loss = next_token_loss(model, torch.from_numpy(rows[mine].astype(np.int64)).to(device))
        require_finite("pretraining", loss=loss.detach())
        loss.backward()
        distributed.all_reduce_gradients(model.parameters())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        loss_sum += float(loss.detach())
        if (step + 1) % 10 == 0 or step + 1 == steps:
            count = (step % 10) + 1
            recent = distributed.mean({"loss": loss_sum / count})
            job.log(
                step + 1,
                **recent,
                tokens_per_second=(step + 1) * batch * params.context / (time.time() - started),
            )
            loss_sum = 0.0
    if job.is_main:
        directories.save(model, tokenizer, job.out / "model")
    tokens = steps * batch * params.context
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": tokens,
        "documents": len(texts),
        **recent,
    }


def initial_model(params: BaseParams, tokenizer: Any) -> LlamaForCausalLM:
    """A model that has learnt nothing. What its layers add starts at 0: the first steps learn faster."""
    model = LlamaForCausalLM(architecture(params, tokenizer))
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return model


def architecture(params: BaseParams, tokenizer: Any) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=params.width,
        num_hidden_layers=params.layers,
        num_attention_heads=params.heads,
        num_key_value_heads=params.heads,
        intermediate_size=round(8 / 3 * params.width / 8) * 8,  # three matrices as large as two of 4 x width
        max_position_embeddings=max(2048, params.context),
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )


def next_token_loss(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Mean NLL per predicted token of full rows. ids: [B, T] int64. Returns a scalar, nats a token."""
    logits = model(input_ids=ids, use_cache=False).logits.float()
    following = functional.pad(ids[:, 1:], (0, 1), value=-100)  # nothing follows a row's last token
    return functional.cross_entropy(logits.flatten(0, 1), following.flatten(), ignore_index=-100)


def pack(tokenizer: Any, texts: list[str], context: int) -> np.ndarray:
    """Documents one after another, each closed by the end-of-text token, cut into rows. Returns [N, context] int32."""
    end = end_of_text(tokenizer)
    stream: list[int] = []
    for encoded in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]:
        stream += encoded
        stream.append(end)
    rows = max(1, len(stream) // context)
    if len(stream) < context:
        stream += [end] * (context - len(stream))
    return np.asarray(stream[: rows * context], dtype=np.int32).reshape(rows, context)


def row_order(rows: int, wanted: int, seed: int) -> np.ndarray:
    """Row numbers for `wanted` draws: every row once an epoch, each epoch in its own order."""
    generator = np.random.default_rng(seed)
    epochs = -(-wanted // rows)
    return np.concatenate([generator.permutation(rows) for _ in range(epochs)])[:wanted]


def trapezoid(done: float) -> float:
    """Rate over the share of the run that is `done`: constant, then linear to 0.1 over the last 60 %."""
    return min(1.0, 0.1 + 0.9 * (1.0 - done) / 0.6)
