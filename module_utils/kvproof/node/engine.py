# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything one engine's node shows, in one pass: `kvproof.node/1` (docs/evidence.md).

Reads only.  What cannot be seen is None, with the reason in `engine.unseen` or in a `detail`.
"""

from __future__ import annotations

import time

from . import arguments
from .context import Node
from .readers import READERS


def gather(proc: str = "/proc", **options: object) -> dict:
    """The NODE document; `options` are arguments.NODE.  Never raises for what it meets on the node.

    Of the parts that `only` names, where it names any; what these need is read, and no more.
    """
    began = time.monotonic()
    node = Node(arguments.filled(arguments.NODE, options), READERS, proc)
    parts = {part: node[part] for part in READERS if not node.options["only"] or part in node.options["only"]}
    return {
        "schema": "kvproof.node/1",
        "ssh": "ok",
        "ssh_reason": None,
        **parts,
        "bytes_read": node.bytes_read,
        "duration_s": round(time.monotonic() - began, 3),
    }
