# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Engines that prefill for others or decode what others prefilled: vLLM's NixlConnector, LMCache's PD backend."""
