# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""python release/archive.py FOLDER [REPOSITORY]: the collection as FOLDER/kvproof-cluster-VERSION.tar.gz

The tree has its plugins at the top, where a playbook beside them finds them, and links from plugins/ to there. Links to
folders hide what is behind them from the tools that examine a collection, and are lost by some that carry one. So
`ansible-galaxy collection build` packs twice: first the tree, so that galaxy.yml alone says what is shipped, and then
that with real folders in plugins/ and no link anywhere. REPOSITORY is the URL that Galaxy wants to know.

Prints the archive's path; exit 1 with a sentence where that fails.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
from release.changelog import changelog

GALAXY = Path(sys.executable).parent / "ansible-galaxy"
#: What is linked in the tree and would be found in the installed collection anyway.
UNNEEDED = ("playbooks/action_plugins",)
#: What replaces a link: a copy would look for its neighbours beside itself.
PLAYBOOK_CALLBACKS = "playbooks/callback_plugins"
#: What ansible-test goes by belongs to the collection, unlike the tests.
TESTED_BY = "tests/config.yml"
#: As Ansible's own tools read it.
CHANGES = "changelogs/changelog.yaml"
#: Written by every build.
LISTS = ("MANIFEST.json", "FILES.json")


def build(tree: Path, folder: Path, repository: str | None = None) -> Path:
    """The archive of a tree, in folder.  Raises OSError, CalledProcessError."""
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = Path(scratch) / "collection"
        with tarfile.open(_packed(tree, Path(scratch) / "linked")) as archive:
            archive.extractall(unpacked, filter="data")
        for name in LISTS:
            (unpacked / name).unlink()
        unfold(unpacked)
        (unpacked / "tests").mkdir()
        shutil.copy(tree / TESTED_BY, unpacked / TESTED_BY)
        (unpacked / CHANGES).parent.mkdir()
        (unpacked / CHANGES).write_text(changelog((tree / "CHANGELOG.md").read_text("utf-8")), "utf-8")
        about = yaml.safe_load((tree / "galaxy.yml").read_text("utf-8"))
        del about["build_ignore"]  # what it names is gone, and its `tests` is not
        if repository:
            about["repository"] = repository
        (unpacked / "galaxy.yml").write_text(yaml.safe_dump(about), "utf-8")
        return _packed(unpacked, folder)


def _packed(tree: Path, folder: Path) -> Path:
    command = [str(GALAXY), "collection", "build", "--force", "--output-path", str(folder), str(tree)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Path(said.rsplit(" at ", 1)[1].strip())


def unfold(collection: Path) -> None:
    """Puts what links of a collection lead to where they stand, so that each file is there once.  Raises OSError."""
    for name in UNNEEDED:
        (collection / name).unlink()
    callbacks = collection / PLAYBOOK_CALLBACKS
    callbacks.unlink()
    callbacks.mkdir()
    shutil.copy(Path(__file__).with_name("beside_playbooks.py"), callbacks / "kv_reuse_report.py")
    for link in [path for path in collection.rglob("*") if path.is_symlink()]:
        target = link.resolve(strict=True)
        link.unlink()
        target.rename(link)


def main(words: list[str]) -> int:
    if len(words) not in (1, 2):
        print(__doc__.splitlines()[0], file=sys.stderr)
        return 2
    try:
        print(build(ROOT, Path(words[0]).resolve(), *words[1:]))
    except subprocess.CalledProcessError as error:
        print(f"release: {error.stderr.strip()}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
