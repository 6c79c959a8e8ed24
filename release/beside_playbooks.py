# Copyright: the kvproof authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's callback for its own playbooks: Ansible enables one by itself only where it lies beside them."""

from __future__ import annotations

from ansible_collections.kvproof.cluster.plugins.callback.kv_reuse_report import DOCUMENTATION, CallbackModule

__all__ = ["DOCUMENTATION", "CallbackModule"]
