#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators do without kvproof, as a yardstick for wall time: two requests, a sleep and a look at /metrics.

PREFILL_URL, DECODE_URL, MODEL_NAME, MAX_TOKENS (256) and WAIT_TIME_BETWEEN_REQUESTS (5.0) from the environment.
Its verdict is printed and means little: retrieve_hit_rate is 1 when nothing was retrieved.
"""

from __future__ import annotations

import os
import re
import time
import uuid

import requests

PREFIX = "A long document about caches, shared by two requests. " * 150
METRICS = re.compile(r"^lmcache:(retrieve_hit_rate|num_hit_tokens_total)\{[^}]*\} (\S+)", re.M)


def complete(url: str, model: str, prompt: str, max_tokens: int) -> tuple[float, float]:
    """Time to the first streamed line and to the last, in seconds."""
    began, first = time.perf_counter(), None
    body = {"model": model, "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "stream": True}
    with requests.post(f"{url}/v1/completions", json=body, stream=True, timeout=120) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line and first is None:
                first = time.perf_counter() - began
    return first or 0.0, time.perf_counter() - began


def main() -> None:
    prefill, decode = os.environ["PREFILL_URL"], os.environ["DECODE_URL"]
    max_tokens = int(os.environ.get("MAX_TOKENS", "256"))
    wait = float(os.environ.get("WAIT_TIME_BETWEEN_REQUESTS", "5.0"))
    model = os.environ.get("MODEL_NAME") or requests.get(f"{prefill}/v1/models", timeout=10).json()["data"][0]["id"]
    prompt = f"{uuid.uuid4()} {PREFIX}"
    _, prefill_s = complete(prefill, model, prompt + "First question.", max_tokens)
    time.sleep(wait)
    ttft_s, _ = complete(decode, model, prompt + "Second question.", max_tokens)
    seen = dict(METRICS.findall(requests.get(f"{decode}/metrics", timeout=10).text))
    print(f"prefill {prefill_s:.3f} s, TTFT {ttft_s:.3f} s, {seen}")


if __name__ == "__main__":
    main()
