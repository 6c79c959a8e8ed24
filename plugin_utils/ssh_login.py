# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Ansible would log in to a host of the inventory.  Knows Ansible; only plugins import it.

The options of Ansible's own ssh connection count, wherever they were set, whatever connection the play uses.
"""

from __future__ import annotations

import os
import shlex

from ansible.errors import AnsibleError
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader

SSH = "ansible.builtin.ssh"


def login(given, hostvars, task, password: str | None):
    """host, args and password of the host named in ``inventory_host``; `given` itself where it names none.

    hostvars: of all hosts.  password: the answer to --ask-pass.  Raises AnsibleError for an unknown host.
    """
    name = given.get("inventory_host") if isinstance(given, dict) else None
    if not name:
        return given
    if name not in hostvars:
        raise AnsibleError(f"kv_reuse_probe: {name} is no host of the inventory: correct ssh.inventory_host")
    values = hostvars[name]
    plugin = connection_loader.get(SSH, PlayContext(), os.devnull)
    names = {variable["name"] for option in plugin.option_definitions.values() for variable in option.get("vars") or []}
    plugin.set_options(
        task_keys=task.dump_attrs(),
        var_options={name: values[name] for name in names if name in values},
    )
    return {
        "host": str(plugin.get_option("host")),
        "args": shlex.join(_words(plugin)),
        "password": plugin.get_option("password") or password or None,
    }


def _words(plugin) -> list[str]:
    """ssh's arguments, in the order in which Ansible gives them: of two that say the same, the first counts."""
    port, key = plugin.get_option("port"), plugin.get_option("private_key_file")
    user, words = plugin.get_option("remote_user"), shlex.split(plugin.get_option("ssh_args") or "")
    if plugin.get_option("host_key_checking") is False:
        words += ["-o", "StrictHostKeyChecking=no"]
    words += ["-o", f"Port={port}"] if port is not None else []
    words += ["-o", f'IdentityFile="{os.path.expanduser(key)}"'] if key else []
    words += ["-o", f'User="{user}"'] if user else []
    for name in ("ssh_common_args", "ssh_extra_args"):
        words += shlex.split(plugin.get_option(name) or "")
    return words
