# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wordings of LMCache's prefill/decode transfer, beside those of the in-process mode.

Source: lmcache 0.5.6 (v1/storage_backend/pd_backend_async.py, v1/transfer_channel/nixl_channel.py), and engines that
were made to say them.  ``id`` is the req_id of the disagg_spec, as the proxy gave it.
"""

#: What a NIXL transfer says where the engine at its other end has ended since they met.
DISCONNECTED = "NIXL_ERR_REMOTE_DISCONNECT"
LMCACHE = [
    (
        "pd_admission",
        "reservation-based admission control",
        r"total_chunks=(?P<chunks>\d+)",
    ),
    ("pd_listening", "Async mem alloc server listening", r"on port (?P<n>\d+)"),
    ("init_received", "Received initialization request", r"Received initialization request"),
    (
        "pd_buffer_small",
        "PD receiver buffer too small",
        r"for req (?P<id>[^\s:]+): the request needs (?P<asked>\d+) chunks but the buffer holds only (?P<chunks>\d+)",
    ),
    ("pd_refused", "Failed to process alloc request", r"request from .{0,200}?: (?P<text>.*)"),
    ("pd_alloc_failed", "Receiver allocation failed for key", r"(?P<text>Receiver allocation failed)"),
    ("pd_transfer_failed", "Async transfer task failed", r"failed: (?P<text>.*?)(?:\n|$)"),
    ("pd_aborted", "_abort_request starting", r"req=(?P<id>[^\s=]+) _abort_request"),
    ("pd_put_failed", "batched_submit_put_task failed", r"rolled back: (?P<text>.*)"),
]
STARTUP = ["pd_admission", "pd_listening", "init_received"]
REPEATED = ["init_received"]
INTEGERS = ["asked"]
