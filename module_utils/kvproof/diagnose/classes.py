# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Classes of causes, the vocabulary of a diagnosis, in the order in which they keep KV from being reused."""

from __future__ import annotations

CLASSES = {
    "VERSION": "a bug or a mismatch of releases: another version, or another pair of versions, is needed",
    "PORT_COLLISION": "a port or socket path is taken, or shared, by another process",
    "PORT_LIST_SHORT": "fewer ports are listed than the engine has ranks",
    "BIND_HOST": "an address is bound or advertised that peers cannot reach, or that is not the node's own",
    "CONFIG_KEY": "a setting is missing, misspelt, or excluded by another one",
    "UCX": "the transport between the nodes fails",
    "DEGRADED": "LMCache failed to start, and the engine goes on without it",
    "LEGACY_P2P": "settings of the P2P of old LMCache releases, which newer ones do not have",
    "TOPOLOGY": "parts that must share a node are on different ones",
    "TP_P2P": "P2P between engines of more than one rank",
    "PD_TP": "prefill and decode engines whose parallel sizes do not go together",
    "PD_PROXY": "the proxy in front sends the two engines different prompts",
    "ASYNC_OFF": "asynchronous loading is off, so peers are never asked",
    "LOCAL_CPU_OFF": "nothing is kept in CPU memory, so there is nothing to share",
    "DISK_NOT_P2P": "KV lies on a node's disk, from where peers cannot fetch it",
    "HASH_SEED": "the processes hash with different seeds",
    "HASH_NONE": "the built-in hash of None differs between processes",
    "KEY_MISMATCH": "another part of the chunk keys differs: chunk size, hash, model path, dtype",
    "CTRL_PORT": "the controller cannot be reached",
    "CTRL_REAP": "the controller removes workers that send no heartbeat",
    "CTRL_RESTART": "a peer or the controller was restarted, and the others do not know",
    "CTRL_LOOKUP": "the controller's lookup answers with nothing",
    "MP_LIFECYCLE": "an engine is not registered at its LMCache server",
    "CHUNK": "the prompt, or what prompts have in common, is shorter than a chunk",
    "APC_MASK": "vLLM's own prefix cache answers before LMCache",
    "MEMORY": "there is no memory left to keep or to receive KV in",
    "ASYNC_TIMEOUT": "the asynchronous lookup is not answered in time",
    "CORRUPTION": "KV is reused and wrong",
    "HIT_NOT_FASTER": "KV is reused and no time is won",
    "OBS": "reuse cannot be observed, or is observed wrongly",
}
