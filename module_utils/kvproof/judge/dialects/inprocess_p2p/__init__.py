# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""LMCache inside the engine process, P2P between peers, found through a controller."""
