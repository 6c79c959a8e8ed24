# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which callback reports.

Found beside a playbook and enabled by its collection name, the callback is loaded twice, and this module
once.  A worker is a fork of Ansible's own process, so an action finds its process's copy of the callback here.
"""

from __future__ import annotations

_reporting = None


def claim(callback: object) -> bool:
    """Whether this callback is the one that reports: the first that calls this."""
    global _reporting  # noqa: PLW0603
    _reporting = _reporting or callback
    return _reporting is callback


def reports() -> bool:
    """Whether a callback assembles the run's verdicts: one of a collection does so only where it is enabled."""
    return _reporting is not None


def trouble() -> str | None:
    """Why the run's reports cannot be written, as its beginning showed; None where they can, or nobody reports."""
    return _reporting.trouble if _reporting else None


def tell_probed(pairs: list[dict]) -> None:
    """Called by the task that probes, while it runs: these pairs have been probed."""
    if _reporting:
        _reporting.probed(pairs)
