# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""Hosts on one machine: containers with systemd, sshd, a journal and a network of their own, for a cluster's nodes."""
