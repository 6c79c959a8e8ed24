# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who sees which link of the chain, per architecture and version range."""
