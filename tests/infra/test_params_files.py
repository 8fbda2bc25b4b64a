"""params.yaml is the defaults, and the profiles are valid and say what the paper says."""

import pytest

from infra import params_file
from rlhf.params import Params, load


def test_params_yaml_is_the_defaults(root):
    assert load(root / "params.yaml") == Params()
    assert (root / "params.yaml").read_text() == params_file.text(), "run: python -m infra.params_file"


@pytest.mark.parametrize("name", ["smollm2", "instructgpt-1.3b"])
def test_profiles_are_valid_and_keep_apart(root, name):
    assert load(root / "params.yaml", [root / f"infra/params/{name}.yaml"]).profile == name


def test_the_papers_values(root):
    p = load(root / "params.yaml", [root / "infra/params/instructgpt-1.3b.yaml"])
    assert (p.sft.epochs, p.sft.lr, p.sft.batch, p.sft.dropout) == (16, 9.65e-6, 32, 0.2)
    assert (p.sft.rl_start_epochs, p.sft.rl_start_lr, p.sft.rl_start_pretraining_share) == (2, 5e-6, 0.1)
    assert (p.reward_model.epochs, p.reward_model.lr, p.reward_model.batch) == (1, 9e-6, 64)
    assert (p.ppo.episodes, p.ppo.batch, p.ppo.minibatch, p.ppo.inner_epochs) == (256_000, 512, 64, 1)
    assert (p.ppo.kl_coef, p.ppo.clip, p.ppo.discount, p.ppo.ema, p.ppo.warmup) == (0.02, 0.2, 1, 0.992, 10)
    assert (p.ppo.ptx_coef, p.ppo.ptx_ratio, p.ppo.value_lr) == (27.8, 8, 9e-6)
    assert (p.data.user_cap, p.data.max_prompt_tokens, p.ppo.max_new_tokens) == (200, 1000, 1024)
    assert 2.55e-6 <= p.ppo.lr <= 2.55e-5 and 4 <= p.comparisons.k <= 9
