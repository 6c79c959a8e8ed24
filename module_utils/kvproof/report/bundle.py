# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An evidence bundle, ``kvproof.bundle/1``: all that a run's verdict came from, to be judged again without a cluster.

One JSON document, gzip-compressed (docs/diagnose.md).  It holds what the tasks said, in the order in which they said
it, with the evidence in the place of the verdicts, and the days on which waivers were weighed.  Nothing here reads a
file or a clock.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from .. import __version__
from ..judge import waivers
from ..judge.verdict import judge
from ..stack import redact
from . import parts
from .parts import Verdict
from .run import Run
from .timeline import timed

NAME = "bundle.json.gz"
SCHEMA, VERSION = "kvproof.bundle/", 1
MAX_BYTES = 1 << 30  # of the document; what a thousand pairs need is a third of it
MOST_RATIO, SMALL_BYTES = 60, 4 << 20  # how far a bundle may unpack; evidence packs to a tenth or a thirtieth
# Texts that engines and tools wrote: in these even a short header value is taken out.
_FREE = frozenset(("text", "line", "detail", "ssh_reason"))
_LONG, _SHORT = 8, 4
_IDENTITY = frozenset(("cluster", "pair"))  # names from the inventory, by which pairs are found again


class Unreadable(ValueError):
    """The bundle cannot be judged; the message is one sentence."""


def scrubbed(document: dict[str, Any], secrets: list[str]) -> dict[str, Any]:
    """Evidence without these secrets, and without what looks like one.  It was redacted where it was read already.

    What is judged and what is bundled must be the same, so this comes before the judge.
    """
    known = sorted({word for word in secrets if len(word) >= _SHORT}, key=len, reverse=True)
    return {key: part if key in _IDENTITY else _scrub(part, known, key) for key, part in document.items()}


def _scrub(value: Any, secrets: list[str], key: str) -> Any:
    if isinstance(value, dict):
        return {_without(name, secrets, _LONG): _scrub(part, secrets, name) for name, part in value.items()}
    if isinstance(value, list):
        return [_scrub(part, secrets, key) for part in value]
    if isinstance(value, str):
        return _without(redact.without_secrets(value), secrets, _SHORT if key in _FREE else _LONG)
    return value


def _without(text: str, secrets: list[str], least: int) -> str:
    for secret in secrets:
        if len(secret) >= least:
            text = text.replace(secret, "***")
    return text


def secrets_of(variables: dict[str, Any]) -> list[str]:
    """What of a host's variables must be in no evidence: its key, its header values, credentials of its URLs."""
    headers = variables.get("kv_reuse_headers")
    words = [variables.get("kv_reuse_api_key"), *(headers.values() if isinstance(headers, dict) else ())]
    for name, value in variables.items():
        if name.startswith("kv_reuse_") and name.endswith(("_url", "_proxy")):
            words.append(_password(str(value or "")))
    words = [str(word) for word in words if word]
    return words + [part for word in words for part in word.split() if part != word]


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None


def pack(run: Run, verdict: Verdict, verdict_text: str) -> bytes:
    """The bundle of a run that has ended.  verdict_text: its verdict.json, whose hash tells whether a later judgement
    is the same."""
    document = {
        "schema": f"{SCHEMA}{VERSION}",
        "tool": __version__,
        "started_at": verdict["started_at"],
        "finished_at": verdict["finished_at"],
        "exit_code": verdict["exit_code"],
        "verdict": verdict["verdict"],
        "verdict_sha256": _hash(verdict_text),
        "said": run.said,
    }
    return gzip.compress(json.dumps(document).encode(), mtime=0)


def unpack(raw: bytes) -> dict[str, Any]:
    """The document in a bundle's bytes.  Raises Unreadable."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            text = file.read(min(MAX_BYTES, max(SMALL_BYTES, MOST_RATIO * len(raw))) + 1)
    except gzip.BadGzipFile as error:
        why = "it is not gzip-compressed" if raw[:2] != b"\x1f\x8b" else str(error)
        raise Unreadable(f"it is damaged or no bundle ({why}); copy {NAME} again from the run's reports") from error
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"it is damaged ({error}); copy {NAME} again from the run's reports") from error
    if len(text) > max(SMALL_BYTES, MOST_RATIO * len(raw)):
        raise Unreadable(f"it unpacks to more than {MOST_RATIO} times its size, which none that a run wrote does")
    if len(text) > MAX_BYTES:
        raise Unreadable(f"it holds more than {MAX_BYTES >> 20} MiB, which no run writes")
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"it is damaged or no bundle (no JSON in it); copy {NAME} again") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(schema, str) or not schema.startswith(SCHEMA):
        raise Unreadable(f"it is no kvproof bundle; give the {NAME} that a run with kv_reuse_bundle: true wrote")
    if schema != f"{SCHEMA}{VERSION}":
        raise Unreadable(
            f"it is a {schema} of kvproof {document.get('tool')}; this is kvproof {__version__}, which reads "
            f"{SCHEMA}{VERSION}: judge it with the version that wrote it, or a later one"
        )
    return document


def judge_again(document: dict[str, Any]) -> Verdict:
    """``kvproof.verdict/1`` of the run in a bundle.  Raises Unreadable where its parts are not what they should be."""
    try:
        run = Run(document["started_at"])
        for entry in document["said"]:
            _replay(run, entry)
        doc = run.document("complete", document["finished_at"], document["exit_code"])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Unreadable(f"it is damaged ({type(error).__name__} in its parts); copy {NAME} again") from error
    _, damage = parts.read(doc)
    if damage:
        raise Unreadable(f"it is damaged ({damage}); copy {NAME} again")
    return doc


def _replay(run: Run, entry: dict[str, Any]) -> None:
    if entry["what"] == "judged":
        if not isinstance(entry["evidence"], list):
            raise TypeError("evidence")
        counting, _ = waivers.active(entry["waive"], datetime.date.fromisoformat(entry["on"]))
        verdicts = [judge(evidence, counting) for evidence in entry["evidence"]]
        if "trace" in run.formats:
            verdicts = [dict(timed(*both)) for both in zip(verdicts, entry["evidence"])]
        run.verdicts(json.loads(json.dumps(verdicts)))
    else:
        hand_in: dict[str, Callable[..., None]] = {
            "plan": run.plan,
            "note": run.note,
            "failure": run.failure,
            "unjudged": run.unjudged,
            "past": run.past,
        }
        hand_in[entry["what"]](*entry["args"])


def is_same(document: dict[str, Any], verdict_text: str) -> bool:
    """Whether a verdict.json is, byte for byte, the one that the run wrote."""
    return document.get("verdict_sha256") == _hash(verdict_text)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
