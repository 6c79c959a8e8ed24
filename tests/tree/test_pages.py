# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""README.md and README.ja.md held to the code: variables, defaults, outputs, exit codes, commands, modules, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from kvproof.judge.link import NAMES
from kvproof.probe import experiment
from kvproof.report import document, views

ROOT = Path(__file__).resolve().parents[2]
READMES = ["README.md", "README.ja.md"]
PAGES = [
    *READMES,
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "lab/README.md",
    "bench/README.md",
    "examples/README.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
SPECIFICATION = yaml.safe_load((ROOT / "roles/kv_reuse/meta/argument_specs.yml").read_text())["argument_specs"]["main"]
# Defaults that README says in words, since the value alone ("" or 0) would tell nothing
IN_WORDS = {
    "kv_reuse_url",
    "kv_reuse_metrics_url",
    "kv_reuse_model",
    "kv_reuse_internal_api_url",
    "kv_reuse_mp_url",
    "kv_reuse_coordinator_url",
    "kv_reuse_mp_log",
    "kv_reuse_log",
    "kv_reuse_config_file",
    "kv_reuse_port",
}
SEED = {
    "PREFILL_URL",
    "DECODE_URL",
    "PREFILL_METRICS_URL",
    "DECODE_METRICS_URL",
    "PREFILL_MP_URL",
    "DECODE_MP_URL",
    "COORDINATOR_URL",
    "MODEL_NAME",
    "MAX_TOKENS",
    "WAIT_TIME_BETWEEN_REQUESTS",
    "PREFILL_LOG_FILE",
    "DECODE_LOG_FILE",
}


PLACEHOLDERS = ("slug", "NAME", "SLUG")


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def rows(page: str) -> list[list[str]]:
    """The cells of every table row."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text(page).splitlines() if line[:2] == "| "
    ]


def variables(page: str) -> dict[str, str]:
    """Default cell by variable, in the order of the tables."""
    table = {}
    for first, default, *_rest in rows(page):
        names = re.findall(r"`(\w+)`", first)
        if first.startswith("`kv_reuse_") and not modules() & set(names):
            defaults = default.split(",") if "," in default else [default] * len(names)
            table.update(zip(names, (cell.strip() for cell in defaults)))
    return table


def modules() -> set[str]:
    """Of the role, the callback and the modules that can be used ad hoc."""
    return {path.stem for path in (ROOT / "library").glob("[a-z]*")} | {"kv_reuse", "kv_reuse_report"}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.M | re.S)


def commands(page: str) -> list[str]:
    return [line.split("  #")[0].strip() for block in blocks(page, "console") for line in block.splitlines()]


@pytest.mark.parametrize("page", READMES)
def test_the_tables_hold_every_variable_and_its_default(page):
    listed = variables(page)
    assert set(listed) == set(SPECIFICATION["options"])
    for name, default in listed.items():
        if name not in IN_WORDS:
            shown = yaml.safe_load(default.strip("`")) if default else None
            value = SPECIFICATION["options"][name]["default"]
            assert (shown or None) == (value or None), name


def test_the_roles_defaults_are_those_it_specifies():
    defaults = yaml.safe_load(text("roles/kv_reuse/defaults/main.yml"))
    assert {name: option["default"] for name, option in SPECIFICATION["options"].items()} == defaults


def test_the_requests_are_as_short_as_said():
    row = next(row for row in rows("README.md") if row[0] == "`kv_reuse_max_tokens`")
    assert f"at most {max(experiment.FEW_TOKENS, experiment.WARMUP_TOKENS)}" in row[2]


@pytest.mark.parametrize("page", READMES)
def test_the_reports_are_those_that_are_written(page):
    section = next(part for part in text(page).split("\n\n") if "`verdict.json`" in part and "`junit.xml`" in part)
    assert re.findall(r"`([\w.]+\.\w+)`", section)[: len(views.VIEWS) + 1] == ["verdict.json", *views.VIEWS]


@pytest.mark.parametrize("page", READMES)
def test_the_exit_codes_are_explained_as_the_report_does(page):
    table = {row[0]: row[1] for row in rows(page) if row[0] in ("0", "2")}
    assert set(table) == {"0", "2"}
    if page == "README.md":
        code = document.exit_meaning({"exit_code": 2, "run_fails": True})
        assert table["0"] in code
        assert code.startswith("a pair failed or was inconclusive, ")
        assert table["2"].startswith("a pair failed or was inconclusive, ")


@pytest.mark.parametrize("page", READMES)
def test_what_is_run_by_name_is_named(page):
    named = {name for row in rows(page) for name in re.findall(r"`(\w+)`", row[0])}
    assert modules() <= named
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text(page))) >= SEED


def test_the_chain_has_as_many_links_as_said():
    last = max(int(number) for row in rows("README.md") for number in re.findall(r"^\d+–?(\d*)$", row[0]) if number)
    assert max(last, 13) == len(NAMES)
    shown = re.findall(r"^   [✓✗?–] +(\d+) (.+?)  ", text("README.md"), re.M)
    assert [(int(number), name) for number, name in shown] == [(n, name) for n, (name, _) in NAMES.items()]


def test_both_languages_have_the_same_commands_and_examples():
    for language in ("console", "yaml"):
        assert blocks("README.md", language) == blocks("README.ja.md", language)
    assert [row[0] for row in rows("README.md") if row[0].startswith("`")] == [
        row[0] for row in rows("README.ja.md") if row[0].startswith("`")
    ]
    assert [line.count("#") for line in text("README.md").splitlines() if re.match("#+ ", line)] == [
        line.count("#") for line in text("README.ja.md").splitlines() if re.match("#+ ", line)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_commands_name_what_is_there(page):
    targets = set(re.findall(r"^([a-z][\w-]*):", text("Makefile"), re.M))
    for command in commands(page):
        for target in re.findall(r"^make ([a-z-]+)|(?<=&& )make ([a-z-]+)|(?<=; )make ([a-z-]+)", command):
            assert set(target) - {""} <= targets, command
        for path in re.findall(
            r"(?<![\w/=])(?:playbooks|inventory|bench|lab|docs|tests)/[\w./-]+|\bvalidate\.yml", command
        ):
            assert (ROOT / path).exists(), command
    for fault in re.findall(r"FAULT=([\w-]+)", text(page)):
        assert fault in PLACEHOLDERS or (ROOT / "lab" / "faults" / f"{fault}.yml").exists(), fault


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text(page)):
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_files_named_in_prose_are_there(page):
    bases = (
        ROOT,
        (ROOT / page).parent,
        ROOT / "module_utils" / "kvproof",
        ROOT / "roles" / "kv_reuse",
        ROOT / "lab" / "real",
    )
    for path in re.findall(r"`((?:[\w-]+/)+[\w-]+\.(?:py|md|yml|json|toml))`", text(page)):
        if not path.startswith(("reports/", "run/")) and not any(word in path for word in PLACEHOLDERS):
            assert any((base / path).exists() for base in bases), path


def test_every_room_and_folder_has_its_place_in_the_architecture():
    named = {row[0].strip("`") for row in rows("docs/architecture.md")}
    core = ROOT / "module_utils" / "kvproof"
    assert {path.parent.name for path in core.glob("*/__init__.py")} <= named
    others = {"module_utils", "plugin_utils", "meta", "molecule", "inventory", "group_vars", "reports", "dist", "roles"}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))}
    assert folders - others <= named


def test_the_samples_show_tasks_that_there_are():
    tasks = text("roles/kv_reuse/tasks/main.yml") + text("roles/kv_reuse/tasks/inputs.yml")
    for page in ("README.md", "docs/reading.md"):
        for name in re.findall(r"^\d+ - name: (.+)$", text(page), re.M):
            assert f"- name: {name}\n" in tasks, f"{page} shows a task that is no more: take the sample again"
