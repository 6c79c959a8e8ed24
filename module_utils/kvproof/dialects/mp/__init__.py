# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache as a server process of its own (multiprocess mode) with P2P between servers, found through a coordinator.

Judged from recordings of LMCache 0.5.6; nothing gathers this evidence from a live cluster yet.
"""
