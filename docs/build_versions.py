# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/versions.md: the version table (stack/versions.py) as a page."""

from __future__ import annotations

from kvproof.stack.versions import FORMER_DEFAULTS, LMCACHE, READ, TABLE, VLLM

NAMES = {LMCACHE: "LMCache", VLLM: "vLLM"}
WHAT = {
    "line": "Log lines, by their kinds in [evidence.md](evidence.md)",
    "series": "Series of `/metrics`, without `_total`, `_sum`, `_count`",
    "endpoint": "Endpoints: the internal API, the in-process controller, the multiprocess server and its coordinator",
    "option": "Settings, options, environment variables, fields of `kv_transfer_params`",
}


def page() -> str:
    """The text of docs/versions.md."""
    read = "; ".join(f"{NAMES[product]} {', '.join(releases)}" for product, releases in READ.items())
    lines = [
        "# Which release has what",
        "",
        f"What kvproof reads of vLLM and LMCache, held by `make versions` to the sources of {read}.",
        "A row says between which of these releases something is there; it may have come or gone between two of them.",
        "A newer release is used with the note",
        "[version-unknown](findings/version-unknown.md), and never refused.",
    ]
    for what, title in WHAT.items():
        lines += ["", f"## {title}", "", "| of | since | until | names |", "|---|---|---|---|"]
        for row in (row for row in TABLE if row.what == what):
            names = " ".join(f"`{name.partition('=')[0]}`" for name in row.names.split())
            lines.append(f"| {NAMES[row.of]} | {row.since or 'the first'} | {row.until or 'the last'} | {names} |")
    lines += ["", "## Defaults of LMCache that changed", "", "| key | until | default |", "|---|---|---|"]
    lines += [f"| `{key}` | {until} | `{value}` |" for key, (until, value) in FORMER_DEFAULTS.items()]
    return "\n".join(lines) + "\n"
