# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who sees which link of the chain, per architecture.

The core asks here and never names a log line or a metric.  A dialect is a module, or a package where it is large, that
defines DIALECT and is named as stack.architectures names it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ...stack.architectures import ARCHITECTURES
from ..attempt import Attempt
from ..case import Case
from ..link import HOLDS, UNKNOWN, Link, tokens


def _stored(case: Case, attempt: Attempt) -> Link:
    if attempt.stored is None:
        return Link(7, UNKNOWN, f"no log of {case.holder} shows the seed")
    return Link(7, HOLDS if attempt.stored else UNKNOWN, f"{case.holder} stored {tokens(attempt.stored)}")


@dataclass(frozen=True)
class Dialect:
    """How the links of a pair are read from one architecture's logs, metrics and responses.

    observe: one Attempt for each fresh prompt, in the order they were sent.
    never_seen_hit: tokens that the never-seen control hit; None where it was not sent or could not be read.
    cache_layer, alike, registered: links 3 to 5 from the case and its proven attempts.
    announced, found: links 8 and 9 from the case and the attempt that the chain shows.
    stored: link 7 likewise, where it is not the log of the holder's engine that shows it.
    unseen_by_receiver: whether the receiver's log shows a trial's reuse and that its seed never got there; where KV may
        come from anywhere (apart.py).
    transfers: how long storing, moving and loading KV took (the verdict's timing.moved); None where not measured.
    """

    observe: Callable[[Case], list[Attempt]]
    never_seen_hit: Callable[[Case], int | None]
    cache_layer: Callable[[Case, list[Attempt]], Link]
    alike: Callable[[Case, list[Attempt]], Link]
    registered: Callable[[Case, list[Attempt]], Link]
    announced: Callable[[Case, Attempt], Link]
    found: Callable[[Case, Attempt], Link]
    stored: Callable[[Case, Attempt], Link] = _stored
    unseen_by_receiver: Callable[[Case, dict], bool] = lambda case, trial: False
    transfers: Callable[[Case, list[Attempt]], dict | None] = lambda case, attempts: None


def _not_known(number: int) -> Callable[..., Link]:
    return lambda *_: Link(number, UNKNOWN, "this kvproof does not know who would see it")


#: Of an architecture of another version of kvproof: nothing is observed, so nothing is proven and nothing fails.
UNKNOWN_DIALECT = Dialect(
    observe=lambda case: [],
    never_seen_hit=lambda case: None,
    cache_layer=_not_known(3),
    alike=_not_known(4),
    registered=_not_known(5),
    announced=_not_known(8),
    found=_not_known(9),
)


def dialect_of(case: Case) -> Dialect:
    """The dialect of a case's architecture, UNKNOWN_DIALECT where there is none."""
    return _dialect(case.architecture) if case.architecture in ARCHITECTURES else UNKNOWN_DIALECT


@cache
def _dialect(architecture: str) -> Dialect:
    return importlib.import_module(f".{architecture}", __package__).DIALECT
