"""`python -m infra.params_file` writes params.yaml: the defaults of rlhf/params.py, each with its description."""

from __future__ import annotations

from pathlib import Path

import yaml

from rlhf.params import Params, Section

HEAD = """# The embedded default, written out (`python -m infra.params_file` writes it again from rlhf/params.py).
# Change it here, by a profile (--params infra/params/smollm2.yaml), or for one run (--set ppo.kl_coef=0.05).
"""


def text() -> str:
    """The file: a section a stage, one parameter a line."""
    return HEAD + "".join(_lines(Params(), ""))


def _lines(section: Section, indent: str) -> list[str]:
    lines = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            lines += [f"\n{indent}{name}:\n", *_lines(value, indent + "  ")]
            continue
        plain = list(value) if isinstance(value, tuple) else value
        written = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()
        comment = f"   # {field.description}" if field.description else ""
        lines.append(f"{indent}{name}: {written}{comment}\n")
    return lines


if __name__ == "__main__":
    Path("params.yaml").write_text(text(), encoding="utf-8")
