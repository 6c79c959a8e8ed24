# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which experiment a pair gets, and whether it may get one: a request that an engine could die of is never sent.

Engines that get none are greeted all the same (GET /health, /v1/models, /version and /metrics change nothing), so that
what can be known is shown.
"""

from __future__ import annotations

from typing import Any

from ..stack import disagg
from ..stack.architectures import (
    IN_WORDS,
    INPROCESS_P2P,
    KILLERS,
    LMCACHE_PD,
    MP,
    NIXL_PD,
    NO_CONNECTOR,
    PD_ROLES,
    of_metrics,
)
from . import lmcache_pd
from .engine import Engine, EngineSettings
from .experiment import Experiment
from .inprocess_p2p import InProcessP2P
from .mp import Multiprocess
from .nixl_pd import NixlPd
from .options import Settings

#: Architecture → the experiment that probes it.
EXPERIMENTS = {INPROCESS_P2P: InProcessP2P, MP: Multiprocess, LMCACHE_PD: lmcache_pd.LmcachePd, NIXL_PD: NixlPd}
SAY = "kv_reuse_architecture can say what it is"


def run(
    settings: Settings, holder: EngineSettings, receiver: EngineSettings, controller_url: str | None
) -> dict[str, Any]:
    """PROBE of the experiment that is right for this pair, or of greetings alone; raises as Experiment does."""
    name = architecture(receiver if is_plain(holder) else holder)  # what a pair is, an engine without connector hides
    experiment = EXPERIMENTS.get(name, Experiment)(settings, holder, receiver, controller_url)
    return {**experiment.run(withheld(holder, receiver, settings), unbearable), "architecture": name}


def withheld(holder: EngineSettings, receiver: EngineSettings, settings: Settings) -> str | None:
    """Why no prompt may be sent to this pair; None where one may, as far as its nodes show.

    An engine whose node was not read, or showed nothing, is taken for one of the in-process P2P.
    """
    names = [architecture(side) for side in (holder, receiver)]
    if names == [LMCACHE_PD, LMCACHE_PD]:
        return _doubt(settings)
    harm = _harm(holder) or _harm(receiver)
    if harm:
        return harm
    if names[0] != names[1]:
        return ", ".join(
            f"{side.name} has no connector" if is_plain(side) else f"{side.name} runs {in_words(name)}"
            for side, name in zip((holder, receiver), names)
        )
    return (
        None if names[0] in EXPERIMENTS else f"both run {in_words(names[0])}, which kvproof has no experiment for yet"
    )


def _doubt(settings: Settings) -> str | None:
    """Why a sender may not be sent prompts for its receiver."""
    transfer = settings.disagg
    if transfer.withheld or not transfer.spec:
        return transfer.withheld or disagg.NOTHING.withheld
    if lmcache_pd.most_chunks(settings) < 1:
        return (
            f"the buffers of both hold {transfer.chunks or 0} chunks, too few for {settings.trials} trials that may "
            "take half of them: raise pd_buffer_size, or lower kv_reuse_trials"
        )
    return None


def _harm(side: EngineSettings) -> str | None:
    recognised, what = side.recognised or {}, architecture(side)
    role = recognised.get("kv_role") or ""
    if (what, role) in KILLERS:
        return f"{side.name} runs {in_words(what)} as {role}: {KILLERS[what, role]}"
    if recognised.get("unsure") and role == PD_ROLES["sender"]:
        return f"{side.name} is a {role}, and {recognised['unsure']}: {KILLERS[LMCACHE_PD, role]} where it is; {SAY}"
    return None


def architecture(side: EngineSettings) -> str:
    """What an engine is taken for: its architecture, or the name of a connector that is none's."""
    recognised = side.recognised or {}
    connector = recognised.get("connector")
    return recognised.get("architecture") or (connector if connector and connector != NO_CONNECTOR else INPROCESS_P2P)


def is_plain(side: EngineSettings) -> bool:
    """Whether its command line was seen, and neither it nor the operator names a way to share KV."""
    recognised = side.recognised or {}
    return recognised.get("connector") == NO_CONNECTOR and not recognised.get("architecture")


def in_words(name: str) -> str:
    return IN_WORDS.get(name, f"the connector {name}")


def unbearable(engine: Engine) -> str | None:
    """Why an engine whose node showed nothing may not be sent a prompt, by its own metrics; None where one may."""
    recognised, name = engine.settings.recognised or {}, engine.settings.name
    if recognised.get("connector") or recognised.get("architecture") == LMCACHE_PD:
        return None
    page = engine.scrape()
    if page["state"] != "ok":
        return None
    seen = of_metrics(page["values"], page["lmcache"], engine.document["version"])
    if (seen.name, seen.role) in KILLERS:
        return (
            f"by its metrics {name} runs {in_words(seen.name)} as {seen.role}: {KILLERS[seen.name, seen.role]}; {SAY}"
        )
    if recognised.get("architecture"):  # the operator says what it is
        return None
    if seen.name:
        return f"by its metrics {name} runs {in_words(seen.name)}, which this experiment is not made for; {SAY}"
    return f"{name}: {seen.unsure}, and {KILLERS[LMCACHE_PD, PD_ROLES['sender']]}; {SAY}" if seen.unsure else None
