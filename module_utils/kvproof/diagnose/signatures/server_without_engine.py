# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from . import Signature

SIGNATURE = Signature(
    slug="server-without-engine",
    cause_class="MP_LIFECYCLE",
    title="The LMCache server has no engine registered for this lookup",
    proves=(
        "The server was asked about a model and world size, or an instance, that is not registered with it: never"
        " was, was unregistered, or was forgotten in a restart. It answers that nothing is cached."
    ),
    cannot="Which of the three.",
    remedy=(
        "Restart the engines after their LMCache server, upgrade LMCache, and see that both use the same model name."
    ),
    source="LMCache 0.5.6 multiprocess/modules/lookup.py:182; LMCache#3448",
    pattern=r"No (?:registered )?GPU context (?:found|registered) for (?:model|instance)",
)
