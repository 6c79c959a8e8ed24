# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings, environment, options and versions as they are stated in free text.

Only lines that are a setting by their form count: YAML, environment files, Kubernetes' name and value pairs, quoted
keys of JSON and Python, and the words of a command line.  A sentence that mentions a setting is none.
"""

from __future__ import annotations

import re
import shlex

from ..judge.pasted import UNSET
from ..stack import commands, flatyaml, redact, settings

_OPTIONS = {name.replace("-", "_"): name for name in commands.VLLM_OPTIONS}
_MP_KEYS = frozenset(("mp.host", "mp.port"))  # of the connector to an LMCache server
_UNSET_WORDS = frozenset(("unset", "not set", "(unset)", "(not set)", "undefined"))
_LINE = re.compile(
    r"""^[\s>*|\x60"'-]*(?:export\s+|ENV\s+|Environment=)?["'\x60]?(?P<key>[A-Za-z][\w.-]*)["'\x60]?\s*[:：=]\s*(?P<value>.*?)[\s,;\x60]*$"""
)
_QUOTED = re.compile(r"""["'](?P<key>[A-Za-z][\w.-]*)["']\s*:\s*(?P<value>"[^"]*"|'[^']*'|\[[^\[\]]*\]|[^,{}\s\]]+)""")
_NAMED = re.compile(r"""^[ \t]*(?:-[ \t]*)?name:[ \t]*["']?(\w+)["']?[ \t]*\n[ \t]*value:(.*)$""", re.M)
_COMMAND = re.compile(r"(?:^|\s)(?:vllm serve|docker run|podman run|lmcache\S*|\S*python3? -m \S+|[^\s=]+=\S+ \S+)\s")
_LOGGED = re.compile(r"(?<![=\w])(?:DEBUG|INFO|WARNING|ERROR)[ :]")  # a log line is no command
_DEGREE = re.compile(r"\b(?P<kind>[TP]P)(?:_size)?\s?(?P<sign>=|>|:)\s?(?P<number>\d{1,9})\b")
_VERSION = re.compile(
    r"\b(?P<name>lmcache|vllm|python)\b(?:[\s_-]?(?:version|ver))?[\"']?\s{0,9}(?:[:：=]=?|\()?\s{0,9}[\"']?v?(?P<version>\d{1,9}\.\d{1,9}(?:\.\d{1,9})*)"
    r"(?P<any>\.x)?(?:\s?(?:-|–|to|\.\.)\s?v?(?P<last>\d{1,9}\.\d{1,9}(?:\.\d{1,9})*))?",
    re.I,
)
MAX_JOINED = 8000  # characters of a command over several lines


class Stated:
    """What a text states: ``settings`` key → values in order, ``env`` and ``options`` the same, ``versions`` product →
    (first, last) of tuples of numbers.  Names are those of the allow-lists; anything else is dropped here."""

    def __init__(self) -> None:
        self.settings: dict[str, list] = {}
        self.env: dict[str, list] = {}
        self.options: dict[str, list] = {}
        self.versions: dict[str, set[tuple[tuple, tuple]]] = {}

    def take(self, text: str) -> None:
        for line in _joined(text):
            setting = _LINE.match(line)
            if (" --" in line or _COMMAND.search(line)) and not _LOGGED.search(line):
                self._command(line)
            elif setting:
                self.pair(setting["key"], setting["value"])
            for quoted in _QUOTED.finditer(line):
                self.pair(quoted["key"], quoted["value"])
            for degree in _DEGREE.finditer(line):
                name = {"TP": "tensor-parallel-size", "PP": "pipeline-parallel-size"}[degree["kind"]]
                self._add(self.options, name, int(degree["number"]) + (degree["sign"] == ">"))
            for version in _VERSION.finditer(line):
                self.versions.setdefault(version["name"].lower(), set()).update(_range(version))
        for name, value in _NAMED.findall(text):
            self.pair(name, value)

    def pair(self, key: str, value) -> None:
        """One setting.  ``LMCACHE_X`` and ``lmcache.x`` are the setting x."""
        value = _value(value) if isinstance(value, str) else value
        name = key[8:] if key.startswith(("LMCACHE_", "lmcache.")) else key
        name = name.lower() if name.isupper() else name
        if name in settings.LMCACHE_KEYS or name in _MP_KEYS:
            self._add(self.settings, name, redact.plain(value))
        elif key in settings.ENV_NAMES:
            self._add(self.env, key, str(redact.plain(value)) if value is not None else UNSET)
        elif key.lstrip("-").replace("-", "_") in _OPTIONS:
            self._add(self.options, _OPTIONS[key.lstrip("-").replace("-", "_")], redact.plain(value))

    def _command(self, line: str) -> None:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            words = line.split()
        for word in words:
            name, equals, value = word.partition("=")
            if equals and (name in settings.ENV_NAMES):
                self.pair(name, value)
        for name, value in commands.listed(words, commands.VLLM_OPTIONS, commands.VLLM_SHORT_OPTIONS).items():
            if isinstance(value, dict):
                for key, part in (value.get("kv_connector_extra_config") or {}).items():
                    self.pair(key, part)
            else:
                self._add(self.options, name, value)

    @staticmethod
    def _add(where: dict, name: str, value) -> None:
        if value not in where.setdefault(name, []):
            where[name].append(value)


def _range(match) -> list[tuple]:
    """The releases that a match names, as (first, last): one, all of 0.3.x, or both ends of a range."""
    first = tuple(int(part) for part in match["version"].split("."))
    if match["last"]:
        return [(first, tuple(int(part) for part in match["last"].split(".")))]
    return [(first, (*first, 9999) if match["any"] else first)]


def _joined(text: str) -> list[str]:
    """Lines, those that end in a backslash joined with the next."""
    return [line[:MAX_JOINED] for line in re.sub(r"\\\s*\n\s*", " ", text).splitlines()]


def _value(text: str):
    text = re.split(r"\s#", text.strip(), maxsplit=1)[0].strip().rstrip(",;")
    if text.lower() in _UNSET_WORDS:
        return UNSET
    try:
        if text.startswith("[") and text.endswith("]"):
            return [flatyaml.scalar(item.strip()) for item in text[1:-1].split(",") if item.strip()]
        return flatyaml.scalar(text)
    except flatyaml.NotReadable:
        return text.strip("'\"")
