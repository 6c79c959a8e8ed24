# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""What it takes to run LMCache 0.5.6's in-process P2P on vLLM's CPU backend. Lab code: no cluster needs it.

vLLM loads `kvproof_lab.connector` through `kv_connector_module_path`. Switches are environment variables:

LAB_NODE_ADDRESS  the address LMCache reports as this node's own, so that two nodes can share a machine
LAB_NIXL          poll (default) | idle | stock: what becomes of NIXL's progress thread (nixl_progress.py)
LAB_STALL_FIX     1 (default): work around lost lookup replies (lookup_stall.py); 0: LMCache as shipped
LAB_FAULT         a fault to plant in this engine (faults.py)
"""
