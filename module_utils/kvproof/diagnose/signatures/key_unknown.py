# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import HINT, Signature

SIGNATURE = Signature(
    slug="key-unknown",
    cause_class="CONFIG_KEY",
    title="LMCache does not know a key of its configuration",
    proves="The key is ignored; what it was meant to set has its default.",
    cannot="Whether that matters to what was pasted.",
    remedy="Correct the key's spelling, or remove it.",
    source="LMCache 0.5.6 v1/config_base.py:212",
    pattern=r"Unknown configuration key: ",
    strength=HINT,
)
