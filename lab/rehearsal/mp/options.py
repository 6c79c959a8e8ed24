# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""lmcache server's command line."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Mapping


def server_options(arguments: list[str], env: Mapping[str, str]) -> argparse.Namespace:
    """Options that are not known here are left alone.  Exits as argparse does."""
    parser = argparse.ArgumentParser(prog="lmcache server", allow_abbrev=False)
    add = parser.add_argument
    add("--instance-id", default="")
    add("--host", default="localhost")
    add("--port", type=int, default=5555)
    add("--chunk-size", type=int, default=256)
    add("--hash-algorithm", default="blake3")
    add("--supported-transfer-mode", default="lmcache_driven")
    add("--l1-size-gb", type=float, required=True)
    add("--l1-use-lazy", action=argparse.BooleanOptionalAction, default=True)
    add("--eviction-policy", required=True)
    add("--http-host", default="0.0.0.0")
    add("--http-port", type=int, default=8080)
    add("--prometheus-port", type=int, default=9090)
    add("--p2p-advertise-url", default="")
    add("--p2p-listen-url", default="")
    add("--p2p-lookup-timeout", type=float, default=30.0)
    add("--p2p-load-timeout", type=float, default=30.0)
    add("--l2-adapter", type=json.loads, action="append", default=[])
    add("--coordinator-url", default=env.get("LMCACHE_COORDINATOR_URL", ""))
    add("--coordinator-advertise-ip", default="")
    add("--coordinator-heartbeat-interval", type=float, default=5.0)
    add("--coordinator-event-reporting", action="store_true")
    add("--coordinator-event-flush-interval", type=float, default=1.0)
    found = parser.parse_known_args(arguments)[0]
    found.instance_id = found.instance_id or str(uuid.uuid4())
    return found
