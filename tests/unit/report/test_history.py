# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which kept run a pair is compared with, what is said of it, and what becomes of the folder."""

from __future__ import annotations

import copy
import json
import os
import re
import stat
import threading

import pytest
import verdicts
from kvproof.report import history, history_files, parts, views
from kvproof.report.language import speaking
from kvproof.report.merge import Source, merge
from kvproof.report.views import changes, cleaned, console
from languages import english
from verdict_schema import errors

DAY = "2026-11-{:02}T02:24:41+00:00"


def run(day: int, missing: int = 0, **pairs: str | dict) -> dict:
    """A run of a day, of clusters each with its pair's verdict by its fixture's name."""
    judged = [verdicts.live(one, cluster=name) if isinstance(one, str) else one for name, one in pairs.items()]
    return verdicts.run(*judged, missing=missing, run_id=f"r{day}").document("complete", DAY.format(day), 0)


def timed(cluster: str, *reused_ms: float, name: str = "healthy", **more) -> dict:
    pair = verdicts.live(name, cluster=cluster, **more)
    pair["trials"] = [{**pair["trials"][0], "reused_ttft_s": ms / 1000, "recomputed_ttft_s": None} for ms in reused_ms]
    return pair


@pytest.fixture
def folder(tmp_path):
    class Folder:
        path = tmp_path / "kept"

        def keep(self, doc: dict, most: int = 50) -> list[str]:
            return history_files.keep(self.path, doc, most)

        def compared(self, doc: dict) -> tuple[dict, list[str]]:
            return history_files.compared(self.path, doc)

        def names(self) -> list[str]:
            return sorted(path.name for path in self.path.iterdir())

        def with_history(self, doc: dict) -> dict:
            found = {**doc, "history": self.compared(doc)[0]}
            assert errors(found) == []
            assert parts.read(found) == (found, None)
            return found

    return Folder()


def test_what_changed_is_told_in_japanese_too(folder):
    slow = timed("slow", 300, 310, 305)
    folder.keep(run(1, a="healthy", b="sync_loading", slow=timed("slow", 50, 51, 52)))
    doc = folder.with_history(run(2, a="sync_loading", b="healthy", slow=slow))
    with speaking("ja"):
        shown = ["".join(text for text, _style in line) for line in console.lines(doc)]
    texts = [*shown, *(text for _name, text, _ in views.files(doc, language="ja") if _name == "summary.md")]
    assert sum("新たに不合格" in text for text in shown) == 2
    assert any("修復" in text for text in shown)
    assert any("すべての試行で遅い" in text for text in shown)
    assert {found for text in texts for line in text.splitlines() if (found := english(line))} == set()
    assert "前回からの変化" in texts[-1]


def what(part: dict) -> dict[str, str]:
    return {changed["cluster"]: changed["what"] for changed in part["changes"]}


