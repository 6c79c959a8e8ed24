# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""python release/sanity.py ARCHIVE FOLDER [OPTION ...]: `ansible-test sanity` of what the archive has

FOLDER gets the collection, and the virtual environments that ansible-test makes, which are kept for the next time.
Nothing is asked of the network but packages of pip. Options are ansible-test's, such as --test pylint; so is
the exit code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

ANSIBLE_TEST = Path(sys.executable).parent / "ansible-test"
PYTHON = ".".join(map(str, sys.version_info[:2]))


def lay_out(archive: Path, folder: Path) -> Path:
    """The collection as ansible-test wants it: in its place below ansible_collections, its files known to git."""
    collection = folder / "ansible_collections" / "kvproof" / "cluster"
    shutil.rmtree(collection, ignore_errors=True)
    with tarfile.open(archive) as packed:
        packed.extractall(collection, filter="data")
    for words in (["init", "-q"], ["add", "--all", "--force"]):
        subprocess.run(["git", *words], cwd=collection, check=True)
    return collection


def bring_pip(home: Path) -> None:
    """ansible-test downloads a script that installs pip, unless it has kept one; Python can do the same by itself."""
    (tool,) = find_spec("ansible_test").submodule_search_locations
    source = (Path(tool) / "_internal" / "python_requirements.py").read_text("utf-8")
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in re.findall(r"\bpip='([0-9.]+)'", source):
        script = cache / f"get_pip_{version.replace('.', '_')}.py"
        script.write_text("import ensurepip\nensurepip.bootstrap()\n", "utf-8")


def main(words: list[str]) -> int:
    if len(words) < 2:
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    folder = Path(words[1]).resolve()
    try:
        collection = lay_out(Path(words[0]), folder)
        bring_pip(folder)
    except (OSError, tarfile.TarError, subprocess.CalledProcessError) as error:
        print(f"sanity: {error}", file=sys.stderr)
        return 1
    # what the tree's own ansible.cfg and whoever calls this have set is not the collection's
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    command = [ANSIBLE_TEST, "sanity", "--python", PYTHON, *words[2:]]
    return subprocess.run(command, cwd=collection, env={**kept, "HOME": str(folder)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
