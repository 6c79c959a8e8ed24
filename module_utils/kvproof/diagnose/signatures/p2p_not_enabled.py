# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ..read import UNSET
from . import SETTING, Sign, Signature

KEYS = ("p2p_host", "p2p_init_ports", "p2p_lookup_ports", "lookup_url", "distributed_url")


def look(material):
    if material.is_on("enable_pd") or any(value not in (None, UNSET) for value in material.values("remote_url")):
        return  # KV is shared in another way
    for told in material.told:
        keys = [key for key in KEYS if any(value not in (None, UNSET) for value in told.values(key))]
        wrong = [value for value in told.values("enable_p2p") if value in (UNSET, False) or _misread(value)]
        missing = told.whole_configuration and not told.values("enable_p2p")
        if keys and (missing or (wrong and wrong == told.values("enable_p2p"))):
            how = (
                "is not in the configuration" if missing else f"is {wrong[0]!r}" if wrong[0] != UNSET else "is not set"
            )
            yield Sign(told.role, f"{', '.join(keys)} set, but enable_p2p {how}", SETTING)


def _misread(value) -> bool:
    return isinstance(value, str) and value.lower() not in ("true", "1", "false", "0", "")


SIGNATURE = Signature(
    slug="p2p-not-enabled",
    cause_class="CONFIG_KEY",
    title="Settings of P2P without enable_p2p",
    proves='Addresses and ports of P2P do nothing while enable_p2p is not true (of strings only "true" and "1" are).',
    cannot="Whether another layer, such as the environment, sets it.",
    remedy="Set enable_p2p: true beside them, restart the engine.",
    source="LMCache 0.5.6 v1/config.py",
    look=look,
)
