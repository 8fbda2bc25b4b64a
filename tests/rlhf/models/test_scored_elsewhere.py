"""The lines that docs/operations.md gives others for scoring an exported reward model give our own scores."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from rlhf.models import directories, reward, tokenizer

CLOSED_BY_EOS = (
    "{% for m in messages %}{{ m['role'] }}:\n{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:\n{% endif %}"
)
ANSWERS = ["the mayor", "nobody knows who built it", ""]


@pytest.mark.parametrize(
    "template", [tokenizer.CHATML, CLOSED_BY_EOS], ids=["a line break after it", "nothing after it"]
)
def test_the_documented_lines_give_our_scores(root, tmp_path, template):
    torch.manual_seed(0)
    words = tokenizer.train(["the river runs past the castle", "who built the northern gate"], 300, 64)
    words.chat_template = template
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        pad_token_id=words.pad_token_id, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    rm = reward.from_policy(directories.save(LlamaForCausalLM(config), words, tmp_path / "policy"))
    rm.model.config.reward_bias = -0.75
    folder = directories.save(rm.model, rm.tokenizer, tmp_path / "rm")
    asked = [{"role": "user", "content": "who built it?"}]
    ours = reward.score(reward.load_reward_model(folder), [asked] * 3, ANSWERS, [True] * 3)

    (lines,) = re.findall(
        r"```python\n(from transformers import pipeline.*?)```", _operations(root), re.DOTALL
    )
    for answer, score in zip(ANSWERS, ours, strict=True):
        said = {"messages": [*asked, {"role": "assistant", "content": answer}]}
        exec(lines.replace('"rm"', repr(str(folder))), said)
        assert said["reward"] == pytest.approx(score, abs=1e-5)
        alone, plain = (
            AutoModelForSequenceClassification.from_pretrained(folder),
            AutoTokenizer.from_pretrained(folder),
        )
        ids = plain(said["text"], add_special_tokens=False, return_tensors="pt")
        assert float(alone(**ids).logits[0, 0].detach()) - 0.75 == pytest.approx(score, abs=1e-5)


def _operations(root):
    return (root / "docs" / "operations.md").read_text(encoding="utf-8")
