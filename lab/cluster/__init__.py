# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Clusters on this machine, rehearsed or real: what is started, by a role, by tests and by benches, and how it is
started, broken and stopped.
"""
