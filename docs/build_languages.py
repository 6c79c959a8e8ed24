# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogues of report/language/, held to the messages of the code; docs/build.py writes them.

A translation stays with its message, whatever file that moves to.  A new message stands there without a translation
until somebody writes one (tests/unit/report/test_language.py names those), and what no code says any more is gone.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from kvproof.report import language
from messages import Message, messages

FOLDER = Path(language.__file__).parent
HEAD = """# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
# Messages of reports. What has msgctxt "document" is written by the judge; gaps {like_this} are filled there.
"""


def catalogues() -> dict[Path, str]:
    """Every catalogue's text by its path."""
    paths = [FOLDER / f"{name}.po" for name in language.LANGUAGES if name != language.ENGLISH]
    return {path: _updated(path) for path in paths}


def _updated(path: Path) -> str:
    known: dict[Message, str] = {}
    if path.exists():
        with open(path, "rb") as file:
            known = {Message(kept.id, kept.context): kept.string for kept in read_po(file, locale=path.stem)}
    fresh = Catalog(locale=path.stem)
    for message, places in sorted(messages().items(), key=lambda item: (item[1], item[0].context or "", item[0].text)):
        fresh.add(message.text, known.get(message, ""), [(place, None) for place in places], context=message.context)
    text = BytesIO()
    write_po(text, fresh, width=120, omit_header=True, include_lineno=False)
    return (
        HEAD + "\n" + text.getvalue().decode().replace("#, python-format\n", "").replace("#, python-brace-format\n", "")
    )
