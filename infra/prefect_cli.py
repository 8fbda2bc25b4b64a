"""A Prefect startup plugin: `prefect` typed in this folder finds the local stack and bare deployment names.

Prefect calls it at `import prefect` (entry point `rlhf` in group prefect.plugins, switched on in
pyproject.toml), before the command line is read and before the settings are final. It

- keeps Prefect's state in .rlhf/prefect, and points at the servers that `make up` started while they run;
- turns `prefect deployment run rlhf-iteration` (or inspect, pause, schedule ls ...) into
  rlhf-iteration/rlhf-iteration, which Prefect insists on;
- shows the schedules under the table of `prefect deployment ls`, which leaves them out;
- leaves alone whatever is exported already, and everything where a Prefect profile names an API.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from prefect.plugins import HookContext, SetupResult, register_hook

from infra.stack_file import deployments, environment, scheduled

#: options of `prefect deployment` whose next word is theirs
TAKES_A_WORD = {
    "--id",
    "--tag",
    "--flow-run-name",
    "--profile",
    "--param",
    "--params",
    "-p",
    "-jv",
    "--job-variable",
    "--start-in",
    "--start-at",
    "--watch-timeout",
    "--watch-interval",
}


class Plugin:
    @register_hook
    def setup_environment(self, *, ctx: HookContext) -> SetupResult:
        """The variables Prefect sets for this process and its children."""
        sys.argv[:] = with_full_name(sys.argv, deployments(Path("prefect.yaml")))
        if lists_deployments(sys.argv):
            atexit.register(show_schedules, scheduled(Path("prefect.yaml")))
        given = environment(os.environ, ctx.api_url)
        if "PREFECT_HOME" in given:  # Prefect makes the folder, but not the one around it
            Path(given["PREFECT_HOME"]).parent.mkdir(parents=True, exist_ok=True)
        return SetupResult(given)


plugin = Plugin()


def lists_deployments(argv: list[str]) -> bool:
    """True of `prefect deployment ls` for people: not as JSON, which holds the schedules, nor its help."""
    is_prefect = Path(argv[0]).stem in ("prefect", "-m")  # python -m prefect
    return (
        is_prefect
        and argv[1:3] == ["deployment", "ls"]
        and not any(word.startswith("-") for word in argv[3:])
    )


def show_schedules(names: Collection[str]) -> None:
    """Prefect's own table of each deployment's schedules, as the server has them."""
    sys.stdout.flush()
    for name in names:
        command = [sys.executable, "-m", "prefect", "deployment", "schedule", "ls", f"{name}/{name}"]
        subprocess.run(command, check=False)


def with_full_name(argv: list[str], known: Collection[str]) -> list[str]:
    """argv, where the deployment that `prefect deployment ...` names gets its flow's name before it."""
    is_prefect = Path(argv[0]).stem in ("prefect", "-m")  # python -m prefect
    if not is_prefect or argv[1:2] != ["deployment"] or argv[2:3] == ["ls"]:  # ls takes flow names
        return argv
    for i, word in enumerate(argv[2:], start=2):
        if word in known and argv[i - 1] not in TAKES_A_WORD:
            return [*argv[:i], f"{word}/{word}", *argv[i + 1 :]]
    return argv
