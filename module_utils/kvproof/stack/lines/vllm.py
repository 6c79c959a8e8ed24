# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wordings of vLLM's own, whatever the architecture (0.25 to 0.32)."""

#: Said once by the API server when it starts; names the connector and its role where one was asked for.
OTHERS = [
    (
        "engine_started",
        "non-default args: ",
        # at the beginning of a line alone: a prompt that is logged may have these words, too
        r"^[^\"'{}]{0,160}\b(?:INFO|DEBUG)\b[^\"'{}]{0,80}non-default args: "
        r"(?:.*KVTransferConfig\(kv_connector='(?P<connector>\w+)'.*?kv_role='(?P<role>\w+)')?",
    ),
]
STARTUP = ["engine_started"]
