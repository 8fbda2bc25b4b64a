"""An engine that is not the policy stops PPO with a sentence that names the fault, before anything is learned from it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from rlhf.models import tokenizer
from rlhf.models.never import forbid
from rlhf.models.packed import prepare
from rlhf.params import ComputeParams, PPOParams, SamplingParams
from rlhf.sampling.engine import Completion
from rlhf.sampling.sampler import TorchSampler
from rlhf.training.ppo_trainer import PPOTrainer

WORDS = tokenizer.train(["the river runs past the castle", "a sailor sold the silver bell"], 300, 64)
SHAPE = {
    "vocab_size": len(WORDS), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": WORDS.pad_token_id,
    "eos_token_id": WORDS.eos_token_id,
}  # fmt: skip
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=len(WORDS), n_embd=32, n_layer=2, n_head=2, eos_token_id=WORDS.eos_token_id)
    ),
    "capped": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, head_dim=16, final_logit_softcapping=2.0)),
    "scaled up": lambda: CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=4.0)),
    "scaled down": lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=8.0)),
}
DTYPES = ["float32", "bfloat16"]
PROMPTS = [[5 + row % 7, 9, 11 + row % 5] for row in range(32)]


def trainer_of(family: str, dtype: str, sampler: Any = None, seed: int = 0, **sampling: Any) -> PPOTrainer:
    torch.manual_seed(seed)
    policy = FAMILIES[family]().eval()
    with torch.no_grad():
        policy.get_output_embeddings().weight.mul_(15)  # far from uniform
    forbid(policy, WORDS)
    value = LlamaForSequenceClassification(LlamaConfig(**SHAPE, num_labels=1)).eval()
    params = PPOParams(
        batch=32, minibatch=16, episodes=64, lr=0.01, warmup=0, ptx_coef=0.0, max_new_tokens=8, dtype=dtype,
        lora_rank=None,
    )  # fmt: skip
    return PPOTrainer(
        prepare(policy),
        prepare(value),
        prepare(copy.deepcopy(policy)),
        lambda prompts, answers: [float(answer.count(20)) for answer in answers],
        WORDS,
        params,
        ComputeParams(launcher="inline", device="cpu"),
        sampler=sampler(params) if sampler else None,
        sampling=SamplingParams(**sampling),
        seed=seed,
    )


class Plain:
    """An engine of its own: whole rows through a copy of the policy, token by token, and one fault."""

    is_exact = False

    def __init__(self, params, *, temperature=None, top_p=1.0, is_bare=False, is_stale=False):
        self.temperature = temperature or params.temperature
        self.top_p, self.is_bare, self.is_stale, self.model = top_p, is_bare, is_stale, None
        self.room = params.max_new_tokens

    def take_weights(self, policy):
        if self.model is None or not self.is_stale:
            self.model = copy.deepcopy(policy)

    def logits(self, ids):
        if not self.is_bare:
            return self.model(ids).logits[:, -1].float()
        hidden = self.model.base_model(ids).last_hidden_state[:, -1]
        found = self.model.get_output_embeddings()(hidden).float()
        return found.index_fill(-1, self.model._never_said, -1e9)

    @torch.no_grad()
    def sample(self, prompts, *, seed, first=0):
        generator = torch.Generator().manual_seed(seed % 2**63)
        ids, said = torch.tensor(prompts), []
        for _ in range(self.room):
            probabilities = (self.logits(ids) / self.temperature).softmax(-1)
            ranked, order = probabilities.sort(-1, descending=True)
            ranked[ranked.cumsum(-1) - ranked >= self.top_p] = 0.0
            kept = torch.zeros_like(probabilities).scatter(-1, order, ranked)
            kept /= kept.sum(-1, keepdim=True)
            token = torch.multinomial(kept, 1, generator=generator)
            said.append(kept.gather(1, token)[:, 0].log())
            ids = torch.cat([ids, token], dim=1)
        return [
            Completion(prompt, row[len(prompt) :].tolist(), logprobs, False, "")
            for prompt, row, logprobs in zip(prompts, ids, torch.stack(said, 1), strict=True)
        ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_honest_engine_goes_on(family, dtype):
    for seed in range(2):
        for sampler in (None, Plain):
            trainer = trainer_of(family, dtype, sampler, seed)
            for iteration in range(2):
                figures, _, _ = trainer.iterate(iteration, PROMPTS)
                limit = 1e-4 if dtype == "float32" else 0.03
                assert figures["sampler_gap"] < limit and figures["importance_weight"] == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("family", "fault", "sentence"),
    [
        ("llama", {"temperature": 1.0}, "it samples at temperature 1.00, and not at 0.7"),
        ("capped", {"temperature": 1.3}, "it samples at temperature 1.30, and not at 0.7"),
        ("llama", {"top_p": 0.9}, r"it leaves out unlikely tokens \(top-p 0.9, or its like\)"),
        ("capped", {"top_p": 0.8}, r"it leaves out unlikely tokens \(top-p 0.8, or its like\)"),
        (
            "capped",
            {"is_bare": True},
            "it takes the output matrix's own logits, without the cap or the scale",
        ),
        (
            "scaled up",
            {"is_bare": True},
            "it (takes the output matrix's own logits|samples at temperature 2.80)",
        ),
        (
            "scaled down",
            {"is_bare": True},
            "it (takes the output matrix's own logits|samples at temperature 0.09)",
        ),
    ],
)
def test_a_fault_of_the_engine_stops_it_by_name(family, fault, sentence, dtype):
    trainer = trainer_of(family, dtype, lambda params: Plain(params, **fault))
    before = copy.deepcopy(trainer.policy.state_dict())
    with pytest.raises(RuntimeError, match=rf"allowed: sampling.max_gap.*: {sentence}"):
        trainer.iterate(0, PROMPTS)
    assert all(torch.equal(before[name], value) for name, value in trainer.policy.state_dict().items())


@pytest.mark.parametrize("dtype", DTYPES)
def test_old_weights_stop_it(dtype):
    trainer = trainer_of("llama", dtype, lambda params: Plain(params, is_stale=True))
    trainer.iterate(0, PROMPTS)
    with pytest.raises(RuntimeError, match="it draws from old weights, those that PPO began from"):
        trainer.iterate(1, PROMPTS)


def test_other_weights_stop_it():
    class Other(Plain):
        def take_weights(self, policy):
            super().take_weights(policy)
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.add_(0.02 * torch.randn_like(parameter))

    with pytest.raises(RuntimeError, match="it draws from other weights than the policy's"):
        trainer_of("llama", "float32", Other).iterate(0, PROMPTS)


def test_an_engine_that_shares_the_weights_is_checked_too(monkeypatch):
    def sample(self, prompts, *, seed, first=0):
        hotter = self.params.model_copy(update={"temperature": 1.0})
        other = TorchSampler(self.tokenizer, hotter)
        other.take_weights(self.policy)
        return drawn(other, prompts, seed=seed, first=first)

    drawn = TorchSampler.sample
    monkeypatch.setattr(TorchSampler, "sample", sample)
    with pytest.raises(RuntimeError, match=r"it samples at temperature 1\.00, and not at 0\.7"):
        trainer_of("llama", "float32").iterate(0, PROMPTS)


def test_importance_weights_are_those_of_the_tokens():
    trainer = trainer_of(
        "llama", "float32", lambda params: Plain(params, temperature=0.8), importance="truncated", max_gap=5.0
    )
    figures, episodes, completions = trainer.iterate(0, PROMPTS)
    for row, completion in enumerate(completions):
        is_response = episodes.batch.is_response[row]
        right = (episodes.logprobs[row][is_response] - completion.logprobs).exp().clamp(max=2.0)
        torch.testing.assert_close(episodes.weights[row][is_response], right, atol=1e-5, rtol=1e-5)
    assert 0.5 < figures["importance_weight"] < 2.0 and figures["importance_weight"] != 1.0


def test_explained_variance_of_returns_that_are_all_the_same_is_no_figure():
    trainer = trainer_of("llama", "float32")
    trainer.score = lambda prompts, answers: [0.0] * len(answers)
    trainer.kl_coef = 0.0
    trainer.params = trainer.params.model_copy(update={"lam": 1.0})
    figures, episodes, _ = trainer.iterate(0, PROMPTS)
    assert float(episodes.returns.abs().max()) < 1e-4 and "explained_variance" not in figures
