"""Keys: what changes them, and what must not."""

from __future__ import annotations

import re

import pytest

from rlhf.jobs import STAGES
from rlhf.params import DataParams, Params, load
from tasks import keys


def test_every_stage_has_parameters_and_code():
    assert keys.READS.keys() == STAGES.keys()
    for stage in STAGES:
        assert len(keys.code_digest(stage)) == 64


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("ppo.kl_coef=0.3", {"ppo"}),
        ("evaluation.prompts=10", {"evaluate", "release"}),
        ("comparisons.labelers=4", {"rank", "evaluate", "release"}),
        ("base.context=128", {"base", "sample", "choose_sft", "ppo", "evaluate", "release"}),
        ("sft.lr=0.1", {"sft"}),
        ("sft.rl_start_lr=0.1", {"rl_start"}),
        ("sft.demonstrations=10", {"sft", "rl_start"}),
        ("sft.valid_demonstrations=10", {"sft"}),
        ("sft.choice_prompts=10", {"choose_sft"}),
        ("sft.choice_answers=3", {"choose_sft"}),
        ("data.user_cap=3", {"curate"}),
        ("data.workers=3", set()),
        ("data.engine=dask", set()),
        ("compute.threads=3", set()),
        ("gate.max_kl=1", set()),
        ("seed=1", set(STAGES) - {"curate"}),
    ],
)
def test_a_parameter_changes_the_stages_that_read_it(setting, changed):
    before, after = Params(), load(None, settings=[setting])

    def key(stage, params):
        return keys.key(stage, params, files={}, parents={})

    assert {stage for stage in STAGES if key(stage, before) != key(stage, after)} == changed


def test_files_and_parents_count():
    one = keys.key("ppo", Params(), files={"a": "1"}, parents={"rl_start": "x"})
    assert one == keys.key("ppo", Params(), files={"a": "1"}, parents={"rl_start": "x"})
    assert one != keys.key("ppo", Params(), files={"a": "2"}, parents={"rl_start": "x"})
    assert one != keys.key("ppo", Params(), files={"a": "1"}, parents={"rl_start": "y"})


def test_stages_read_no_parameter_beyond_their_key(root):
    """A stage's own module names no section.key (params.ppo.lam, say) that its key leaves out."""
    for stage, module in STAGES.items():
        source = (root / (module.partition(":")[0].replace(".", "/") + ".py")).read_text()
        for section, name in re.findall(r"job\.params\.([a-z_]+)(?:\.([a-z_]+))?", source):
            if section == "compute":  # where it runs, not what comes out
                continue
            if (stage, section, name) == ("curate", "data", ""):  # all of it, but for where it runs
                left_out = {key for key in DataParams.model_fields if f"data.{key}" not in keys.READS[stage]}
                assert left_out == keys.HOW_CURATION_RUNS
                continue
            reads = keys.READS[stage]
            known = section in reads or f"{section}.{name}" in reads
            assert known or (not name and any(r.startswith(f"{section}.") for r in reads)), (
                stage,
                section,
                name,
            )
