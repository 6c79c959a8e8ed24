# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Rehearsal engines: small processes with the surfaces of vLLM 0.32 + LMCache 0.5.6 (in-process P2P).

They take the same command line, environment and LMCache file as the real engine, and show the same HTTP
answers, metrics, log lines, internal API, controller and listening sockets.  Prefix cache, chunk keys,
announcing, lookup, transfer and eviction are modelled, so that a hit follows from the configuration.  No model
runs: the output is a function of the KV that was read, so that damaged or foreign KV gives other
log-probabilities and another text.  tests/contract/compare.py holds them to the real stack.
"""
