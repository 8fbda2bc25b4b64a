"""A directory that could run code, or that cannot be trained on, is refused before it is opened."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from rlhf.models import directories, reward, tokenizer


@pytest.fixture
def policy(tmp_path):
    words = tokenizer.train(["the quick brown fox"] * 9, 300, 64)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=64, n_embd=16, n_layer=1, n_head=2))
    model.config.pad_token_id, model.config.eos_token_id = words.pad_token_id, words.eos_token_id
    return directories.save(model, words, tmp_path / "policy")


def lose(folder, name):
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda d: (d / "modeling_mine.py").write_text("print('run')"), "carries code"),
        (lambda d: edit(d / "config.json", auto_map={"AutoModel": "mine.Model"}), "auto_map"),
        (lambda d: edit(d / "tokenizer_config.json", auto_map={"AutoTokenizer": "mine.T"}), "auto_map"),
        (lambda d: (d / "pytorch_model.bin").write_bytes(b"pickle"), "pickled weights"),
        (lambda d: (d / "model.safetensors").unlink(), r"no \.safetensors weights"),
        (lambda d: (d / "config.json").unlink(), r"no config\.json"),
        (lambda d: (d / "chat_template.jinja").unlink(), "no chat template"),
        (lambda d: edit(d / "tokenizer_config.json", pad_token="<|im_end|>"), "pad token must be another"),
        (
            lambda d: lose(d, "transformer.ln_f.weight"),
            r"lacks (transformer\.ln_f|score)\.weight.*: it would be drawn by chance",
        ),
    ],
    ids=[
        "code",
        "model code",
        "tokenizer code",
        "pickle",
        "no weights",
        "no config",
        "no template",
        "pad",
        "a weight is gone",
    ],
)
def test_what_is_refused(policy, spoil, why):
    directories.load_policy(policy)
    spoil(policy)
    for open_it in (directories.load_policy, reward.from_policy, reward.load_reward_model):
        with pytest.raises(ValueError, match=why):
            open_it(policy)


def test_a_directory_is_whole_or_absent(policy):
    """A save that breaks off leaves the earlier directory as it was."""
    model, words = directories.load_policy(policy)
    before = {file.name: file.read_bytes() for file in policy.iterdir()}
    words.save_pretrained = None
    with pytest.raises(TypeError):
        directories.save(model, words, policy)
    assert {file.name: file.read_bytes() for file in policy.iterdir()} == before


def test_rounding_leaves_what_positions_are_computed_by(families):
    model = families["llama"]()
    before = model.model.rotary_emb.inv_freq.clone()
    directories.round_weights(model, "bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert torch.equal(model.model.rotary_emb.inv_freq, before)
    assert model.model.rotary_emb.inv_freq.dtype == torch.float32
