# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wordings of vLLM's NixlConnector in the log of a decode engine.

Source: vLLM 0.32 (distributed/kv_transfer/kv_connector/v1/nixl/base_worker.py), and engines that were made to say them.
"""

OTHERS = [
    (
        "nixl_failed",
        "NIXL transfer failure: ",
        r"NIXL transfer failure: (?P<text>\w{1,80}) \| Context: .{0,300}?'request_id': '(?P<id>[^\s']{1,200})'",
    ),
    ("nixl_incompatible", "NIXL compatibility hash mismatch", r"NIXL compatibility hash mismatch"),
]
