# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the kvproof authors
"""python -m lab.hosts able | up FOLDER NAME=ADDRESS ... | run FOLDER NAME,... COMMAND
    | contain FOLDER NAME,... UNIT | release FOLDER NAME,... | down FOLDER

able    whether hosts can be made here, with a sentence where they cannot; their file system is made from Debian's
        archive, where it is not there yet
up      makes them, those of the folder that are there being removed first; FOLDER/ssh has the keys to log in with
run     a shell command on these hosts, as root, at their console
contain a unit's program instead of the unit, as a container of its own in the host's network
release ends that
down    removes them

Exit 1 with a sentence on failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import image
from .hosts import ROOT, Host, contain, down, of, podman, release, run, up

PROGRAMS = ("podman", "runc", "debootstrap", "ip", "ssh-keygen")
CACHE = ROOT / ".cache" / "hosts"


def able() -> None:
    """Raises OSError, CalledProcessError."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() or lacking:
        raise OSError(f"hosts need {', '.join(lacking or ['root'])} (Debian: apt-get install podman runc debootstrap)")
    podman("run", "--rm", "--network", "none", "--rootfs", f"{image.make(CACHE)}:O", "/bin/true")


def _named(folder: str, names: str) -> list[Host]:
    return [host for host in of(Path(folder).resolve()) if host.name in names.split(",")]


def main(words: list[str]) -> int:
    try:
        match words:
            case ["able"]:
                able()
            case ["up", folder, _, *_]:
                up(Path(folder).resolve(), dict(word.split("=", 1) for word in words[2:]), CACHE)
            case ["run", folder, names, command]:
                for host in _named(folder, names):
                    print(run(host, command), end="")
            case ["contain", folder, names, unit]:
                for host in _named(folder, names):
                    contain(host, unit)
            case ["release", folder, names]:
                for host in _named(folder, names):
                    release(host)
            case ["down", folder]:
                down(Path(folder).resolve())
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines()
        print(f"{' '.join(error.cmd)}: {said[-1] if said else f'code {error.returncode}'}", file=sys.stderr)
        return 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
