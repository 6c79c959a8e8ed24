# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the plugins share.  Below this room nothing imports Ansible.

Ansible puts a plugin that lies beside a playbook into no package of ours, so relative imports lead nowhere there.  In a
collection the folders lie side by side as they do in this tree.  So every plugin begins by putting the folder above its
own on the path, and the core's, which is right in both cases; and what it imports from here and from ``kvproof`` is
loaded once, whichever way the plugins were found.
"""
