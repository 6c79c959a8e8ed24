# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Stands where vLLM would, so that a rehearsal engine is started by the very command line of a real one."""