class TestComparing:
    def test_each_pair_with_the_latest_run_that_judged_it(self, folder):
        folder.keep(run(1, a="healthy", b="healthy", c="sync_loading"))
        folder.keep(run(2, a="sync_loading", d="healthy"))
        part, notes = folder.compared(run(3, a="healthy", b="sync_loading", c="local_hit_decode", d="healthy"))
        assert notes == []
        assert what(part) == {"a": "fixed", "b": "newly broken"}
        since = {changed["cluster"]: (changed["since"], changed["was"], changed["now"]) for changed in part["changes"]}
        assert since == {"a": (DAY.format(2), "fail", "pass"), "b": (DAY.format(1), "pass", "fail")}
        assert (part["first"], part["last"]) == (DAY.format(1), DAY.format(2))

    def test_what_becomes_of_pairs_worst_first(self, folder):
        folder.keep(
            run(
                1,
                a="healthy",
                b="healthy",
                c="sync_loading",
                demo=verdicts.live(cluster="demo", holder="p0", receiver="d0"),
            )
        )
        part, _ = folder.compared(run(2, 1, a="sync_loading", b="local_hit_decode", c="healthy", e="healthy"))
        told = {
            "a": "newly broken",
            "b": "no longer proven",
            "demo": "no longer judged",
            "c": "fixed",
            "e": "new",
        }
        assert what(part) == told
        assert list(what(part)) == list(told)

    def test_pairs_that_a_run_was_not_asked_for_are_not_missed(self, folder):
        """Another inventory, another shard, --limit, a node that is gone: none of them is a loss of this run's."""
        folder.keep(run(1, a="healthy", other="healthy"))
        part, _ = folder.compared(run(2, a="healthy"))
        assert part["changes"] == []
        assert [past["cluster"] for past in part["pairs"]] == ["a"]

    def test_a_pair_that_was_limited_away_last_time_has_its_last_run_before(self, folder):
        folder.keep(run(1, a="healthy", b="healthy"))
        folder.keep(run(2, a="healthy"))
        part, _ = folder.compared(run(3, a="healthy", b="sync_loading"))
        assert [(c["cluster"], c["what"], c["since"]) for c in part["changes"]] == [
            ("b", "newly broken", DAY.format(1))
        ]

    def test_a_waived_pair_is_as_good_as_one_that_passes(self, folder):
        folder.keep(run(1, a="healthy"))
        assert folder.compared(run(2, a=verdicts.waived(cluster="a")))[0]["changes"] == []

    def test_the_first_run_has_nothing_to_be_compared_with(self, folder):
        part, notes = folder.compared(run(1, a="healthy"))
        assert (part["first"], part["pairs"], notes) == (None, [], [])
        assert what(part) == {"a": "new"}

    def test_settings_that_changed_are_those_of_that_pair(self, folder):
        def pair(cluster: str, size: str, name: str = "healthy") -> dict:
            row = {"setting": "chunk_size", "holder": "256", "receiver": size, "differs": size != "256"}
            return verdicts.live(name, cluster=cluster, settings=[row])

        folder.keep(run(1, a=pair("a", "256"), b=pair("b", "64")))
        part, _ = folder.compared(run(2, a=pair("a", "128", "sync_loading"), b=pair("b", "64", "sync_loading")))
        expected = {"setting": "chunk_size", "node": "receiver", "before": "256", "after": "128"}
        assert [changed["settings"] for changed in part["changes"]] == [[expected], []]

    @pytest.mark.parametrize("clock", ["+00:00", "+09:00"])
    def test_runs_of_a_later_time_are_not_earlier_ones(self, folder, clock):
        folder.keep(run(5, a="sync_loading"))
        now = {**run(3, a="healthy"), "finished_at": f"2026-11-05T02:24:40{'+00:00' if clock == '+00:00' else clock}"}
        part, notes = folder.compared(now)
        assert what(part) == {"a": "new"}
        assert [re.search("1 of the runs in .* ended later than this one", note) is not None for note in notes] == [
            True
        ]


class TestTimes:
    def drifted(self, folder, before: dict, after: dict) -> list[dict]:
        folder.keep(run(1, a=before))
        return [changed["ttft"] for changed in folder.compared(run(2, a=after))[0]["changes"]]

    def test_those_that_lie_far_apart_are_told(self, folder):
        (ttft,) = self.drifted(folder, timed("a", 50, 52, 54), timed("a", 150, 152, 154))
        assert ttft == {"reused": {"before": 0.052, "after": 0.152, "beyond": True}}

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ((50, 52, 154), (150, 152, 54)),  # not all lie beyond
            ((50, 60, 70), (71, 80, 90)),  # all lie beyond, as one in ten such do by chance
            ((50, 52), (150, 152)),  # too few
        ],
    )
    def test_those_that_may_be_chance_are_not(self, folder, before, after):
        assert self.drifted(folder, timed("a", *before), timed("a", *after)) == []

    def test_those_of_pairs_that_reuse_nothing_are_not(self, folder):
        broken = timed("a", 50, 52, 54, name="sync_loading"), timed("a", 150, 152, 154, name="sync_loading")
        assert self.drifted(folder, *broken) == []


