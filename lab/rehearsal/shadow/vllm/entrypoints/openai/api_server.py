# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""python -m vllm.entrypoints.openai.api_server --model ... : one rehearsal engine."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[6]))

from lab.rehearsal.run import run_engine

if __name__ == "__main__":
    sys.exit(run_engine(sys.argv[1:]))
