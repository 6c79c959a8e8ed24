# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/pictures: index.html as Debian's Chromium shows it.  Not part of docs/build.py, as it needs a browser
and a font with Japanese (Debian: fonts-ipafont-gothic).

.cache/venv/bin/python docs/build_pictures.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / name) for name in ("module_utils", "tests/support", "bench")]

import report_building
import verdicts
from kvproof.judge.verdict import judge
from kvproof.report.language import speaking
from kvproof.report.views import cleaned, page
from mp_documents import mp_pair
from nixl_documents import nixl_pair
from pd_documents import pd_pair

PICTURES = ROOT / "docs" / "pictures"


def fleet(count: int, broken: int) -> dict:
    found = [judge(document) for document in report_building.documents(count, broken, one_cluster=False)]
    return report_building.collected(found).document("complete", report_building.FINISHED, 2)


def matrix() -> dict:
    """Four prefill nodes by five decode nodes, of which one fails."""
    pairs = []
    for holder in range(8, 12):
        for receiver in range(20, 25):
            names = {"cluster": "tokyo-1", "holder": f"gpu-{holder}", "receiver": f"gpu-{receiver}"}
            bad = receiver == 23
            pairs.append(verdicts.verdict("sync_loading", **names) if bad else verdicts.live(**names))
    return verdicts.document(*pairs, exit_code=2)


def of(pair: dict) -> dict:
    return verdicts.document(judge(pair), exit_code=0)


#: name → (document, width, height, colour scheme, language)
SHOWN = {
    "fleet": (lambda: fleet(50, 7), 1000, 900, "light", "en"),
    "fleet-phone": (lambda: fleet(50, 7), 390, 800, "dark", "en"),
    "failing": (lambda: verdicts.document(verdicts.verdict("sync_loading"), exit_code=2), 1000, 1000, "dark", "en"),
    "passing": (lambda: verdicts.document(verdicts.live(), exit_code=0), 1000, 1050, "light", "en"),
    "inconclusive": (
        lambda: verdicts.document(verdicts.verdict("local_hit_decode"), missing=1, exit_code=2),
        768,
        800,
        "light",
        "en",
    ),
    "matrix": (matrix, 1000, 900, "light", "en"),
    "japanese": (lambda: verdicts.document(verdicts.verdict("sync_loading"), exit_code=2), 1000, 1000, "light", "ja"),
    "architecture-mp": (lambda: of(mp_pair()), 768, 1000, "light", "en"),
    "architecture-nixl-pd": (lambda: of(nixl_pair()), 768, 1000, "light", "en"),
    "architecture-lmcache-pd": (lambda: of(pd_pair()), 768, 1000, "dark", "en"),
}


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as started, tempfile.TemporaryDirectory() as folder:
        browser = started.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        for name, (document, width, height, scheme, language) in SHOWN.items():
            path = Path(folder) / f"{name}.html"
            with speaking(language):
                path.write_text(page.render(cleaned(document())), encoding="utf-8")
            tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            tab.goto(path.as_uri())
            tab.screenshot(path=PICTURES / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
