"""Commands that are suggested to a person repeat the options that the person gave.

Without them "`rlhf run` continues" would run the round of another profile.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

REPEATED = ("--params", "--set")


def hint(text: str, given: Sequence[str] | None = None) -> str:
    """`text`, whose suggested commands ("rlhf run", "rlhf data add") take the --params and --set of this command.

    given: the words of this command after "rlhf"; those of the process by default. A suggested command takes only the options
    that it has.
    """
    options = list(options_in(sys.argv[1:] if given is None else given))
    if not options:
        return text
    takes = commands()
    names = "|".join(sorted(map(re.escape, takes), key=len, reverse=True))

    def extended(match: re.Match[str]) -> str:
        repeated = [f"{name} {shlex.quote(value)}" for name, value in options if name in takes[match[1]]]
        return " ".join([match[0], *repeated])

    return re.sub(rf"\brlhf ({names})(?![\w-])", extended, text)


def options_in(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(--params or --set, its value), as they stand in a command."""
    waiting = iter(words)
    for word in waiting:
        name, is_joined, value = word.partition("=")
        if name not in REPEATED:
            continue
        if is_joined:
            yield name, value
        elif (following := next(waiting, None)) is not None:
            yield name, following


def commands() -> Mapping[str, set[str]]:
    """{"run", "data add", ...: the options that it has}."""
    from typer.main import get_command

    from flows.cli import app

    return dict(_leaves(get_command(app), ""))


def _leaves(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield name.strip(), {option for parameter in command.params for option in parameter.opts}
        return
    for word, one in below.items():
        yield from _leaves(one, f"{name} {word}")
