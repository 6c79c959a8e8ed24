# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The document that a pair is judged by: its shapes, its reader, and how it is put together."""
