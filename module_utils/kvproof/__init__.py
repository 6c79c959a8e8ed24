# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core of kvproof: evidence in, verdict out.  Importable without Ansible."""

__version__ = "0.1.0"
