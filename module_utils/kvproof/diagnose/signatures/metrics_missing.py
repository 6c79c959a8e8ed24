# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..read import UNSET
from . import HINT, SETTING, Sign, Signature

NAME = "PROMETHEUS_MULTIPROC_DIR"


def look(material):
    unset = material.env(NAME) == UNSET
    for told in material.told:
        if told.page and not told.page["lmcache"]:
            yield Sign(told.role, "the metrics page has no lmcache: series", HINT)
    if unset and not material.misses and not material.is_shared:
        yield Sign(material.told[0].role, f"{NAME} is not set", SETTING)


SIGNATURE = Signature(
    slug="metrics-missing",
    cause_class="OBS",
    title="LMCache's metrics are not on the engine's page",
    proves="LMCache's series reach vLLM's /metrics only with PROMETHEUS_MULTIPROC_DIR set before vllm serve starts.",
    cannot="Anything about reuse: it may work all the same.",
    remedy="Set PROMETHEUS_MULTIPROC_DIR to an empty, writable folder for the engine's process, restart it.",
    source="LMCache 0.5.6, vLLM 0.32; LMCache#729",
    look=look,
)
