# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""python -m lab.rehearsal engine|controller|fleet|model|vocabulary ...

engine ARGUMENTS          one engine; becomes `python -m vllm.entrypoints.openai.api_server ARGUMENTS`
controller ARGUMENTS      one controller; becomes `lmcache_controller ARGUMENTS`
fleet SPEC.yml            many of both in this process (lab/cluster/members.py)
model FOLDER              a folder that stands for a model: its shape, no weights
vocabulary FILE ...       the tokenizer's vocabulary, learnt from texts, on standard output
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODEL = {"architectures": ["LlamaForCausalLM"], "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 4, "vocab_size": 2048, "max_position_embeddings": 8192,
         "torch_dtype": "float32"}  # fmt: skip


def become(words: list[str]) -> None:
    """Replaces this process by Python with these words, so that its command line is a real engine's."""
    path = os.pathsep.join([str(HERE / "shadow"), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.execve(sys.executable, [sys.executable, *words], {**os.environ, "PYTHONPATH": path})


def fleet(spec: str) -> int:
    import yaml

    from ..cluster.members import Fleet, SpecError, obey
    from .run import until_told

    async def main() -> int:
        members = Fleet(yaml.safe_load(Path(spec).read_text(encoding="utf-8")))
        try:
            await members.start()
            print(json.dumps({"ready": True, "gave_up": sorted(members.gave_up)}), flush=True)
            obeying = asyncio.create_task(obey(members))
            await until_told()
            obeying.cancel()
        except SpecError as exc:
            print(exc, file=sys.stderr)
            return 1
        finally:
            await members.stop()
        return 0

    return asyncio.run(main())


def main(arguments: list[str]) -> int:
    what, rest = (arguments or [""])[0], arguments[1:]
    if what == "engine":
        become(["-m", "vllm.entrypoints.openai.api_server", *rest])
    if what == "controller":
        become([str(HERE / "shadow" / "bin" / "lmcache_controller"), *rest])
    if what == "fleet" and len(rest) == 1:
        return fleet(rest[0])
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
