# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache's internal API server (0.5.6): the GETs that change nothing, and what of their answers may leave it.

Others are never asked: `GET /loglevel?level=` changes state, /inference_version fails in 0.5.6, and /inference_info
tells more than it should.
"""

from __future__ import annotations

from .settings import DEFAULTS, LMCACHE_KEYS, META_KEYS

CONF, META = "/conf", "/meta"  # both take ?names=, a list with commas
BACKENDS = "/backends"  # a worker's; the scheduler has no storage and always answers 503
VERSION = "/lmc_version"
CONF_LISTED = f"{CONF}?names=" + ",".join(sorted(LMCACHE_KEYS))
META_LISTED = f"{META}?names=" + ",".join(sorted(META_KEYS))
HOST = DEFAULTS["internal_api_server_host"]
PORT = DEFAULTS["internal_api_server_port_start"]  # the scheduler's; worker N's is N + 1 above it


def version(answer: object) -> str | None:
    """LMCache's version of the decoded answer to VERSION."""
    return answer[:64] if isinstance(answer, str) else None