class TestFolder:
    def test_a_run_is_kept_by_its_time_and_id(self, folder):
        assert folder.keep({**run(1, a="healthy"), "finished_at": "2026-11-01T11:24:41+09:00"}) == []
        assert folder.names() == ["kv_reuse-20261101T022441Z-r1.json"]
        assert stat.S_IMODE((folder.path / folder.names()[0]).stat().st_mode) == 0o666 & ~_umask()

    @pytest.mark.parametrize("run_id", [None, "", "../../x", "é" * 99])
    def test_an_id_leads_nowhere_else(self, folder, run_id):
        assert folder.keep({**run(1, a="healthy"), "run_id": run_id}) == []
        assert all(map(history.is_name, folder.names()))

    def test_nothing_is_overwritten(self, folder):
        folder.keep(run(1, a="healthy"))
        text = (folder.path / folder.names()[0]).read_text()
        (problem,) = folder.keep(run(1, a="sync_loading"))
        assert "File exists. This run is not kept" in problem
        assert (folder.path / folder.names()[0]).read_text() == text
        assert len(folder.names()) == 1

    def test_nor_where_a_file_system_has_no_links(self, folder, monkeypatch):
        def no_links(*_):
            raise PermissionError("no links here")

        monkeypatch.setattr(os, "link", no_links)
        assert folder.keep(run(1, a="healthy")) == []
        assert len(folder.keep(run(1, a="sync_loading"))) == 1
        assert "pass" in (folder.path / folder.names()[0]).read_text()

    def test_the_oldest_go_and_nothing_else(self, folder):
        folder.path.mkdir()
        others = ["notes.txt", "verdict.json", "kv_reuse-old.json", "kv_reuse-20200101T000000Z-mine.json"]
        for name in others:
            (folder.path / name).write_text('{"mine": true}')
        (folder.path / "kv_reuse-20200101T000000Z-folder.json").mkdir()
        outside = folder.path.parent / "outside"
        outside.write_text(history.text_of(run(1, a="healthy")))
        (folder.path / "kv_reuse-20200101T000000Z-link.json").symlink_to(outside)
        for day in range(1, 6):
            assert folder.keep(run(day, a="healthy"), 3) == []
        kept = [name for name in folder.names() if name.startswith("kv_reuse-2026")]
        assert kept == [f"kv_reuse-2026110{day}T022441Z-r{day}.json" for day in (3, 4, 5)]
        assert set(others) < set(folder.names())
        assert outside.exists()
        assert (folder.path / "kv_reuse-20200101T000000Z-link.json").is_symlink()

    def test_what_proved_nothing_is_not_kept(self, folder):
        for doc in (verdicts.run(verdicts.live()).document("incomplete"), run(1, 2)):
            assert folder.keep(doc) == []
        assert not folder.path.exists()

    def test_what_was_not_judged_is_no_point(self, folder):
        folder.keep(run(1, 1, a="healthy"))
        (kept,) = (json.loads((folder.path / name).read_text()) for name in folder.names())
        assert [pair["cluster"] for pair in kept["pairs"]] == ["a"]

    def test_damaged_files_are_left_alone_in_one_note(self, folder):
        folder.keep(run(1, a="healthy"))
        good = json.loads((folder.path / folder.names()[0]).read_text())
        bad = {
            "a": "{",
            "b": "[]",
            "c": json.dumps({**good, "schema": "kvproof.history/7"}),
            "d": json.dumps({**good, "settings": []}),
            "e": json.dumps({**good, "pairs": [{"cluster": "a"}]}),
        }
        for name, text in bad.items():
            (folder.path / f"kv_reuse-20261102T000000Z-{name}.json").write_text(text)
        os.mkfifo(folder.path / "kv_reuse-20261102T000000Z-f.json")
        part, (note,) = folder.compared(run(3, a="sync_loading"))
        assert what(part) == {"a": "newly broken"}
        assert "Z-f.json: it is no file; " in note
        assert note.endswith("; and 3 more. Remove what is damaged")
        for name, text in bad.items():
            assert (folder.path / f"kv_reuse-20261102T000000Z-{name}.json").read_text() == text

    def test_a_file_that_is_too_large_is_left_alone(self, folder):
        folder.keep(run(1, a="healthy"))
        with (folder.path / "kv_reuse-20261102T000000Z-a.json").open("wb") as file:
            file.truncate(65 << 20)
        part, (note,) = folder.compared(run(3, a="healthy"))
        assert "it has more than 64 MB" in note
        assert part["last"] == DAY.format(1)

    def test_a_folder_that_cannot_be_read_is_said(self, folder):
        folder.path.write_text("a file")
        part, (note,) = folder.compared(run(1, a="healthy"))
        assert part["pairs"] == []
        assert note.endswith("so nothing is compared: Not a directory")

    def test_no_more_is_read_than_is_wanted(self, folder, monkeypatch):
        for day in range(1, 29):
            folder.keep(run(day, a="healthy"))
        read = []
        monkeypatch.setattr(history, "read", lambda value, real=history.read: read.append(1) or real(value))
        now = {**run(1, a="healthy"), "finished_at": "2026-12-01T00:00:00+00:00"}
        part, notes = folder.compared(now)
        assert (len(read), notes) == (history.POINTS, [])
        points = part["pairs"][0]["earlier"]
        assert [point["at"] for point in points] == [DAY.format(day) for day in range(29 - history.POINTS, 29)]
        monkeypatch.setattr(history_files, "ENOUGH_BYTES", 1)
        part, (note,) = folder.compared(now)
        assert "of 28 runs" in note
        assert "the latest 1 were read" in note

    def test_runs_that_end_together_keep_each_other(self, folder):
        runs = [threading.Thread(target=folder.keep, args=(run(day, a="healthy"), 5)) for day in range(1, 13)]
        for one in runs:
            one.start()
        for one in runs:
            one.join()
        assert [history.read(json.loads((folder.path / n).read_text()))[1] for n in folder.names()] == [None] * 5


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class TestViews:
    def shown(self, doc: dict) -> dict[str, str]:
        found = {name: text for name, text, error in views.files(doc) if not error}
        assert set(found) == set(views.NAMES)
        lines = ["".join(text for text, _ in line) for line in console.lines(doc)]
        return {**found, "console": "\n".join(lines)}

    def test_a_run_without_history_says_nothing_of_it(self):
        shown = self.shown(run(1, a="healthy"))
        assert all("hat changed" not in text for text in shown.values())
        assert "past-line" not in re.sub("<style>.*</style>", "", shown["index.html"], flags=re.S)

    def test_no_change_is_one_sentence(self, folder):
        folder.keep(run(1, a="healthy"))
        doc = folder.with_history(run(2, a="healthy"))
        assert changes.sentence(doc) == "Nothing changed since the last run, of 2026-11-01 02:24 UTC."
        assert changes.told(doc, 9) == ([], None)

    def test_several_last_runs_are_named_by_their_ends(self, folder):
        folder.keep(run(1, a="healthy"))
        folder.keep(run(2, b="healthy"))
        doc = folder.with_history(run(3, a="sync_loading", b="sync_loading"))
        head = "Since the last runs, of 2026-11-01 02:24 UTC to 2026-11-02 02:24 UTC: 2 newly broken."
        assert changes.sentence(doc) == head
        for name in ("summary.md", "index.html"):
            assert head in self.shown(doc)[name]

    def test_many_changes_are_bounded_everywhere(self, folder):
        names = [f"c{number}" for number in range(140)]
        folder.keep(run(1, **dict.fromkeys(names, "healthy")))
        doc = run(2, **dict.fromkeys(names, "sync_loading"))
        doc["history"] = folder.compared(doc)[0]
        shown = self.shown(doc)
        told = {
            name: shown[name].count("is newly broken: it was PASS") for name in ("console", "summary.md", "index.html")
        }
        assert told == {"console": changes.IN_CONSOLE, "summary.md": changes.IN_SUMMARY, "index.html": changes.ON_PAGE}
        assert "134 more pairs changed; verdict.json has them all" in shown["console"]
        assert len(doc["history"]["changes"]) == 140

    def test_a_sparkline_has_gaps_where_nothing_was_reused(self, folder):
        for day, name in enumerate(("healthy", "sync_loading", "healthy"), 1):
            folder.keep(run(day, a=timed("a", 50, 60, 70, name=name)))
        page = self.shown(folder.with_history(run(4, a=timed("a", 30, 30, 30))))["index.html"]
        (path,) = re.findall(r'<path class="past-line" d="([^"]+)"', page)
        assert path == "M280 32h0M312 32h0L328 46"
        assert "4 runs from 2026-11-01 02:24 UTC to 2026-11-04 02:24 UTC: 3 pass, 1 fail" in page
        assert "TTFT reused 30 ms to 60 ms, the latest 30 ms" in page
        assert 'aria-label="Verdicts, oldest first: pass, fail, pass, pass"' in page
        assert '<text class="past pass" y="16" x="280 312 328">✓✓✓</text>' in page

    def test_hostile_text_of_a_kept_run_is_inert(self, folder):
        evil = "\x1b[2J<script>alert(1)</script>"
        pair = verdicts.live("healthy", cluster=evil, settings=[
            {"setting": evil, "holder": "a", "receiver": evil, "differs": True}
        ])  # fmt: skip
        folder.keep(run(1, a=pair))
        after = verdicts.live("sync_loading", cluster=evil, settings=[])
        shown = self.shown(folder.with_history(run(2, a=after)))
        assert "is newly broken" in shown["index.html"]
        assert "<script>alert" not in shown["index.html"] + shown["summary.md"]
        assert "\x1b" not in "".join(shown.values())

    def test_a_page_of_a_thousand_nodes_stays_small(self, folder):
        names = {f"c{number}": "healthy" for number in range(500)}
        kept = history.text_of(run(1, **names))
        folder.path.mkdir()
        for day in range(1, 21):
            text = kept.replace(DAY.format(1), DAY.format(day))
            (folder.path / f"kv_reuse-202611{day:02}T022441Z-r.json").write_text(text)
        without = run(25, **names)
        doc = {**without, "history": folder.compared(without)[0]}
        assert len(doc["history"]["pairs"]) == history.DRAWN
        page, bare = (len(views.page.render(cleaned(one)).encode()) for one in (doc, without))
        assert page < 3e6
        assert page - bare < 0.3e6

    def test_pairs_that_changed_are_drawn_first(self, folder, monkeypatch):
        monkeypatch.setattr(history, "DRAWN", 2)
        folder.keep(run(1, a="healthy", b="sync_loading", c="healthy", d="sync_loading"))
        part, _ = folder.compared(run(2, a="healthy", b="sync_loading", c="sync_loading", d="sync_loading"))
        assert [past["cluster"] for past in part["pairs"]] == ["c", "b"]


