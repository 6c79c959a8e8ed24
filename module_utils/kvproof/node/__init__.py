# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on a node: reads its processes, settings, log and sockets.  Judges nothing, writes nothing.

Standard library only, Python 3.8+.  Imports nothing of ours but `stack`.
"""
