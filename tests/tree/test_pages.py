# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages held to the code: variables, defaults, outputs, exit codes, commands, modules, links, examples."""

from __future__ import annotations

import re
from pathlib import Path

import build_variables
import pytest
import tree_links
import yaml
from kvproof.judge.link import NAMES
from kvproof.probe import experiment
from kvproof.report import document, views

ROOT = Path(__file__).resolve().parents[2]
READMES = ["README.md", "README.ja.md"]
# Where the variables are: written by docs/build.py, and by hand
VARIABLES = ["docs/variables.md", "docs/guide.ja.md"]
PAGES = [
    *READMES,
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "lab/README.md",
    "bench/README.md",
    "examples/README.md",
    "docs/findings/README.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
FINDINGS = [f"docs/findings/{path.name}" for path in (ROOT / "docs" / "findings").glob("[a-z]*.md")]
SPECIFICATION = yaml.safe_load((ROOT / "roles/kv_reuse/meta/argument_specs.yml").read_text())["argument_specs"]["main"]
# Defaults that may be said in words, since the value alone ("" or 0) would tell nothing
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
        if first.lstrip("[").startswith("`kv_reuse_") and not modules() & set(names):
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


@pytest.mark.parametrize("page", VARIABLES)
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


def test_every_variable_has_its_own_part_with_what_it_takes():
    parts = dict(re.findall(r"^### `(kv_reuse_\w+)`\n(.*?)(?=^##|\Z)", text("docs/variables.md"), re.M | re.S))
    assert set(parts) == set(SPECIFICATION["options"])
    for name, option in SPECIFICATION["options"].items():
        assert f"- Type: {'list of ' if option['type'] == 'list' else ''}" in parts[name]
        assert all(f"`{choice}`" in parts[name] for choice in option.get("choices", []))
        assert all(f"| `{key}` |" in parts[name] for key in option.get("options", {}))
    assert not re.findall(r"\b[A-Z]\(\w", text("docs/variables.md")), "Ansible's markup is left"


def test_markup_that_is_not_known_is_refused():
    assert build_variables.text("V(x), C(y), E(HOME), B(b)") == "`x`, `y`, `HOME`, **b**"
    assert build_variables.text(["O(kv_reuse_url)", "O(a=b)"]) == "[`kv_reuse_url`](#kv_reuse_url)\n\n[`a=b`](#a)"
    with pytest.raises(ValueError, match=r"M\(a.module\)"):
        build_variables.text("see M(a.module)")


@pytest.mark.parametrize("page", VARIABLES)
def test_the_requests_are_as_short_as_said(page):
    row = next(row for row in rows(page) if "`kv_reuse_max_tokens`" in row[0])
    said = {"docs/variables.md": "at most {}", "docs/guide.ja.md": "最大 {}"}[page]
    assert said.format(max(experiment.FEW_TOKENS, experiment.WARMUP_TOKENS)) in row[2]


@pytest.mark.parametrize("page", [*READMES, "docs/guide.ja.md"])
def test_the_reports_are_those_that_are_written(page):
    section = next(part for part in text(page).split("\n\n") if "`verdict.json`" in part and "`junit.xml`" in part)
    assert re.findall(r"`([\w.]+\.\w+)`", section)[: len(views.VIEWS) + 1] == ["verdict.json", *views.VIEWS]


def test_the_pipelines_page_has_a_row_for_each_report():
    named = {name for row in rows("docs/pipelines.md") for name in re.findall(r"`([\w.]+)`", row[0])}
    assert {"verdict.json", *views.VIEWS} <= named


@pytest.mark.parametrize("page", [*READMES, "docs/pipelines.md"])
def test_the_exit_codes_are_explained_as_the_report_does(page):
    table = {row[0]: row[1] for row in rows(page) if row[0] in ("0", "2")}
    assert set(table) == {"0", "2"}
    if not page.endswith(".ja.md"):
        code = document.exit_meaning({"exit_code": 2, "run_fails": True})
        assert table["0"] in code
        assert code.startswith("a pair failed or was inconclusive, ")
        assert table["2"].startswith("a pair failed or was inconclusive, ")


@pytest.mark.parametrize("page", READMES)
def test_what_is_run_by_name_is_named(page):
    named = {name for row in rows(page) for name in re.findall(r"`(\w+)`", row[0])}
    assert modules() <= named


@pytest.mark.parametrize("page", VARIABLES)
def test_what_the_environment_may_say_is_named(page):
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", text(page))) >= SEED
    taken = set(re.findall(r"'ansible\.builtin\.env', '([A-Z_]+)'", text("roles/kv_reuse/tasks/inputs.yml")))
    assert taken <= SEED


def test_the_chain_has_as_many_links_as_said():
    last = max(int(number) for row in rows("README.md") for number in re.findall(r"^\d+–?(\d*)$", row[0]) if number)
    assert max(last, 13) == len(NAMES)
    drawn = text("docs/pictures/chain.svg")
    for number, (name, _) in NAMES.items():
        assert re.search(rf"\b{number} {name}\b|>{number}</text><text [^>]*>{name}<", drawn), name
    for sample in blocks("docs/reading.md", "console")[:2]:
        shown = re.findall(r"^   [✓✗?–] +(\d+) (.+?)  ", sample, re.M)
        assert [(int(number), name) for number, name in shown] == [(n, name) for n, (name, _) in NAMES.items()]


def test_both_languages_have_the_same_commands_and_examples():
    for language in ("console", "yaml"):
        assert blocks("README.md", language) == blocks("README.ja.md", language)
    assert [row[0] for row in rows("README.md") if row[0].startswith("`")] == [
        row[0] for row in rows("README.ja.md") if row[0].startswith("`")
    ]
    assert [len(row) for row in rows("README.md")] == [len(row) for row in rows("README.ja.md")]
    assert [line.count("#") for line in text("README.md").splitlines() if re.match("#+ ", line)] == [
        line.count("#") for line in text("README.ja.md").splitlines() if re.match("#+ ", line)
    ]


def test_the_japanese_guide_shows_nothing_that_the_english_pages_do_not():
    english = [text(f"docs/{name}.md") for name in ("quickstart", "cookbook", "pipelines", "diagnose")]
    shown = " ".join(english)
    for language in ("console", "yaml"):
        for block in blocks("docs/guide.ja.md", language):
            assert not [line for line in block.splitlines() if line not in shown]
    usual = [row[0] for row in rows("docs/findings/README.md") if "usual" not in row[0]]
    named = {slug for cell in usual for slug in re.findall(r"\[([\w-]+)\]", cell)}
    assert {
        slug for row in rows("docs/guide.ja.md") for slug in re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", row[0])
    } <= named


@pytest.mark.parametrize("page", PAGES)
def test_every_example_in_yaml_can_be_read(page):
    for block in blocks(page, "yaml"):
        assert yaml.safe_load(block) is not None, block


@pytest.mark.parametrize("page", PAGES)
def test_commands_name_what_is_there(page):
    targets = set(re.findall(r"^([a-z][\w-]*):", text("Makefile"), re.M))
    for command in commands(page):
        assert not re.search(r"-i inventory(?![/\w])", command), "reads all inventories of the tree, as one"
        for target in re.findall(r"^make ([a-z-]+)|(?<=&& )make ([a-z-]+)|(?<=; )make ([a-z-]+)", command):
            assert set(target) - {""} <= targets, command
        for path in re.findall(
            r"(?<![\w/=])(?:playbooks|inventory|bench|lab|docs|tests)/[\w./-]+|\bvalidate\.yml", command
        ):
            assert (ROOT / path).exists(), command
    for fault in re.findall(r"FAULT=([\w-]+)", text(page)):
        assert fault in PLACEHOLDERS or (ROOT / "lab" / "faults" / f"{fault}.yml").exists(), fault


@pytest.mark.parametrize("page", [*PAGES, *FINDINGS])
def test_links_lead_somewhere(page):
    for target, anchor in tree_links.links(text(page)):
        path = tree_links.file_of(page, target)
        assert not anchor or not path.endswith(".md") or anchor in tree_links.anchors(text(path)), f"{target}#{anchor}"


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
    tasks = "".join(path.read_text("utf-8") for path in sorted((ROOT / "roles/kv_reuse/tasks").glob("*.yml")))
    for page in ("README.md", "docs/reading.md"):
        for name in re.findall(r"^\d+ - name: (.+)$", text(page), re.M):
            assert f"- name: {name}\n" in tasks, f"{page} shows a task that is no more: take the sample again"


def test_every_question_has_its_thread_and_where_it_goes_on():
    questions = text("docs/faq.md").split("\n## ")[1:]
    assert len(questions) >= 15
    for question in questions:
        assert "](https://github.com/" in question, question
        assert re.search(r"\]\((findings/[\w-]+|architectures)\.md", question), question