class TestMerging:
    def merged(self, *docs: dict) -> dict:
        doc = merge([Source(f"s{number}", copy.deepcopy(one)) for number, one in enumerate(docs)], [])
        assert errors(doc) == []
        return doc

    def test_shards_tell_together_what_changed(self, folder):
        folder.keep(run(1, a="healthy"))
        folder.keep(run(2, b="sync_loading"))
        one, two = folder.with_history(run(3, a="sync_loading")), folder.with_history(run(4, b="healthy", c="healthy"))
        doc = self.merged(one, two)
        assert what(doc["history"]) == {"a": "newly broken", "b": "fixed", "c": "new"}
        assert (doc["history"]["first"], doc["history"]["last"]) == (DAY.format(1), DAY.format(2))
        assert {past["cluster"] for past in doc["history"]["pairs"]} == {"a", "b"}

    def test_of_a_pair_in_several_the_one_that_counts_tells(self, folder):
        folder.keep(run(1, a="healthy"))
        first = folder.with_history(run(2, a="sync_loading"))
        folder.keep(first)
        assert what(self.merged(first, folder.with_history(run(3, a="healthy")))["history"]) == {"a": "fixed"}

    def test_with_and_without(self, folder):
        folder.keep(run(1, a="healthy"))
        one, two = folder.with_history(run(2, a="sync_loading")), run(3, b="healthy")
        assert what(self.merged(one, two)["history"]) == {"a": "newly broken"}
        assert "history" not in self.merged(run(2, a="healthy"), two)
