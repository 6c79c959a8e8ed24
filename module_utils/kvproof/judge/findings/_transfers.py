# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Transfers of this run that the holder's log shows, where it was read to its end."""

from __future__ import annotations

from ..dialects.inprocess_p2p.transfers import Transfer, transfers


def transfers_of(case, requests: list[dict]) -> list[Transfer]:
    """Of these requests, in the order they came; none where the log may have more than was read."""
    if not case.holder.log_readable or case.holder.log.get("truncated") is not False:
        return []
    return transfers(case.holder, tuple(request_id for request in requests for request_id in case.ids(request)))
