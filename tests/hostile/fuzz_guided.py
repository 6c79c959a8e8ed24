#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzzes one parser with inputs that atheris makes by what they reach in it; fuzz.py has the parsers and their seeds.

    make fuzz TARGET=log SECONDS=600            those that take bytes: see --list
    fuzz_guided.py NAME CORPUS [libFuzzer's options]

Ends with an exception's traceback and the input in a file, where one escapes that was not promised.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["kvproof"]):
    import fuzz


def main() -> int:
    targets = {name: target for name, target in fuzz.targets().items() if isinstance(target.seeds[0], bytes)}
    if len(sys.argv) < 3 or sys.argv[1] not in targets:
        print(f"{__doc__}\nParsers: {', '.join(targets)}")
        return 2
    target, corpus = targets[sys.argv[1]], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed[:4000])

    def once(given: bytes) -> None:
        try:
            target.call(given)
        except target.promised:
            pass

    atheris.Setup([sys.argv[0], *sys.argv[2:]], once)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
