# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The route ssh itself would take to a host, read from `ssh -G` with the arguments that Ansible gives ssh.

Thus configuration files, Include, Match, precedence and jump hosts mean what they mean to Ansible's connection.
Nothing is connected here.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass

from .http import RequestFailed

CONFIG_TIMEOUT_S = 10.0
MOST_HOPS = 8
NO, ACCEPT_NEW, YES = "no", "accept-new", "yes"  # StrictHostKeyChecking; "ask" counts as yes: no user can answer
_STRICT = {"no": NO, "off": NO, "false": NO, "accept-new": ACCEPT_NEW}


class RouteError(ValueError):
    """ssh's configuration gives no route; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class SshSettings:
    """A host as Ansible would log in to it.  ``args`` are words of ssh's command line, without the host."""

    host: str
    args: tuple[str, ...] = ()
    password: str | None = None


@dataclass(frozen=True)
class Hop:
    """One SSH server on the way, the target or a jump host."""

    host: str
    port: int
    user: str
    known_as: str | None  # HostKeyAlias
    strict: str
    known_hosts: tuple[str, ...]
    keys: tuple[str, ...]
    agent: bool
    listed_keys_only: bool  # IdentitiesOnly
    proxy_command: str | None

    def __str__(self) -> str:
        return f"{self.user}@{address(self.host, self.port)}"


def address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def words(text: str, what: str) -> list[str]:
    """Arguments as a shell would split them.  Raises RouteError."""
    try:
        return shlex.split(text)
    except ValueError as exc:
        raise RouteError(f"{what} cannot be split into words ({exc}): correct its quotes") from None


def route(host: str, args: list[str] | tuple[str, ...]) -> list[Hop]:
    """The hops to a host, jump hosts first.  Raises RouteError."""
    hops: list[Hop] = []
    words_left = list(args)
    while True:
        config = _effective(host, words_left)
        hops.insert(0, _hop(config))
        if len(hops) > MOST_HOPS:
            raise RouteError(f"more than {MOST_HOPS} jump hosts on the way to {hops[-1]}: correct ProxyJump")
        jumps = _first(config, "proxyjump", "none")
        if jumps == "none":
            return hops
        # As ssh does it: the jump host has the same configuration file, but none of the other arguments.
        *before, last = jumps.split(",")
        host, login = _jump(last)
        words_left = [*_config_file(args), *(["-J", ",".join(before)] if before else []), *login]


def _effective(host: str, args: list[str]) -> dict[str, list[str]]:
    """What `ssh -G` prints, by keyword.  It reads the configuration and connects to nothing."""
    try:
        done = subprocess.run(
            ["ssh", "-G", *args, "--", host],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CONFIG_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise RouteError(
            "there is no ssh on this machine to read its configuration with: install OpenSSH's client"
        ) from None
    except subprocess.TimeoutExpired:
        raise RouteError(
            f"ssh -G for {host} did not end: see which command or name its configuration waits for"
        ) from None
    if done.returncode != 0:
        reason = " ".join((done.stderr.strip().splitlines() or ["no reason given"])[0].split())[:160]
        raise RouteError(f"ssh does not take the arguments for {host} ({reason}): correct ansible_ssh_common_args")
    config: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _between, value = line.partition(" ")
        config.setdefault(keyword.lower(), []).append(value.strip())
    return config


def _hop(config: dict[str, list[str]]) -> Hop:
    agent = _first(config, "identityagent", os.environ.get("SSH_AUTH_SOCK", ""))
    command = _first(config, "proxycommand", "none")
    host, port, user = _first(config, "hostname", ""), int(_first(config, "port", "22")), _first(config, "user", "")
    return Hop(
        host=host,
        port=port,
        user=user,
        known_as=config.get("hostkeyalias", [None])[0],
        strict=_STRICT.get(_first(config, "stricthostkeychecking", "ask"), YES),
        known_hosts=tuple(
            path for name in ("userknownhostsfile", "globalknownhostsfile") for path in _files(_first(config, name, ""))
        ),
        keys=tuple(os.path.expanduser(path) for path in config.get("identityfile", ())),
        agent=agent not in ("", "none"),
        listed_keys_only=_first(config, "identitiesonly", "no") in ("yes", "true"),
        proxy_command=None if command == "none" else _expanded(command, host, port, user),
    )


def _first(config: dict[str, list[str]], keyword: str, default: str) -> str:
    return config.get(keyword, [default])[0]


def _files(value: str) -> list[str]:
    """Files of a list that ssh prints without quotes: a name with a space is one file where there is such a file."""
    whole = os.path.expanduser(value)
    return [whole] if os.path.isfile(whole) else [os.path.expanduser(path) for path in value.split()]


def _expanded(command: str, host: str, port: int, user: str) -> str:
    tokens = {"%%": "%", "%h": host, "%n": host, "%p": str(port), "%r": user}
    parts, at = [], 0
    while at < len(command):
        token = command[at : at + 2]
        parts.append(tokens.get(token, command[at]))
        at += 2 if token in tokens else 1
    return "".join(parts)


def _config_file(args: list[str] | tuple[str, ...]) -> list[str]:
    """-F and its file as they stand in the arguments."""
    for at, word in enumerate(args):
        if word.startswith("-F"):
            return ["-F", word[2:] or (args[at + 1] if at + 1 < len(args) else "none")]
    return []


def _jump(text: str) -> tuple[str, list[str]]:
    """Host of [user@]host[:port] or ssh://…, and the arguments for the rest."""
    text = text.strip().removeprefix("ssh://").rstrip("/")
    user, _between, place = text.rpartition("@")
    host, port = place, ""
    if place.startswith("["):
        host, _between, rest = place[1:].partition("]")
        port = rest.removeprefix(":")
    elif place.count(":") == 1:
        host, _between, port = place.partition(":")
    return host, [*(["-l", user] if user else []), *(["-p", port] if port else [])]


def failed(text: str) -> RequestFailed:
    """The error of a tunnel that could not be opened, which proves nothing about the engine behind it."""
    return RequestFailed("ssh", text)
