#!/usr/bin/env python3
# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Feeds damaged real material to every parser and to the judge: nothing may escape them but what they promise.

    fuzz.py [--seconds 60] [--seed 1] [--only NAME ...]

Says for each parser how many inputs it took, and every input's number that ended in an exception that was not
promised, or took more than a second of CPU.  With the same seed an input's number gives the same input.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests" / "support")]

import bundles
import documents
import mutations
import recordings
import verdicts
from kvproof.diagnose.conclude import diagnose
from kvproof.judge.verdict import judge
from kvproof.probe import metrics, sizing
from kvproof.probe.completions import StreamReader
from kvproof.report import bundle, history, parts, views
from kvproof.report.merge import Source, merge
from kvproof.report.run import Run
from kvproof.report.timeline import timed
from kvproof.report.views import console, diagnosis
from kvproof.stack import commands, flatyaml, lines, redact, settings, workers
from kvproof.transport import http

SLOW_S = 1.0  # of CPU
LONGEST = 200_000  # bytes of a text: what is larger is read in pieces


class TooSlow(BaseException):
    """No Exception: what is tested must not catch it."""


@dataclass
class Target:
    """A parser.  ``call`` gets one mutated seed; ``promised``: what it may raise."""

    call: Callable[[Any], Any]
    seeds: list[Any]
    promised: tuple[type[BaseException], ...] = ()


@dataclass
class Result:
    inputs: int = 0
    escapes: dict[str, int] = field(default_factory=dict)  # sentence → the number of the first input
    slow: dict[int, float] = field(default_factory=dict)


def _evidences() -> list[dict]:
    found = [documents.pair("proven", "proven", "proven"), documents.pair("proven", "missed", "timed-out")]
    found += [bundles.evidence(path.stem) for path in sorted(bundles.FIXTURES.glob("*.json"))]
    if recordings.RECORDINGS.is_dir():
        found += [recordings.evidence(path) for path in sorted(recordings.RECORDINGS.iterdir()) if path.is_dir()]
    return [json.loads(json.dumps(one)) for one in found]


def _texts(*patterns: str) -> list[bytes]:
    folders = [ROOT / "tests" / "fixtures", recordings.RECORDINGS]
    found = [path for folder in folders for pattern in patterns for path in sorted(folder.rglob(pattern))]
    return [path.read_bytes()[:LONGEST] for path in found]


def _stream() -> list[bytes]:
    chunk = {
        "id": "cmpl-1",
        "choices": [
            {
                "text": " a",
                "finish_reason": None,
                "logprobs": {"tokens": [" a"], "token_logprobs": [-0.5], "top_logprobs": [{" a": -0.5, "b": -2}]},
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 0}},
    }
    error = b'data: {"error": {"message": "it failed", "code": 500}}\n\n'
    return [b"data: " + json.dumps(chunk).encode() + b"\n\n" + b"data: [DONE]\n\n", error]


# ---- the parsers


def _read_stream(text: bytes) -> None:
    reader = StreamReader(0.0)
    for at in range(0, len(text), 1000):
        reader.feed(text[at : at + 1000], at / 1e6)
    json.dumps(reader.timings(), allow_nan=False)


def _take_chunk(chunk: Any) -> None:
    reader = StreamReader(0.0)
    reader.take(chunk, 1.0)
    reader.timings()


def _internal_api(answers: Any) -> None:
    conf, meta = settings.lmcache_config(answers), settings.lmcache_meta(answers)
    settings.kv_bytes_per_token(meta)
    settings.other_keys(answers if isinstance(answers, dict) else {})
    for key, value in conf.items():
        settings.typed(key, value)
        settings.as_bool(value)
    json.dumps([conf, meta], allow_nan=False)


def _log(text: bytes) -> None:
    scanner = lines.Scanner()
    found = [scanner.feed(line[: 64 << 10], 0) for line in text.split(b"\n")[:200]]
    json.dumps([event for event in found if event], allow_nan=False)


def _judged(evidence: Any) -> None:
    verdict = json.loads(json.dumps(timed(judge(evidence), evidence), allow_nan=False))
    run = Run(verdicts.STARTED)
    names = {key: str(verdict[key]) for key in ("cluster", "holder", "receiver")}
    plan = {"mode": "inventory", "run_id": "r1", "pairs": [names], "skipped": [], "notes": []}
    run.plan({**plan, "reports_dir": "r", "inconclusive": "fail", "bundle": False})
    run.verdicts([verdict])
    _shown(run.document("complete", verdicts.FINISHED, 2))


def _shown(doc: dict) -> None:
    for name, _text, trouble in views.files(doc, [*views.FORMATS]):
        if trouble:
            raise AssertionError(f"no {name}: {trouble}")
    list(console.lines(doc))


def _merged(doc: Any) -> None:
    _shown(merge([Source("a", doc), Source("b", verdicts.document(verdicts.verdict("healthy")))], ["demo"]))


def _compared(value: Any) -> None:
    """A kept run, which may be damaged, beside one that is not."""
    doc = verdicts.document(verdicts.live("sync_loading", cluster="healthy"))
    earlier = history.Earlier(doc)
    for kept, _why in (history.read(value), history.read(_kept())):
        if kept:
            earlier.add(kept)
    _shown({**doc, "history": earlier.part()})


def _kept() -> dict:
    row = {"setting": "chunk_size", "holder": "256", "receiver": None, "differs": None}
    return json.loads(history.text_of(verdicts.document(verdicts.live(settings=[row]))))


def _with_history() -> dict:
    broken = verdicts.document(verdicts.live("sync_loading", cluster="healthy"))
    return verdicts.compared(broken, verdicts.document(verdicts.live()))


