#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Milliseconds until Chromium paints the first of index.html, opened from disk: the median of several openings.

    .cache/venv/bin/python bench/first_paint.py [--pairs 500] [--times 5]

Each opening is a new browser's first.  Wants Chromium and Playwright, as make browser does.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "browser")]

from kvproof.report.views import cleaned, page
from playwright.sync_api import sync_playwright
from test_page import ARGUMENTS, CHROMIUM, fleet

BAR_MS = 1000
PAINTED = """new Promise(done => new PerformanceObserver(list => {
    for (const one of list.getEntriesByName("first-contentful-paint")) done(one.startTime);
}).observe({ type: "paint", buffered: true }))"""


def first_paint_ms(path: Path) -> float:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            context = browser.new_context(bypass_csp=True)  # the page's policy refuses what is evaluated as text
            tab = context.new_page()
            tab.goto(path.as_uri())
            return tab.evaluate(PAINTED)
        finally:
            browser.close()


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--pairs", type=int, default=500)
    words.add_argument("--times", type=int, default=5)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index.html")
        path.write_text(page.render(cleaned(fleet(given.pairs))), encoding="utf-8")
        times = [first_paint_ms(path) for _ in range(given.times)]
        size = path.stat().st_size / 1e6
    print(f"{given.pairs} pairs, {size:.2f} MB: first paint {statistics.median(times):.0f} ms in the median of "
          f"{given.times}, {max(times):.0f} ms at most (bar {BAR_MS} ms)")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
