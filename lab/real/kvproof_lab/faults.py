# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Faults no configuration can make, planted by LAB_FAULT so that the validator can be seen to find them.

zero-keys-on-load     keys are zeroed while KV is loaded: counted as a hit, fast, and wrong
listen-elsewhere      the P2P ports listen on LAB_NODE_ADDRESS, whatever `p2p_host` advertises, the way a node
                      behind NAT or a load balancer's address would
rank-stores-nothing   rank 1 of an engine in multiprocess mode leaves nothing to its cache server
"""

from __future__ import annotations

import os

RANK = 1  # the one that stores nothing


def install(fault: str | None) -> None:
    if fault:
        PLANT[fault]()
        print("lab: planted", fault, flush=True)


def _rank_stores_nothing() -> None:
    from lmcache.integration.vllm.vllm_multi_process_adapter import LMCacheMPWorkerAdapter as Adapter

    store = Adapter.submit_store_request

    def unless_it_is_this_rank(self, *args, **kwargs):
        return None if self.parallel_strategy.kv_worker_id == RANK else store(self, *args, **kwargs)

    Adapter.submit_store_request = unless_it_is_this_rank


def _zero_keys_on_load() -> None:
    from kvproof_lab.cpu_kv import CPUConnector

    to_gpu = CPUConnector.to_gpu

    def zeroed(self, memory_obj, start, end, **kwargs):
        memory_obj.tensor[0].zero_()
        to_gpu(self, memory_obj, start, end, **kwargs)

    CPUConnector.to_gpu = zeroed


def _listen_elsewhere() -> None:
    import lmcache.v1.rpc_utils as rpc
    import lmcache.v1.transfer_channel.nixl_channel as channel

    connect_or_bind = rpc.get_zmq_socket
    here = os.environ["LAB_NODE_ADDRESS"]

    def bind_here(context, socket_path, protocol, role, bind_or_connect):
        if protocol == "tcp" and bind_or_connect == "bind" and not socket_path.startswith(("*", "0.0.0.0")):
            socket_path = f"{here}:{socket_path.rpartition(':')[2]}"
        return connect_or_bind(context, socket_path, protocol, role, bind_or_connect)

    rpc.get_zmq_socket = channel.get_zmq_socket = bind_here


PLANT = {
    "zero-keys-on-load": _zero_keys_on_load,
    "listen-elsewhere": _listen_elsewhere,
    "rank-stores-nothing": _rank_stores_nothing,
}