def _bundled(document: Any) -> None:
    _shown(bundle.judge_again(document))


def _sized(answer: Any) -> None:
    parts_of = answer if isinstance(answer, dict) else {}
    conf, meta = settings.lmcache_config(parts_of.get("conf")), settings.lmcache_meta(parts_of.get("meta"))

    class Engine:
        document: dict = {"internal": {"meta": meta}, "max_model_len": parts_of.get("max_model_len")}  # noqa: RUF012

        @staticmethod
        def conf(key: str) -> Any:
            return conf.get(key)

    from kvproof.probe.options import Settings

    sizing.bounds(Settings("r", max_probe_mb=4096.0), [Engine(), Engine()], 32)[0].fitting_chunks()


def _diagnosed(text: bytes) -> None:
    doc = diagnose({"engine": text.decode("utf-8", "replace")})
    list(diagnosis.lines(doc))
    diagnosis.page(doc)


def _text(call: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda text: call(text.decode("utf-8", "replace"))


def targets() -> dict[str, Target]:
    evidences = _evidences()
    logs, configurations = _texts("*.log"), _texts("*.yaml", "*.yml")
    log_lines = sorted({line[:4000] for text in logs for line in text.split(b"\n")[:300]})
    run, doc = bundles.ran("healthy", "corrupt_zero_k")
    return {
        "judge and views": Target(_judged, evidences),
        "merge": Target(
            _merged,
            [verdicts.document(verdicts.live()), verdicts.document(verdicts.waived(), missing=1), _with_history()],
        ),
        "kept run": Target(_compared, [_kept()]),
        "report": Target(parts.read, [verdicts.document(verdicts.live("sync_loading"))]),
        "bundle": Target(_bundled, [bundle.unpack(bundles.packed(run, doc))], (bundle.Unreadable,)),
        "packed bundle": Target(bundle.unpack, [bundles.packed(run, doc)], (bundle.Unreadable,)),
        "stream": Target(_read_stream, _stream()),
        "chunk": Target(_take_chunk, [json.loads(_stream()[0][6:].split(b"\n")[0])], (ValueError,)),
        "metrics": Target(metrics.read_page, _texts("metrics.*.txt", "metrics_*.txt"), (ValueError,)),
        "log": Target(_log, log_lines),
        "redaction": Target(_text(redact.without_secrets), log_lines),
        "values": Target(redact.plain, evidences[:2]),
        "configuration": Target(_text(flatyaml.load), configurations, (flatyaml.NotReadable,)),
        "configuration, without PyYAML": Target(_text(flatyaml.read_flat), configurations, (flatyaml.NotReadable,)),
        "logged configuration": Target(_text(lines.config_values), [b"{'chunk_size': 256, 'p2p_host': '10.0.0.1'}"]),
        "internal API": Target(_internal_api, [documents.CONFIG, documents.META]),
        "sizes": Target(_sized, [{"conf": documents.CONFIG, "meta": documents.META, "max_model_len": 8192}]),
        "workers": Target(workers.listed, [{"workers": [{"instance_id": "a", "peer_init_url": "10.0.0.1:1"}]}]),
        "transfer": Target(commands.kv_transfer_config, [{"kv_connector": "x", "kv_connector_extra_config": {"a": 1}}]),
        "command": Target(_text(lambda text: commands.engine(text.split())), [b"vllm serve m --port 8000 -tp 2"]),
        "URL": Target(_text(http.check_engine_url), [b"http://10.0.0.1:8000/v1"], (http.UrlError,)),
        "pasted text": Target(_diagnosed, _texts("pasted/*.txt")),
    }


def _mutated(target: Target, seed: int, number: int) -> Any:
    chance = random.Random(f"{seed}-{number}")
    original = chance.choice(target.seeds)
    if isinstance(original, bytes):
        return mutations.bytes_of(chance, original)[:LONGEST]
    return mutations.document_of(chance, original)


def _stop(*_args: object) -> None:
    raise TooSlow


def run_one(target: Target, seed: int, number: int, result: Result) -> None:
    given = _mutated(target, seed, number)
    result.inputs += 1
    began = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, 4 * SLOW_S)
    try:
        target.call(given)
    except target.promised:
        pass
    except TooSlow:
        pass
    except (Exception, RecursionError) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        result.escapes.setdefault(f"{type(error).__name__} at {where}: {str(error)[:120]}", number)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    took = time.process_time() - began
    if took > SLOW_S:
        result.slow[number] = took


def fuzz(seconds: float, seed: int, only: list[str] | None = None) -> dict[str, Result]:
    """Every target for its share of the seconds, at least ten inputs each."""
    chosen = {name: target for name, target in targets().items() if not only or name in only}
    before = signal.signal(signal.SIGVTALRM, _stop)
    results = {}
    try:
        for name, target in chosen.items():
            results[name] = result = Result()
            end = time.monotonic() + seconds / len(chosen)
            while result.inputs < 10 or time.monotonic() < end:
                run_one(target, seed, result.inputs, result)
    finally:
        signal.signal(signal.SIGVTALRM, before)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", nargs="*")
    asked = parser.parse_args()
    results = fuzz(asked.seconds, asked.seed, asked.only)
    for name, result in results.items():
        print(f"{name}: {result.inputs} inputs, {len(result.escapes)} escapes, {len(result.slow)} slow", flush=True)
        for text, number in result.escapes.items():
            print(f"  input {number}: {text}")
        for number, took in result.slow.items():
            print(f"  input {number}: {took:.1f} s")
    print(f"seed {asked.seed}, {sum(result.inputs for result in results.values())} inputs")
    return 1 if any(result.escapes or result.slow for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
