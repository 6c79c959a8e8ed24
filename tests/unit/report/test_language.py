# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports in another language: whole catalogues, sentences known by their gaps, and nothing for programs translated."""

from __future__ import annotations

import importlib.util
import json
import re
import string

import build_languages
import pytest
import verdicts
from kvproof.judge.findings import all_findings
from kvproof.report import views
from kvproof.report.language import Catalogue, catalogue, say, speaking, told, unspeakable
from kvproof.report.views import console, wrap
from languages import english
from messages import WRITTEN, messages

OTHERS = ("ja",)
BROKEN, HEALTHY = verdicts.verdict("sync_loading"), verdicts.verdict("healthy")


def gaps(text: str) -> list[str]:
    return sorted(name + (f":{spec}" if spec else "") for _, name, spec, _ in string.Formatter().parse(text) if name)


def text_of(name: str, language: str, *pairs: dict) -> str:
    return next(
        text for file, text, _trouble in views.files(verdicts.document(*pairs), language=language) if file == name
    )


def shown(language: str, *pairs: dict, width: int = 100) -> list[str]:
    with speaking(language):
        lines = console.lines(verdicts.document(*pairs), ["/tmp/reports (verdict.json)"], width)
    return ["".join(text for text, _style in line) for line in lines]


@pytest.mark.parametrize("language", OTHERS)
def test_no_message_lacks_a_translation(language):
    known = catalogue(language)
    lacking = [
        message.text
        for message in messages()
        if message.text not in (known.written if message.context == WRITTEN else known.said)
    ]
    assert lacking == [], "translate these in module_utils/kvproof/report/language, after `make docs`"


@pytest.mark.parametrize("language", OTHERS)
def test_every_translation_has_the_gaps_of_its_message(language):
    known = catalogue(language)
    every = [*known.said.items(), *known.written.items()]
    assert [(message, text) for message, text in every if "{" in message and gaps(message) != gaps(text)] == []


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("field", ["title", "meaning", "evidence", "remedy"])
def test_what_a_finding_says_is_translated(language, field):
    with speaking(language):
        same = [finding.slug for finding in all_findings() if told(getattr(finding, field)) == getattr(finding, field)]
    assert same == []


def test_the_catalogues_are_in_step_with_the_code():
    assert [path.name for path, text in build_languages.catalogues().items() if path.read_text("utf-8") != text] == []


def test_a_new_message_has_a_place_and_an_old_one_is_gone(tmp_path, monkeypatch):
    path = tmp_path / "ja.po"
    path.write_text('msgid "kept"\nmsgstr "保持"\n\nmsgid "gone"\nmsgstr "なし"\n', encoding="utf-8")
    read = {build_languages.Message("kept", None): ["b.py"], build_languages.Message("fresh", WRITTEN): ["a.py"]}
    monkeypatch.setattr(build_languages, "messages", lambda: read)
    monkeypatch.setattr(build_languages, "FOLDER", tmp_path)
    text = build_languages.catalogues()[path]
    assert 'msgid "kept"\nmsgstr "保持"' in text
    assert f'msgctxt "{WRITTEN}"\nmsgid "fresh"\nmsgstr ""' in text
    assert "gone" not in text


CATALOGUE = Catalogue(
    {"said": "言った"},
    {
        "{receiver} was asked": "{receiver} に要求",
        "{loaded} of {expected}": "{expected} 中 {loaded}",
        "{count} tokens": "{count} トークン",
        "{amount} loaded by it; {share}": "{amount} をロード；{share}",
        "; no SSH to {hosts}": "；{hosts} に SSH なし",
        "HTTP answers": "HTTP が応答",
        "in force": "有効",
        " ({remark})": "（{remark}）",
        "; ": "；",
        " and ": " と ",
    },
)


@pytest.mark.parametrize(
    ("english_text", "japanese"),
    [
        ("decode-1 was asked", "decode-1 に要求"),
        ("512 of 1024 loaded by it; 3 of 3", "1024 中 512 をロード；3 中 3"),
        ("HTTP answers; no SSH to a and b", "HTTP が応答；a と b に SSH なし"),
        ("HTTP answers; unknown words", "HTTP が応答；unknown words"),
        ("enable_p2p: True (in force)", "enable_p2p: True（有効）"),
        ("words of nobody's", "words of nobody's"),
        ("a and b", "a と b"),
        ("read this and go on", "read this and go on"),
        ("said", "said"),
        ("", ""),
    ],
)
def test_a_sentence_is_known_by_what_stands_around_its_gaps(english_text, japanese):
    assert CATALOGUE.sentence(english_text) == japanese


def test_gaps_that_touch_are_one():
    touching = Catalogue(
        {}, {"{value}{unit} in one trial, of {limit}{unit2}": "1 回の試行で {value}{unit}（{limit}{unit2}）"}
    )
    assert touching.sentence("35 ms in one trial, of 20 ms") == "1 回の試行で 35 ms（20 ms）"
    assert not [pattern for _, pattern, _ in catalogue("ja")._patterns if re.search(r"\)\((?!\))", pattern.pattern)]


def test_a_view_s_own_sentence_has_its_gaps_filled():
    assert say("cluster {name}", name="{x}") == "cluster {x}"
    with speaking("ja"):
        assert say("cluster {name}", name="{x}") == "クラスター {x}"
        assert say("nobody translated {this}", this=1) == "nobody translated 1"
    assert say("cluster {name}", name="a") == "cluster a"


@pytest.mark.parametrize(
    "pair", [BROKEN, HEALTHY, verdicts.waived(reason="来週から")], ids=["broken", "healthy", "waived"]
)
@pytest.mark.parametrize("name", views.READ_BY_PEOPLE)
def test_what_people_read_has_no_english_sentence(name, pair):
    text = text_of(name, "ja", pair)
    body = re.sub(r"<(style|script|svg)\b.*?</\1>|<[^>]*>|<code>.*?</code>", "\n", text, flags=re.DOTALL)
    body = re.sub(r"&#39;.*?&#39;|&lt;.*?&gt;|`[^`]*`", "", body)
    assert {found for line in body.splitlines() if (found := english(line))} == set()


@pytest.mark.parametrize("pair", [BROKEN, HEALTHY], ids=["broken", "healthy"])
def test_the_console_has_no_english_sentence_and_keeps_its_width(pair):
    lines = shown("ja", pair, width=80)
    assert {found for line in lines if (found := english(line))} == set()
    assert max(wrap.columns(line) for line in lines) <= 80
    assert any("判定" in line or "ペア" in line for line in lines)


def test_a_page_says_in_which_language_it_is():
    assert '<html lang="ja">' in text_of("index.html", "ja", BROKEN)
    assert '<html lang="en">' in text_of("index.html", "en", BROKEN)


@pytest.mark.parametrize("name", [name for name in views.NAMES if name not in views.READ_BY_PEOPLE])
def test_what_programs_read_is_english_in_every_language(name):
    assert text_of(name, "ja", BROKEN) == text_of(name, "en", BROKEN)


def test_a_document_is_not_changed_by_being_shown():
    doc = verdicts.document(BROKEN, HEALTHY)
    before = json.dumps(doc)
    list(views.files(doc, language="ja"))
    assert json.dumps(doc) == before


def test_without_its_package_a_language_cannot_be_spoken(monkeypatch):
    assert unspeakable("ja") is None
    monkeypatch.setattr("kvproof.report.language.find_spec", lambda name: None)
    assert unspeakable("en") is None
    assert "pip install babel" in unspeakable("ja")
    assert importlib.util.find_spec("babel")
