"""What TRL 1.9.2's PPO computes in its first iteration on the tiny workload, tensor by tensor.

    PYTHONPATH=FOLDER_WITH_TRL_1.9.2:. python -m benchmarks.peers.trl_tensors OUT.safetensors SETTINGS

Read where they are local variables of PPOTrainer.train: `rollout.NAME` when advantages are whitened, `step-I.NAME` at
the I-th backward pass. SETTINGS: JSON, of PPOConfig. The models are those of benchmarks.workloads, seed 0.
"""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import save_file
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

from benchmarks import workloads
from benchmarks.workloads import WORKLOADS

ROLLOUT = ("queries", "responses", "logprobs", "ref_logprobs", "values", "scores", "rewards", "advantages")
ROLLOUT += ("returns", "padding_mask", "padding_mask_p1", "sequence_lengths")
STEP = (
    "mb_advantage",
    "mb_logprobs",
    "mb_return",
    "mb_values",
    "new_logprobs",
    "vpred",
    "pg_loss",
    "vf_loss",
    "loss",
)


class Done(Exception):
    """The first iteration is over."""


def main(out: str, settings: str) -> None:
    torch.set_num_threads(1)
    load = WORKLOADS["tiny"]
    made = workloads.models(load)
    with torch.no_grad():  # a reference of its own, so that there is a KL to charge
        for parameter in made["reference"].parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.02)
    found: dict[str, torch.Tensor] = {
        f"reference.{name}": value.clone() for name, value in made["reference"].state_dict().items()
    }
    for name in ("policy", "value", "reward"):
        found |= {f"{name}.{key}": value.clone() for key, value in made[name].state_dict().items()}
    whiten = ppo_trainer.masked_whiten

    def keep(prefix: str, names: tuple[str, ...], variables: dict[str, Any], **named: Any) -> None:
        for name in (name for name in names if isinstance(variables.get(name), torch.Tensor)):
            found[f"{prefix}.{name}"] = variables[name].detach().clone().contiguous()
        found.update({f"{prefix}.{name}": value.detach().clone() for name, value in named.items()})

    def whiten_and_keep(values: torch.Tensor, mask: torch.Tensor, **named: Any) -> torch.Tensor:
        whitened = whiten(values, mask, **named)
        frame = inspect.currentframe()
        assert frame is not None and frame.f_back is not None
        keep("rollout", ROLLOUT, frame.f_back.f_locals, whitened=whitened)
        return whitened

    ppo_trainer.masked_whiten = whiten_and_keep
    tokenizer = workloads.tokenizer(padding_side="left")
    rows = Dataset.from_dict({"input_ids": workloads.prompts(load, 4 * load.episodes)})
    with tempfile.TemporaryDirectory() as folder:
        config = PPOConfig(
            output_dir=folder,
            total_episodes=2 * load.episodes,
            per_device_train_batch_size=load.minibatch,
            gradient_accumulation_steps=load.episodes // load.minibatch,
            num_mini_batches=load.episodes // load.minibatch,
            num_ppo_epochs=3,
            learning_rate=1e-2,  # ratios and values leave their clipping ranges
            local_rollout_forward_batch_size=load.minibatch,
            response_length=load.new_tokens,
            stop_token="eos",
            temperature=1.0,
            whiten_rewards=False,
            kl_estimator="k1",
            num_sample_generations=0,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            seed=0,
            **json.loads(settings),
        )
        trainer = PPOTrainer(
            config, tokenizer, made["policy"], made["reference"], made["reward"], rows, made["value"]
        )
        backward, steps = trainer.accelerator.backward, 3 * load.episodes // load.minibatch

        def backward_and_keep(loss: torch.Tensor) -> None:
            frame = inspect.currentframe()
            assert frame is not None and frame.f_back is not None
            variables = frame.f_back.f_locals
            number = sum(name.endswith(".pg_loss") for name in found)
            rows_taken = torch.as_tensor(variables["micro_batch_inds"])
            keep(f"step-{number}", STEP, variables, rows=rows_taken)
            backward(loss)
            if number + 1 == steps:
                raise Done

        trainer.accelerator.backward = backward_and_keep
        try:
            trainer.train()
        except Done:
            save_file(found, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
