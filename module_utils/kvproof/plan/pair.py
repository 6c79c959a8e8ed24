# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of a pair: its cluster, its holder and its receiver."""

from __future__ import annotations


def key_of(pair: dict) -> tuple:
    return pair["cluster"], pair["holder"], pair["receiver"]


def names_of(pair: dict) -> dict:
    return dict(zip(("cluster", "holder", "receiver"), key_of(pair)))
