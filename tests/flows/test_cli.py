"""The command line: what a person types wrong is one sentence and exit status 2, and writes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows import cli


@pytest.fixture
def rlhf(tmp_path, monkeypatch, capsys):
    """rlhf("params show") -> (exit status, standard output, standard error), in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLHF_HOME", str(tmp_path / ".rlhf"))

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rlhf", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "--set", "comparisons.k=-1"], "parameter comparisons.k is -1: input should be greater"),
        (["run", "--set", "pp.lr=1"], "unknown parameter pp; did you mean ppo?"),
        (["run", "--set", "ppo.learning_rate=1"], "unknown parameter ppo.learning_rate"),
        (
            ["run", "--set", "ppo.episodes=64"],
            "ppo.episodes (64) must be at least ppo.batch (128), one iteration",
        ),
        (
            ["run", "--set", "ppo.value_warmup=32"],
            "must be less than the iterations, ppo.episodes // ppo.batch",
        ),
        (
            ["run", "--set", "base.path=x", "--set", "sft.max_tokens=999"],
            "sft.max_tokens (999) must be at most base.context (256)",
        ),
        (["run", "--set", "ppo.max_new_tokens=256"], "must leave room for a prompt in base.context (256)"),
        (
            ["run", "--set", "ppo.ptx_ratio=0.01"],
            "leaves a minibatch of 32 without a pretraining row; allowed: 0, or at least 0.03125",
        ),
        (["run", "--set", "ppo.stop=[a"], "--set ppo.stop=[a: the value is not readable YAML: while parsing"),
        (
            ["run", "--set", "ppo.stop=['']"],
            "parameter ppo.stop.0 is '': string should have at least 1 character",
        ),
        (
            ["run", "--set", "ppo.kl_target=6", "--set", "ppo.kl_coef=0"],
            "ppo.kl_target adapts ppo.kl_coef, and 0 stays 0",
        ),
        (
            ["run", "--set", "ppo.kl_target=6", "--set", "ppo.kl_horizon=20"],
            "ppo.kl_horizon (20) must be at least ppo.batch (128)",
        ),
        (["run", "--set", "ppo.lr"], "--set ppo.lr: expected section.key=value"),
        (["run", "--params", "absent.yaml"], "params file absent.yaml does not exist"),
        (
            ["export", "value-model"],
            "there is no model 'value-model' (allowed: policy, reward-model, sft, base)",
        ),
        (["data", "add", "thoughts", "x.jsonl"], "there is no kind 'thoughts' of data"),
        (["data", "add", "prompts", "absent.jsonl"], "absent.jsonl does not exist"),
        (["data", "forget"], "whom to forget? Give user ids"),
        (["data", "forget", "--file", "absent.txt"], "absent.txt does not exist"),
    ],
)
def test_a_mistake_is_one_sentence(rlhf, words, sentence):
    status, out, err = rlhf(*words)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize("words", [["run", "--round", "0"], ["runn"], ["export"], ["run", "--rounds", "1"]])
def test_a_mistyped_command_is_usage(rlhf, words):
    status, _, err = rlhf(*words)
    assert status == 2
    assert "Traceback" not in err


def test_a_bad_record_names_file_and_line_and_nothing_is_added(rlhf):
    completions = [{"text": "a", "model_version": "m"}, {"text": "b", "model_version": "m"}]
    comparison = {"id": "c", "prompt_id": "p", "labeler_id": "l", "completions": completions}
    for kind, line, field in (
        ("demonstrations", json.dumps({"id": "d", "text": "Hello?", "labeler_id": "l"}), "completion"),
        ("comparisons", json.dumps({**comparison, "ranks": [1]}), "1 ranks for 2 completions"),
        ("prompts", "{not json", "JSON"),
    ):
        Path(f"{kind}.jsonl").write_text(line + "\n")
        status, _, err = rlhf("data", "add", kind, f"{kind}.jsonl")
        assert status == 2
        assert f"{kind}.jsonl" in err and "1" in err and field in err
        assert "nothing was added" in err
        assert not Path("data/raw").exists()


def test_records_are_added(rlhf):
    Path("mine.jsonl").write_text(json.dumps({"id": "a", "user_id": "u", "text": "What is a tide?"}) + "\n")
    status, out, _ = rlhf("data", "add", "prompts", "mine.jsonl")
    assert status == 0
    assert out.startswith("mine-") and out.endswith(".jsonl: 1\n")
    assert len(list(Path("data/raw/prompts").glob("mine-*.jsonl"))) == 1


def test_params_show_what_is_in_force(rlhf):
    Path("params.yaml").write_text("ppo: {kl_coef: 0.3}\n")
    status, out, _ = rlhf("params", "show", "--set", "ppo.lam=0.9")
    assert status == 0
    assert "kl_coef: 0.3" in out and "lam: 0.9" in out


