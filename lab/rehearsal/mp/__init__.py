# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""LMCache's multiprocess (MP) mode rehearsed: coordinator, cache server, and the engine's connector to its server."""
