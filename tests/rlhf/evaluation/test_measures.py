"""Alignment tax, divergence and variety on cases whose value is known."""

import math

import numpy as np
import pytest
import torch

from rlhf.evaluation.alignment_tax import pretraining_loss
from rlhf.evaluation.divergence import response_kl
from rlhf.evaluation.quality import distinct_2, mean_words
from rlhf.models.directories import load_policy
from rlhf.sampling.engine import sample


def test_a_model_that_knows_nothing_pays_the_logarithm_of_its_vocabulary(models, texts):
    model, tokenizer = load_policy(models["sft"])
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    loss = pretraining_loss(model, tokenizer, texts, 64)
    assert loss == pytest.approx(
        math.log(model.config.vocab_size - 1), rel=1e-5
    )  # the pad token is never said


def test_the_loss_is_the_mean_over_tokens_and_leaves_the_model_as_it_was(models, texts):
    model, tokenizer = load_policy(models["sft"], dropout=0.5)
    model.train()
    once, again = (pretraining_loss(model, tokenizer, texts, 64) for _ in range(2))
    assert once == again
    assert model.training
    assert pretraining_loss(model, tokenizer, texts, 64, max_tokens=10**9) == once
    with pytest.raises(ValueError, match=r"base\.valid_share"):
        pretraining_loss(model, tokenizer, [], 64)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_kl_to_oneself_is_zero_and_to_another_model_positive(models, temperature):
    policy, tokenizer = load_policy(models["sft"])
    other, _ = load_policy(models["base"])
    with torch.no_grad():
        for weight in other.parameters():  # fresh models are nearly uniform: tell them apart
            weight.mul_(4)
    prompts = [
        [{"role": "user", "content": f"Tell me about {name}."}] for name in ("foxes", "owls", "bears")
    ] * 20
    answers = sample(policy, tokenizer, prompts, max_new_tokens=8, temperature=temperature, seed=0)
    at = {"pad_id": tokenizer.pad_token_id, "temperature": temperature}
    np.testing.assert_allclose(response_kl(policy, policy, answers, **at), 0, atol=1e-6)
    assert response_kl(policy, other, answers, **at).mean() > 0.5
    behaviour = [float(answer.logprobs.sum()) for answer in answers]
    assert np.isfinite(behaviour).all()


def test_variety():
    assert distinct_2(["a b c d"]) == 1.0
    assert distinct_2(["a b a b a"]) == 0.5
    assert distinct_2(["a b", "a b"]) == 0.5  # over all texts together
    assert distinct_2(["alone", ""]) == 0.0
    assert mean_words(["one two", "one two three four"]) == 3.0
