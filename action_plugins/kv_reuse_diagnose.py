# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges a saved bundle again, or says what pasted logs, settings and metrics allow to conclude.  Asks no cluster.

Reads the files it is given on the controller, shows and writes what the core makes of them, and fails unless that is
a pass.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from ansible.utils.display import Display

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "module_utils")]  # see plugin_utils
from kvproof.diagnose import conclude, read
from kvproof.report import bundle, document, files, language, views
from kvproof.report.views import console, diagnosis

from plugin_utils import languages, screen
from plugin_utils.base import ControllerAction, Refused

# What can be pasted.  The names say whose it is, as far as that is known, and what it is.
MATERIAL = (
    "paste",
    "engine_log",
    "engine_config",
    "engine_metrics",
    "prefill_log",
    "prefill_config",
    "prefill_metrics",
    "decode_log",
    "decode_config",
    "decode_metrics",
    "controller_log",
)
MAX_BYTES = 256 << 20  # of a bundle
NOTHING = (
    "kv_reuse: nothing to diagnose. Give -e bundle=reports/bundle.json.gz of a run with kv_reuse_bundle: true, or "
    f"pasted material as files: {', '.join(f'-e {name}=FILE' for name in MATERIAL)}."
)


class ActionModule(ControllerAction):
    SPEC: ClassVar = {
        **{name: {"type": "str"} for name in ("bundle", "reports_dir", *MATERIAL)},
        "lang": languages.OPTION,
    }

    def answer(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        pasted = {name: args[name] for name in MATERIAL if args[name]}
        if not pasted and not args["bundle"]:
            raise Refused(NOTHING)
        if pasted and args["bundle"]:
            raise Refused(f"kv_reuse: give either a bundle or pasted material ({', '.join(pasted)}), not both.")
        folder = Path(args["reports_dir"] or "reports/diagnosis").expanduser().absolute()
        if pasted:
            return self._diagnose(pasted, folder)
        lang, warnings = languages.spoken(args["lang"])
        answer = self._judge_bundle(Path(args["bundle"]), folder, lang)
        return {**answer, **({"warnings": warnings} if warnings else {})}

    def _judge_bundle(self, path: Path, folder: Path, lang: language.Language) -> dict:
        try:
            saved = bundle.unpack(_content(path, MAX_BYTES))
            doc = bundle.judge_again(saved)
        except bundle.Unreadable as error:
            raise Refused(f"kv_reuse: {path} cannot be judged: {error}.") from error
        same = bundle.is_same(saved, views.verdict(doc))
        how = "the same verdict.json as the run's, byte for byte"
        if not same:
            then = f"kvproof {saved.get('tool')} judged {saved.get('verdict')} then"
            how = f"not the run's verdict.json byte for byte: {then}"
        places = [
            *self._written(folder, lambda: files.write(folder, doc, language=lang)),
            f"judged again from {path}: {how}",
        ]
        with language.speaking(lang):
            screen.show(Display(), lambda width, ascii_only: console.lines(doc, places, width, ascii_only=ascii_only))
        failing = [pair for pair in document.all_pairs(doc) if document.pair_fails(pair, doc["inconclusive"])]
        failed = doc["run_fails"] or bool(doc["exit_code"])
        reasons = [document.headline(pair) for pair in failing] or doc["problems"]
        why = "; ".join(reasons) or f"the run ended with code {doc['exit_code']}"
        return {"failed": failed, "msg": why if failed else f"PASS, {how}", "kv_reuse_same_verdict": same}

    def _diagnose(self, pasted: dict[str, str], folder: Path) -> dict:
        texts = {}
        for name, path in pasted.items():
            texts[name] = _content(Path(path), read.MAX_TEXT).decode("utf-8", "replace")
            if not texts[name].strip():
                raise Refused(f"kv_reuse: {name}: {path} is empty; give the text that was pasted.")
        doc = conclude.diagnose(texts)
        pages = {"diagnosis.json": json.dumps(doc, indent=2) + "\n", "diagnosis.md": diagnosis.page(doc)}
        places = self._written(folder, lambda: files.write_texts(folder, pages))
        screen.show(Display(), lambda width, ascii_only: diagnosis.lines(doc, places, width, ascii_only))
        # what was pasted has no controls: it can name a cause, and never proves that KV is reused
        return {"failed": True, "msg": diagnosis.headline(doc), "kv_reuse_cause_class": doc["class"]}

    def _written(self, folder: Path, write: Callable[[], tuple[list[str], list[str]]]) -> list[str]:
        if self._task.check_mode:
            return ["nothing was written: check mode"]
        names, problems = write()
        return [f"{folder} ({', '.join(names)})"] * bool(names) + problems


def _content(path: Path, limit: int) -> bytes:
    try:
        with open(path.expanduser(), "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise Refused(f"kv_reuse: cannot read {path}: {error.strerror or error}.") from error
    if len(content) > limit:
        raise Refused(f"kv_reuse: {path} has more than {limit >> 20} MiB; give the part that matters.")
    return content
