"""Log-probabilities and first tokens are those of the model's own forward pass, and some tokens are never said."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from rlhf.models import directories, tokenizer
from rlhf.models.never import NEVER, never_said
from rlhf.models.packed import is_packing
from rlhf.models.policy import response_logprobs, token_logprobs
from rlhf.models.rows import pad
from rlhf.sampling.engine import sample_ids

WORDS = tokenizer.train(["the river runs past the castle", "a sailor sold the silver bell"], 300, 64)
SHAPE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "pad_token_id": WORDS.pad_token_id, "eos_token_id": WORDS.eos_token_id,
}  # fmt: skip
SPARE = 64  # rows of the output matrix beyond the tokenizer
ROWS = {"vocab_size": len(WORDS) + SPARE}
FAMILIES = {
    "capped": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SHAPE, **ROWS, head_dim=16, sliding_window=512, final_logit_softcapping=1.5)
    ),
    "scaled up": lambda: CohereForCausalLM(CohereConfig(**SHAPE, **ROWS, logit_scale=4.0)),
    "scaled down": lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, **ROWS, logits_scaling=8.0)),
    "bare": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, **ROWS)),
}
PROMPTS, ANSWERS = [[5, 6, 7], [8]], [[9, 10], [11, 12, 13, 14]]


@pytest.fixture(params=FAMILIES)
def saved(request, tmp_path):
    """A directory of each family, its logits far from uniform."""
    torch.manual_seed(0)
    model = FAMILIES[request.param]()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return directories.save(model, WORDS, tmp_path / "model")


def expected(folder, temperature):
    """By transformers alone, a row at a time: log π of each token of the answers, without what is never said."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    rows = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        logits[:, never_said(WORDS, logits.shape[1])] = -torch.inf
        logprobs = (logits / temperature).log_softmax(-1)
        rows.append(logprobs.gather(1, torch.tensor(answer)[:, None])[:, 0].detach())
    return rows


def test_log_probabilities_are_the_models_own(saved):
    model, _ = directories.load_policy(saved)
    right = expected(saved, 0.7)
    rows = response_logprobs(model, PROMPTS, ANSWERS, pad_id=WORDS.pad_token_id, temperature=0.7)
    for mine, theirs in zip(rows, right, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    batch = pad(PROMPTS, ANSWERS, WORDS.pad_token_id)
    mine = token_logprobs(model, batch, temperature=0.7).logprobs
    torch.testing.assert_close(mine[batch.is_response], torch.cat(right), atol=1e-5, rtol=1e-5)


def test_what_is_sampled_has_the_log_probability_that_it_was_drawn_by(saved):
    """First tokens come from reading the prompt, later ones from steps of decoding."""
    model, words = directories.load_policy(saved)
    drawn = sample_ids(model, words, PROMPTS * 40, max_new_tokens=6, temperature=0.7, seed=0)
    ids = [completion.ids for completion in drawn]
    again = response_logprobs(model, PROMPTS * 40, ids, pad_id=words.pad_token_id, temperature=0.7)
    for completion, mine in zip(drawn, again, strict=True):
        torch.testing.assert_close(completion.logprobs, mine, atol=1e-4, rtol=1e-4)


def test_tokens_that_are_never_said(saved):
    model, words = directories.load_policy(saved)
    never = set(never_said(words, len(words) + SPARE))
    assert never == {words.pad_token_id, *range(len(words), len(words) + SPARE)}
    drawn = sample_ids(model, words, [[5, 6]] * 200, max_new_tokens=8, temperature=3.0, seed=0)
    assert not never & {token for completion in drawn for token in completion.ids}
    found = token_logprobs(model, pad(PROMPTS, ANSWERS, words.pad_token_id), temperature=0.5)
    found.logprobs.sum().backward()
    assert torch.isfinite(found.entropy).all() and (found.entropy >= 0).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    logits = model(torch.tensor([[5, 6]])).logits
    assert (logits[..., sorted(never)] == NEVER).all() and (logits.softmax(-1)[..., sorted(never)] == 0).all()
    assert model.generation_config.suppress_tokens == sorted(never)


def test_others_leave_out_the_same_tokens(saved, tmp_path):
    model, words = directories.load_policy(saved)
    theirs = AutoModelForCausalLM.from_pretrained(directories.save(model, words, tmp_path / "export"))
    drawn = theirs.generate(torch.tensor([[5, 6]] * 64), do_sample=True, max_new_tokens=16, temperature=3.0)
    ended = drawn == words.pad_token_id  # after EOS alone
    assert not (ended[:, 2:] & (drawn[:, 1:-1] != words.eos_token_id) & ~ended[:, 1:-1]).any()
    assert int(drawn.max()) < len(words)


def test_a_capped_model_with_no_window_packs(tmp_path):
    torch.manual_seed(0)
    folder = directories.save(FAMILIES["scaled up"](), WORDS, tmp_path / "model")
    assert is_packing(directories.load_policy(folder)[0])
