# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to a server: HTTP with a deadline, and SSH tunnels."""
