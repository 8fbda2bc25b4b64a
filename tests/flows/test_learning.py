"""benchmarks.learning, the command that makes the README's figures, on a clone with a little data."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_loop_on_two_seeds_on_the_test_users(make_clone, pytestconfig):
    """The whole loop in miniature, by the command that makes the README's figures."""
    clone = make_clone("learning")
    command = [sys.executable, "-m", "benchmarks.learning", "--seeds", "0", "1", "--jobs", "1", "--json"]
    done = subprocess.run(
        command,
        cwd=clone.folder,
        env=clone.env | {"PYTHONPATH": str(pytestconfig.rootpath)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    table, _, last = done.stdout.rstrip().rpartition("\n")
    found = json.loads(last)
    assert found["split"] == "test" and [seed["seed"] for seed in found["seeds"]] == [0, 1]
    assert "ppo" not in found["mean"], "plain PPO where it is asked for"
    for figure in (
        "win_rate_vs_sft_by_labelers",
        "win_rate_vs_sft",
        "length_controlled",
        "kl",
        "alignment_tax",
    ):
        values = [seed["policies"]["ppo_ptx"][figure] for seed in found["seeds"]]
        mids = [value[1] if isinstance(value, list) else value for value in values]
        assert found["mean"]["ppo_ptx"][figure] == pytest.approx(sum(mids) / 2)
    gain = found["mean"]["ppo_ptx"]
    assert sum(gain["gain_by_feature"].values()) == pytest.approx(gain["gain"])
    assert "| PPO-ptx | 0." in table and "SFT again (control)" in table
