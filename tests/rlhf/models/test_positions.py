"""Answers that have more tokens as text than they were written in are cut to the reward model's positions, and said."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification, LlamaConfig

from rlhf.models import reward, tokenizer
from rlhf.models.packed import prepare
from rlhf.models.positions import cut_to, positions_of
from rlhf.training.ppo import as_labelers_read


@pytest.fixture
def rm():
    torch.manual_seed(0)
    words = tokenizer.train(["the river runs past the castle"] * 9, 300, 32)
    shape = {"n_positions": 32, "n_embd": 16, "n_layer": 1, "n_head": 2, "num_labels": 1}
    config = GPT2Config(vocab_size=len(words), pad_token_id=words.pad_token_id, **shape)
    return reward.RewardModel(prepare(GPT2ForSequenceClassification(config).eval()), words)


def test_an_answer_of_broken_bytes_is_scored_within_the_positions(rm, caplog):
    """Each token a byte that begins no character: as text "�", three bytes. 20 tokens are 60, and learned positions 32."""
    byte = rm.tokenizer.convert_tokens_to_ids(rm.tokenizer.tokenize("é")[0])
    answer = [byte] * 20 + [rm.tokenizer.eos_token_id]
    with caplog.at_level(logging.WARNING):
        scores = as_labelers_read(rm, ())([[5, 6, 7]] * 3, [answer, answer[:2], []])
    assert all(map(lambda score: score == score, scores)) and len(scores) == 3
    assert [r.getMessage() for r in caplog.records] == [
        "1 of 3 answers have more tokens with their prompt than the reward model's 32 positions, and are cut to them"
    ]
    spelled = rm.tokenizer("�" * 20, add_special_tokens=False)["input_ids"]
    cut = [*spelled[:28], rm.tokenizer.eos_token_id]
    assert scores[0] == pytest.approx(reward.score_rows(rm, [[5, 6, 7]], [cut])[0])


def test_an_answer_keeps_its_end_and_a_prompt_without_room_loses_its_beginning():
    prompts, answers = [[1, 2], [1, 2, 3, 4, 5], [1]], [[7, 8, 9], [7, 8, 9], []]
    assert cut_to(None, prompts, answers) == (prompts, answers)
    assert cut_to(8, prompts, answers) == (prompts, answers)
    assert cut_to(4, prompts, answers) == ([[1, 2], [3, 4, 5], [1]], [[7, 9], [9], []])
    assert cut_to(4, [[1, 2, 3, 4, 5]], [[]]) == ([[2, 3, 4, 5]], [[]])


def test_the_limit_is_the_configuration_s(rm):
    assert positions_of(rm.model) == 32

    class Bare:
        config = LlamaConfig(max_position_embeddings=77)

    assert positions_of(Bare) == 77
