"""The benchmarks run: the same code as in full, at a size that takes seconds. What they measure is not tested."""

import json
import subprocess
import sys

import pytest

from benchmarks import learning, long_run
from rlhf.data.planted import copies as planted_copies


def test_an_iteration_of_ppo_against_the_floor(pytestconfig):
    command = [sys.executable, "-m", "benchmarks.ppo", "--workload", "tiny", "--quick", "--alone"]
    command += ["--json", "--bf16"]
    done = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for ours in found["seconds"].values():
        assert ours["iteration"] >= max(ours["generate"], ours["score"], ours["update"]) > 0
    assert found["over_floor_fp32"] > 1.0
    assert (
        32 * (4 + 1) <= found["useful_tokens"]["ours_fp32"] <= 32 * (8 + 8)
    )  # 32 episodes, prompts of 4 to 8


def lines(**last):
    calm = {
        "reward": 0.0,
        "kl": 1.0,
        "entropy": 3.0,
        "length": 30.0,
        "eos_rate": 0.9,
        "explained_variance": 0.8,
    }
    return [{**calm, **(last if step >= 6 else {}), "time": 10.0 * step} for step in range(8)]


@pytest.mark.parametrize(
    ("last", "verdict"),
    [
        ({"reward": 1.0}, None),
        ({"reward": -1.0}, "the reward fell"),
        ({"kl": 99.0}, "the KL is 99.0"),
        ({"entropy": 0.1}, "the entropy is 0.10"),
        ({"length": 1.0}, "answers have 1.0 tokens"),
    ],
)
def test_a_long_run_is_summed_up_by_quarter(last, verdict):
    memory = [(step * 1.0, 2.0 if step < 30 else 2.1) for step in range(80)]
    found = long_run.summary(lines(**last), memory)
    assert found["memory_growth"] == pytest.approx(0.05)
    assert found["reward"] == [0.0, 0.0, 0.0, last.get("reward", 0.0)]
    assert (found["collapsed"] or "").startswith(verdict or "") and (found["collapsed"] is None) == (
        verdict is None
    )


def test_the_data_room_on_a_corpus_of_known_truth(pytestconfig):
    command = [
        sys.executable,
        "-m",
        "benchmarks.data",
        "--rows",
        "400",
        "--quick",
        "--no-pii",
        "--json",
        "--peers",
    ]
    done = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["near_recall"] > 0.9 < found["near_precision"]
    assert found["rows_per_second"] > 0 < found["peak_gb"]


def test_what_is_planted_is_what_is_scored():
    made = planted_copies.corpus(2000, seed=3)
    copies = set(made.copy_of)
    others = {row["id"] for row in made.records} - copies
    near, short = planted_copies.near_copies(made)
    assert len(near) > len(short) > 0
    for removed, share in ((copies, 1.0), (others, 0.0)):
        assert planted_copies.score(made, removed) == {
            "recall": share,
            "recall_short": share,
            "precision": share,
        }
    assert made == planted_copies.corpus(2000, seed=3) != planted_copies.corpus(2000, seed=4)


def test_seeds_are_summed_up_by_mean_and_sd():
    def seed(win, relevance):
        own = {
            "kl": [1.0, 2.0, 3.0],
            "win_rate_vs_sft": [0, win, 1],
            "gain_by_feature": {"relevance": relevance},
        }
        return {"ppo_ptx": own | {"words": 20.0}, "sft": {"words": 10.0}}

    mean, sd = learning.over_seeds([seed(0.6, 0.1), seed(0.7, 0.3), seed(0.8, 0.2)])
    assert mean["ppo_ptx"]["win_rate_vs_sft"] == pytest.approx(0.7)
    assert sd["ppo_ptx"]["win_rate_vs_sft"] == pytest.approx(0.1), "of a sample"
    assert mean["ppo_ptx"]["gain_by_feature"] == {"relevance": pytest.approx(0.2)}
    assert sd["sft"] == {"words": 0.0}
    assert learning.over_seeds([seed(0.6, 0.1)])[1]["ppo_ptx"]["kl"] is None, "one seed has no spread"
