# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The experiment: sends the prefill and decode requests and measures them.  Judges nothing."""
