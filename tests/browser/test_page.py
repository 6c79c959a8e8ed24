"""index.html in Debian's Chromium: what it shows, at three widths, light and dark, by keyboard, to axe-core.

Skipped where Chromium or Playwright is not installed, and what axe-core says where that is not: make browser installs
it, or KVPROOF_AXE names its axe.min.js.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import verdicts
from kvproof.judge.verdict import judge
from kvproof.report.language import speaking
from kvproof.report.run import Run
from kvproof.report.views import cleaned, page
from mp_documents import mp_pair
from nixl_documents import nixl_pair
from pd_documents import pd_pair

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
AXE = Path(os.environ.get("KVPROOF_AXE") or Path(__file__).parents[2] / ".cache/axe/node_modules/axe-core/axe.min.js")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
ARGUMENTS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
HOSTILE = '"><script>window.owned = 1</script><img src=x onerror="window.owned = 1">'


def grid() -> dict:
    """Four prefill nodes by three decode nodes; those of one decode node fail."""
    pairs = []
    for at in range(12):
        bad = at % 3 == 2
        names = {"cluster": "tokyo", "holder": f"gpu-{at // 3 + 8}", "receiver": f"gpu-{at % 3 + 20}"}
        pairs.append(verdicts.verdict("sync_loading", **names) if bad else verdicts.live(**names))
    return verdicts.document(*pairs, exit_code=2)


def fleet(count: int) -> dict:
    names = {7: "local_hit_decode", 13: "sync_loading"}
    return verdicts.document(
        *(
            verdicts.verdict(names[n], cluster=f"c{n}") if n in names else verdicts.live(cluster=f"c{n}")
            for n in range(count)
        ),
        exit_code=2,
    )


def changed() -> dict:
    """Of twenty clusters one broke and one was mended since the last of three runs."""
    names = [["healthy"] * 20, ["sync_loading", *["healthy"] * 19], ["healthy", "sync_loading", *["healthy"] * 18]]
    runs = [
        verdicts.document(*(verdicts.live(name, cluster=f"c{n}") for n, name in enumerate(mine)), exit_code=2)
        for mine in names
    ]
    return verdicts.compared(runs[2], runs[1], runs[0])


DOCUMENTS = {
    "changed": changed,
    "pass": lambda: verdicts.document(verdicts.live(), exit_code=0),
    "fail": lambda: verdicts.document(verdicts.verdict("sync_loading"), exit_code=2),
    "inconclusive": lambda: verdicts.document(verdicts.verdict("local_hit_decode"), missing=2, exit_code=2),
    "waived": lambda: verdicts.document(verdicts.waived(), exit_code=0),
    "incomplete": lambda: Run(verdicts.STARTED).document("incomplete"),
    "mp": lambda: verdicts.document(judge(mp_pair()), exit_code=0),
    "nixl_pd": lambda: verdicts.document(judge(nixl_pair()), exit_code=0),
    "lmcache_pd": lambda: verdicts.document(judge(pd_pair()), exit_code=0),
    "grid": grid,
    "fleet": lambda: fleet(20),
}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a document's page; the test fails for whatever the browser complains of or asks the network for."""
    complaints, contexts = [], []

    def open_(doc: dict, width: int = 1200, language: str = "en", **options):
        path = tmp_path / "index.html"
        with speaking(language):
            path.write_text(page.render(cleaned(doc)), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: complaints.append(request.url) if request.url != path.as_uri() else None)
        tab.goto(path.as_uri())
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize(("width", "language"), [(390, "en"), (768, "en"), (1200, "en"), (390, "ja")])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_is_wider_than_the_window(opened, name, width, language):
    tab = opened(DOCUMENTS[name](), width, language)
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_axe_finds_no_violation(browser, tmp_path, name, scheme):
    if not AXE.is_file():
        pytest.skip("no axe-core: KVPROOF_AXE names its axe.min.js")
    path = tmp_path / "index.html"
    path.write_text(page.render(cleaned(DOCUMENTS[name]())), encoding="utf-8")
    # the page's own policy would keep axe's script out, too
    tab = browser.new_page(bypass_csp=True, color_scheme=scheme)
    tab.goto(path.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    tab.add_script_tag(path=AXE)
    found = tab.evaluate("axe.run().then(result => result.violations.map(v => [v.id, v.nodes.map(n => n.html)]))")
    tab.close()
    assert found == []


def test_what_to_do_is_seen_without_scrolling_even_on_a_telephone(opened):
    for width in (390, 1200):
        tab = opened(fleet(20), width)
        assert tab.locator("#first").bounding_box()["y"] < 700
        assert "Set enable_async_loading: true" in tab.locator(".first strong").inner_text()


def test_the_filter_shows_what_is_asked_for(opened):
    tab = opened(fleet(20))
    tiles, pairs = tab.locator(".tile:visible"), tab.locator(".pair:visible")
    assert (tiles.count(), pairs.count()) == (20, 20)
    tab.select_option("[name=verdict]", "fail")
    assert tiles.locator("h3").all_inner_texts() == ["c13"]
    assert tab.locator("#shown").inner_text() == "1 clusters, 1 pairs shown"
    tab.select_option("[name=verdict]", "")
    tab.select_option("[name=finding]", "reused-locally-not-p2p")
    assert tiles.locator("h3").all_inner_texts() == ["c7"]
    tab.get_by_role("button", name="Show all").click()
    playwright.expect(tiles).to_have_count(20)
    tab.fill("[name=text]", "C19")
    assert (tiles.count(), pairs.count()) == (1, 1)


def test_the_filter_knows_architectures_where_there_are_several(opened):
    pairs = [verdicts.live(cluster=f"c{n}", architecture="mp" if n == 3 else "inprocess_p2p") for n in range(5)]
    tab = opened(verdicts.document(*pairs, exit_code=0))
    tab.select_option("select[name=architecture]", "mp")
    assert tab.inner_text("#shown") == "1 clusters, 1 pairs shown"
    assert tab.locator("select[name=architecture]").count() == 1
    assert opened(grid()).locator("select[name=architecture]").count() == 0


def test_a_cell_of_the_matrix_leads_to_its_pair_by_keyboard(opened):
    tab = opened(grid())
    cell = tab.locator(".matrix a").first
    target = tab.locator(cell.get_attribute("href"))
    assert target.get_attribute("open") is None
    cell.focus()
    tab.keyboard.press("Enter")
    playwright.expect(target).to_have_attribute("open", "")
    assert "gpu-8 → gpu-20" in target.locator("summary").first.inner_text()


def test_a_link_shows_its_pair_although_the_filter_hid_it(opened):
    tab = opened(grid())
    tab.select_option("[name=verdict]", "fail")
    cell = tab.locator(".matrix td.pass a").first
    cell.click()
    assert tab.locator(cell.get_attribute("href")).is_visible()


def test_a_finding_is_copied_whole(browser, tmp_path):
    path = tmp_path / "index.html"
    path.write_text(page.render(cleaned(DOCUMENTS["fail"]())), encoding="utf-8")
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    tab.goto(path.as_uri())
    tab.get_by_role("button", name="Copy async-loading-off").click()
    tab.get_by_text("Copied").wait_for()
    text = tab.evaluate("navigator.clipboard.readText()")
    context.close()
    assert text.startswith("async-loading-off: Asynchronous loading is off")
    for label in ("do: Set enable_async", "on: decode", "expected: ", "observed: ", "waive with: kv_reuse_waive"):
        assert f"\n{label}" in text


def test_all_is_there_without_script(opened):
    tab = opened(fleet(20), java_script_enabled=False)
    assert tab.locator(".tile").count() == 20
    assert tab.locator("#filter").is_hidden()
    assert tab.locator("button:visible").count() == 0
    assert tab.locator(".pair[open]").count() == 2


def test_what_changed_leads_to_its_pair_and_shows_it_over_time(opened):
    tab = opened(changed())
    told = tab.locator(".changes li")
    assert [text.split(" is ")[1].split(":")[0] for text in told.all_inner_texts()] == ["newly broken", "fixed"]
    told.first.get_by_role("link").click()
    pair = tab.locator(".pair:target")
    assert pair.get_attribute("open") is not None
    picture = pair.get_by_role("img", name="Verdicts, oldest first: pass, pass, fail")
    assert picture.locator("text").all_text_contents() == ["✓✓", "✗"]
    assert picture.bounding_box()["width"] > 200


def test_hostile_text_is_inert(opened):
    pair = verdicts.live("sync_loading", cluster=HOSTILE, holder=HOSTILE)
    pair["links"][3]["text"] = HOSTILE
    for key in ("observed", "reason", "host", "title"):
        pair["findings"][0][key] = HOSTILE
    tab = opened(verdicts.document(pair, missing=1, notes=[HOSTILE], exit_code=2))
    assert tab.evaluate("window.owned") is None
    assert tab.locator("main img").count() == 0


def test_a_thousand_nodes_fit_a_page(opened):
    """How soon it is painted, bench/first_paint.py measures."""
    doc = fleet(500)
    assert len(page.render(cleaned(doc)).encode()) < 3e6
    text = opened(doc).locator("main").inner_text()
    assert all(f"c{number}" in text for number in range(500))


def test_in_print_the_controls_are_gone(opened):
    tab = opened(fleet(10))
    tab.emulate_media(media="print")
    assert tab.locator("#filter").is_hidden()
    assert tab.locator("button:visible").count() == 0
