"""A suggested command runs what the person is at, not another profile's round."""

from __future__ import annotations

import pytest

from flows.console import console
from flows.hints import hint

GIVEN = ["run", "--params", "my team.yaml", "--set=ppo.lr=1e-5", "--round", "2"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("`rlhf run` continues it", "`rlhf run --params 'my team.yaml' --set ppo.lr=1e-5` continues it"),
        (
            "`rlhf run --round 1` again",
            "`rlhf run --params 'my team.yaml' --set ppo.lr=1e-5 --round 1` again",
        ),
        (
            "  rlhf data add comparisons FILE && rlhf run",
            "  rlhf data add --params 'my team.yaml' comparisons FILE"
            " && rlhf run --params 'my team.yaml' --set ppo.lr=1e-5",
        ),
        ("next  rlhf chat (talk)", "next  rlhf chat --params 'my team.yaml' (talk)"),
        ("`rlhf data fetch` builds it", "`rlhf data fetch` builds it"),
        ("rlhf runs; rlhf-run; rlhf data", "rlhf runs; rlhf-run; rlhf data"),
    ],
)
def test_a_hint_repeats_the_options(said, expected):
    assert hint(said, GIVEN) == expected
    assert hint(said, ["run"]) == said


def test_brackets_are_text(capsys):
    console().print("report  /home/[team-a]/[/b]/round-0001.html", soft_wrap=True)
    assert capsys.readouterr().out == "report  /home/[team-a]/[/b]/round-0001.html\n"
