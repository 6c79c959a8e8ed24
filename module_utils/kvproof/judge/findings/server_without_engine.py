# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..pasted import Line
from . import Finding

FINDING = Finding(
    slug="server-without-engine",
    link=5,
    kind="cause",
    title="The LMCache server has no engine registered for this lookup",
    meaning=(
        "The server was asked about a model and world size, or an instance, that is not registered with it: never"
        " was, was unregistered, or was forgotten in a restart. It answers that nothing is cached."
    ),
    evidence="`No GPU context found for model …` in the LMCache server's log.",
    remedy="Restart the engines after their LMCache server, upgrade LMCache, and see that both name the model alike.",
    source="LMCache 0.5.6 multiprocess/modules/lookup.py:182; LMCache#3448",
    cause_class="MP_LIFECYCLE",
    cannot="Which of the three.",
    pasted=Line("engine_unknown"),
)
