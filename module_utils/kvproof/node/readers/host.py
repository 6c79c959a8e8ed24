# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host, and as whom it is read."""

from __future__ import annotations

import os
import pwd
import socket
from time import time as now

from ..context import Node


def hostname(node: Node) -> str:
    return socket.gethostname()


def time(node: Node) -> float:
    """Epoch seconds by the node's clock."""
    return now()


def user(node: Node) -> str:
    """The reader's name, else its number."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def uid(node: Node) -> int:
    return os.geteuid()
