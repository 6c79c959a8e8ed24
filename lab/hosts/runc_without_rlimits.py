#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""runc for a root that may not raise limits (no CAP_SYS_RESOURCE): containers keep those of whoever starts them.

Podman asks for higher ones whatever it is told, in a bundle's config.json and in the process of an ``exec``.
"""

import json
import os
import shutil
import sys


def _keep_limits(path: str, *, of_bundle: bool) -> None:
    with open(path, encoding="utf-8") as file:
        asked = json.load(file)
    (asked.get("process", {}) if of_bundle else asked).pop("rlimits", None)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(asked, file)


def _value(words: list, *names: str):
    """Of an option that is given as two words or as NAME=VALUE."""
    for place, word in enumerate(words):
        if word in names:
            return words[place + 1]
        if word.partition("=")[0] in names:
            return word.partition("=")[2]
    return None


words = sys.argv[1:]
bundle, process = _value(words, "-b", "--bundle"), _value(words, "-p", "--process")
if bundle:
    _keep_limits(os.path.join(bundle, "config.json"), of_bundle=True)
if process:
    _keep_limits(process, of_bundle=False)
os.execv(shutil.which("runc") or "/usr/sbin/runc", ["runc", *words])
