# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A minute of fuzzing.  The seed is always the same, so that a failure is of the change that is tested; `fuzz.py` alone
takes another each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).with_name("fuzz.py")


def test_nothing_escapes_a_parser_or_the_judge_and_nothing_takes_a_second():
    done = subprocess.run(
        [sys.executable, str(FUZZ), "--seconds", "60", "--seed", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
