# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What kvproof knows of vLLM and LMCache: wordings, settings, options, answers of their APIs.

Goes to the nodes with `node`: standard library only, Python 3.8+.  Imports nothing of ours.
"""
