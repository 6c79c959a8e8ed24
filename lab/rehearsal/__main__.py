# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""python -m lab.rehearsal engine|controller|model|vocabulary ...

engine ARGUMENTS          one engine; becomes `python -m vllm.entrypoints.openai.api_server ARGUMENTS`
controller ARGUMENTS      one controller; becomes `lmcache_controller ARGUMENTS`
model FOLDER              a folder that stands for a model: its shape, no weights
vocabulary FILE ...       the tokenizer's vocabulary, learnt from texts, on standard output
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 2048,
    "max_position_embeddings": 8192,
    "torch_dtype": "float32",
}


def become(words: list[str]) -> None:
    """Replaces this process by Python with these words, so that its command line is a real engine's."""
    path = os.pathsep.join([str(HERE / "shadow"), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.execve(sys.executable, [sys.executable, *words], {**os.environ, "PYTHONPATH": path})


def main(arguments: list[str]) -> int:
    what, rest = (arguments or [""])[0], arguments[1:]
    if what == "engine":
        become(["-m", "vllm.entrypoints.openai.api_server", *rest])
    if what == "controller":
        become([str(HERE / "shadow" / "bin" / "lmcache_controller"), *rest])
    if what == "model" and len(rest) == 1:
        Path(rest[0]).mkdir(parents=True, exist_ok=True)
        (Path(rest[0]) / "config.json").write_text(json.dumps(MODEL, indent=2) + "\n", encoding="utf-8")
        return 0
    if what == "vocabulary" and rest:
        from .tokenizer import BYTES_AT, learn

        texts = [Path(name).read_text(encoding="utf-8") for name in rest]
        print(json.dumps(learn(texts, MODEL["vocab_size"] - BYTES_AT - 256)))
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
