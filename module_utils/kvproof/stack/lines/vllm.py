# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wordings of vLLM's own, whatever the architecture (0.25 to 0.32)."""

#: Said once by the API server when it starts; names the connector and its role where one was asked for.
OTHERS = [
    (
        "engine_started",
        "non-default args: ",
        r"non-default args: (?:.*KVTransferConfig\(kv_connector='(?P<connector>\w+)'.*?kv_role='(?P<role>\w+)')?",
    ),
]
STARTUP = ["engine_started"]
