# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kv_reuse_waive: findings that an operator accepts, with a reason and a last day."""

from __future__ import annotations

import datetime
import json
from typing import Any


def plain(waive: Any) -> list[Any]:
    """kv_reuse_waive in JSON's types, with days as YYYY-MM-DD.

    YAML makes dates of days, and a bundle cannot hold them; judging it again must see the list that the run saw.
    """
    return json.loads(
        json.dumps(list(waive or []), default=lambda value: str(value)[:10] if _is_day(value) else str(value))
    )


def _is_day(value: object) -> bool:
    return isinstance(value, datetime.date)


def active(waive: list, today: datetime.date) -> tuple[dict[str, str], list[str]]:
    """(slug → reason of the waivers that count today, sentences about those that do not).

    An entry is {finding, reason, until: YYYY-MM-DD}; without a reason, or past its day, it does not count.
    """
    counting, ignored = {}, []
    for entry in waive or []:
        if not isinstance(entry, dict) or not entry.get("finding"):
            ignored.append(f"kv_reuse_waive: {entry!r} names no finding and does not count")
            continue
        slug, reason, until = entry["finding"], str(entry.get("reason") or "").strip(), entry.get("until")
        if not reason:
            ignored.append(f"kv_reuse_waive: the waiver of {slug} has no reason and does not count")
            continue
        try:
            last = (
                until if until is None or isinstance(until, datetime.date) else datetime.date.fromisoformat(str(until))
            )
        except ValueError:
            ignored.append(f"kv_reuse_waive: the waiver of {slug} has no date in until ({until!r}); use YYYY-MM-DD")
            continue
        if isinstance(last, datetime.datetime):
            last = last.date()
        if last is not None and last < today:
            ignored.append(f"kv_reuse_waive: the waiver of {slug} ended on {last} and does not count")
            continue
        counting[str(slug)] = reason
    return counting, ignored
