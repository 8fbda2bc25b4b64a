"""Options of `rlhf data add` and `rlhf data curate` that say how files are to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rlhf.data.reading.reader import Options

FormatName = Annotated[
    str | None, typer.Option("--format", help="a name from `rlhf data formats`; left out: it is recognised")
]
UserField = Annotated[
    str | None, typer.Option("--user-field", help="the field of the user's id, or a.b for one inside another")
]
Mapped = Annotated[
    list[str] | None,
    typer.Option("--map", help="our fields from theirs: text=prompt,user_id=end_user (may be repeated)"),
]
OneUserEach = Annotated[
    bool, typer.Option("--one-user-each", help="a record without a user is a user's only one")
]
Anonymous = Annotated[
    bool, typer.Option("--anonymous", help="records without a user are one user's, `anonymous`")
]


def reading_options(
    format: str | None, user_field: str | None, mapped: list[str] | None, one_user_each: bool, anonymous: bool
) -> Options:
    """The options; ValueError that names one that is wrong."""
    from rlhf.data.reading.reader import Options

    if one_user_each and anonymous:
        raise ValueError("--one-user-each and --anonymous exclude each other; one of them is allowed")
    pairs: dict[str, str] = {}
    for pair in ",".join(mapped or []).split(","):
        if not pair.strip():
            continue
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and equals and theirs):
            raise ValueError(f"--map {pair!r} is no pair of fields (allowed: OURS=THEIRS,OURS=THEIRS)")
        if pairs.setdefault(ours, theirs) != theirs:
            raise ValueError(f"--map gives {ours} twice; one field of theirs is allowed")
    return Options(
        format=format,
        user_field=user_field,
        map=pairs,
        users="one-each" if one_user_each else "anonymous" if anonymous else "named",
    )
