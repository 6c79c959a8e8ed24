# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/variables.md: every variable of the role, made of its argument_specs; docs/build.py writes it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROOT = Path(__file__).resolve().parent.parent
ROLE = ROOT / "roles" / "kv_reuse"
# Ansible's markup: https://docs.ansible.com/ansible/latest/dev_guide/ansible_markup.html
_MARK = re.compile(r"\b([A-Z])\(([^()]*)\)")


def page() -> str:
    """The text of docs/variables.md."""
    options = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text("utf-8"))["argument_specs"]["main"][
        "options"
    ]
    environment = Environment(
        loader=FileSystemLoader(ROOT / "docs" / "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown, of our own text
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"text": text, "value": value, "kind": kind, "brief": brief}
    parts = {title: {name: options[name] for name in names} for title, names in sections().items()}
    return environment.get_template("variables.md.j2").render(parts=parts)


def sections() -> dict[str, list[str]]:
    """Names of variables by the comment of defaults/main.yml that they stand under."""
    found: dict[str, list[str]] = {}
    for line in (ROLE / "defaults" / "main.yml").read_text("utf-8").splitlines():
        if line.startswith("# "):
            found[line[2:]] = names = []
        elif match := re.match(r"(kv_reuse_\w+):", line):
            names.append(match[1])
    return found


def text(description: str | list[str]) -> str:
    """Markdown of a description, a paragraph for each of its items; ValueError for markup that is not known here."""
    paragraphs = [description] if isinstance(description, str) else description
    return "\n\n".join(_MARK.sub(_markdown, paragraph) for paragraph in paragraphs)


def _markdown(mark: re.Match) -> str:
    kind, inner = mark.groups()
    if kind in "VCE":  # values, code, environment variables
        return f"`{inner}`"
    if kind == "O":  # an option, maybe with a value
        return f"[`{inner}`](#{inner.partition('=')[0]})"
    if kind in "BI":
        return f"**{inner}**" if kind == "B" else f"*{inner}*"
    raise ValueError(f"docs/build_variables.py does not know the markup {mark[0]}")


def brief(description: str | list[str]) -> str:
    """The first sentence of a description, for the cell of a table."""
    first = text(description).partition("\n\n")[0]
    return re.split(r"(?<=[^. ]{2}\.) (?=[A-Z\[])", first)[0].replace("|", r"\|")


def value(default: object) -> str:
    """A default as YAML has it; what is none is empty, a template is too long for the cell of a table."""
    if default is None or default == "":
        return ""
    return "a template" if isinstance(default, str) and "{{" in default else f"`{json.dumps(default).strip(chr(34))}`"


def kind(option: dict) -> str:
    """Type of an option, with that of its elements."""
    return f"list of {option['elements']}" if option["type"] == "list" else option["type"]
