# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pairs of holder and receiver a run judges, and what a pair is called."""
