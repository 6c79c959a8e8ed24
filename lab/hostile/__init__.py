# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers and nodes that misbehave on demand, by name.  Nothing here judges: tests/hostile says what follows."""