def test_there_is_nothing_yet(rlhf):
    for words, sentence in (
        (["export", "policy"], "there is no policy yet"),
        (["chat"], "there is no policy yet"),
        (["report"], "there is no report yet"),
        (["rollback"], "there is no previous champion"),
        (["data", "checkout", "1"], "round 1 keeps no data version"),
    ):
        status, _, err = rlhf(*words)
        assert (status, sentence in err) == (2, True), err


def test_debug_shows_where_it_rose(tmp_path):
    command = [sys.executable, "-m", "flows.cli", "params", "show", "--set", "seed=-1", "--debug"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "Traceback" in done.stderr


def test_help_waits_for_nothing_heavy(tmp_path):
    heavy = "import sys; sys.argv = ['rlhf', '--help']\nfrom flows import cli\ntry: cli.main()\nexcept SystemExit: pass\n"
    heavy += "print([m for m in ('torch', 'mlflow', 'prefect', 'polars', 'pydantic') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", heavy], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("[]"), done.stdout


def test_the_audit_is_a_table_and_its_exit_status_says_whether_it_holds(rlhf, monkeypatch):
    from rlhf.data import audit

    monkeypatch.setattr(audit, "CHECKS", (audit.check_use_case,))
    status, out, _ = rlhf("data", "audit", "--count", "100")
    assert (status, "use case" in out, "MISSED" in out) == (0, True, False)
    monkeypatch.setattr(audit.use_case, "classify", lambda text: "other")
    status, out, _ = rlhf("data", "audit", "--count", "100")
    assert (status, "MISSED" in out) == (1, True)


def test_a_model_is_checked_before_any_round(rlhf, tmp_path):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlhf.models import tokenizer

    torch.manual_seed(0)
    words = tokenizer.train(["who built the northern gate"], 300, 64)
    config = LlamaConfig(
        vocab_size=len(words) + 8, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained("outside")
    words.save_pretrained("outside")
    status, out, _ = rlhf("model", "check", "outside")
    assert status == 0
    for line in (
        "LlamaForCausalLM, ",
        f"{len(words):,}, and {len(words) + 8:,} rows",
        "answers end at              <|im_end|>",
        "packed without padding",
        "can be made of it",
    ):
        assert line in out, out
    (Path("outside") / "config.json").write_text("")
    status, out, err = rlhf("model", "check", "outside")
    assert (status, out, err) == (2, "", "rlhf: base.path outside: config.json is empty\n")


@pytest.fixture
def outside(tmp_path):
    """A tiny model of somebody else, whole."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from rlhf.models import tokenizer

    words = tokenizer.train(["the river runs past the castle"], 300, 64)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(words), **shape)).save_pretrained(tmp_path / "outside")
    words.save_pretrained(tmp_path / "outside")
    return tmp_path / "outside"


def _lose(folder, name):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _classify(folder):
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["LlamaForSequenceClassification"]
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "setting", "sentence"),
    [
        (lambda d: (d / "config.json").write_text(""), "base.path=outside", "outside: config.json is empty"),
        (lambda d: _lose(d, "model.norm.weight"), "base.path=outside", "lacks model.norm.weight: it would be drawn"),
        (lambda d: _lose(d, "lm_head.weight"), "base.path=outside", "lacks lm_head.weight: it would be drawn"),
        (
            lambda d: (d / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1"),
            "base.path=outside", "tokenizer.json is a git-lfs pointer",
        ),
        (
            lambda d: (d / "config.json").rename(d / "adapter_config.json"), "base.path=outside",
            "holds an adapter and no model: merge it into its base first, and name the result, or name its base as base.path",
        ),
        (lambda d: None, "base.path=Qwen/Qwen3-0.6B", "`hf download Qwen/Qwen3-0.6B --local-dir Qwen3-0.6B`"),
        (_classify, "reward_model.base=outside", "reward_model.base outside is a sequence classifier"),
        (lambda d: None, "base.context=4096 base.path=outside", "the model at base.path outside has 2048 positions"),
        (lambda d: None, "base.adapter=none base.path=outside", "base.adapter: the directory none does not exist"),
        (lambda d: None, "base.adapter=none", "base.adapter needs the model that it was trained on"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_imported_is_said_before_anything_starts(
    rlhf, outside, spoil, setting, sentence
):
    spoil(outside)
    options = [word for each in setting.split() for word in ("--set", each)]
    status, out, err = rlhf("run", *options)
    assert (status, out) == (2, "")
    assert sentence in err and err.startswith("rlhf: ")
    assert err.count("\n") == 1 and not Path(".rlhf").exists()
