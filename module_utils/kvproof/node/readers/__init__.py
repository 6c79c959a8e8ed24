# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reads which part of the NODE document (docs/evidence.md).

A reader takes the Node and returns its part.  It raises nothing for what it meets there, and uses other readers' parts
as `node["engine"]`.  A new part is a function here and a line.
"""

from __future__ import annotations

from . import host, log, multiprocess, network, process, settings

READERS = {
    "engine": process.engine,
    "log": log.log,
    "config_file": settings.config_file,
    "effective": settings.effective,
    "meta": settings.meta,
    "backends": settings.backends,
    "internal_api": settings.internal_api,
    "versions": settings.versions,
    "cache_server": multiprocess.cache_server,
    "hostname": host.hostname,
    "time": host.time,
    "user": host.user,
    "uid": host.uid,
    "addresses": network.addresses,
    "p2p_host": network.p2p_host,
    "pd": network.pd,
    "listening": network.listening,
    "dials": network.dials,
}
