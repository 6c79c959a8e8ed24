# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An engine's LMCache configuration: the file on disk, and what is really in effect.

The file is no proof of the effective configuration (environment, connector options and runtime changes
stand above it), so that is asked from LMCache's internal API, else read from the engine's own log line."""

from __future__ import annotations

import errno
from urllib.parse import urlsplit

from ..stack import flatyaml, internal_api, redact, settings
from . import http
from .log.files import regular

MAX_FILE = 256 << 10


def read_file(path: str | None, found_by: str | None, opened: str | None = None) -> dict:
    """NODE.config_file of the YAML file at `path` (`opened`: where it is read, through a container's root)."""
    result: dict = {
        "path": path,
        "found_by": found_by,
        "state": "unknown",
        "detail": None,
        "mtime": None,
        "size": 0,
        "values": {},
        "keys_other": [],
    }
    if path is None:
        result["detail"] = "no path is known: not given, and neither environment nor log show one"
        return result
    try:
        status = regular(opened or path)
        result["mtime"] = status.st_mtime
        with open(opened or path, "rb") as handle:
            raw = handle.read(MAX_FILE + 1)
    except OSError as error:
        absent = error.errno in (errno.ENOENT, errno.ENOTDIR)
        unreadable = error.errno in (errno.EACCES, errno.EPERM)
        result["state"] = "absent" if absent else "unreadable" if unreadable else "invalid"
        result["detail"] = error.strerror or str(error)
        return result
    result["size"] = len(raw)
    if len(raw) > MAX_FILE:
        result["state"], result["detail"] = "invalid", f"more than {MAX_FILE} bytes"
        return result
    try:
        loaded = flatyaml.load(raw.decode("utf-8"))
    except (flatyaml.NotReadable, UnicodeDecodeError) as error:
        result["state"], result["detail"] = "invalid", redact.without_credentials(str(error))[:200]
        return result
    result.update(state="ok", values=settings.lmcache_config(loaded), keys_other=settings.other_keys(loaded))
    return result


def api_urls(url: str | None, values: dict) -> tuple[str | None, str | None]:
    """(scheduler's URL, worker 0's URL) of the internal API; (None, None) where it is off or not known.

    `url`, when given, may be either's; else they follow from the configuration in `values`.
    """
    if url:
        parts = urlsplit(url if "://" in url else "http://" + url)
        base = f"{parts.scheme}://{_bracketed(parts.hostname)}"
        port = parts.port or internal_api.PORT
        return f"{base}:{port}", f"{base}:{port + 1}"
    if values.get("internal_api_server_enabled") is not True:
        return None, None
    host = values.get("internal_api_server_host") or internal_api.HOST
    host = internal_api.HOST if host in settings.WILDCARDS else host
    try:
        port = int(values.get("internal_api_server_port_start") or internal_api.PORT)
    except (TypeError, ValueError):
        return None, None
    base = f"http://{_bracketed(host)}"
    return f"{base}:{port}", f"{base}:{port + 1}"


def _bracketed(host):
    return f"[{host}]" if host and ":" in host else host


def ask_api(url: str | None, values: dict, timeout: float, logged: dict | None = None) -> dict:
    """What LMCache's internal API says: a dict with `internal_api` (as in NODE), `conf`, `meta`, `backends`
    and `lmcache` (version), each None when not answered.

    `internal_api.status` is the status of the worker's /backends: 503 where its LMCache failed to start.

    Of two engines on a host only one can listen on the default port.  When the API has another instance id than
    `logged`, the configuration in the engine's own log, it is the other engine's: state "another", and nothing it
    says is taken.
    """
    result: dict = {
        "internal_api": {"url": None, "state": "unknown", "status": None},
        "conf": None,
        "meta": None,
        "backends": None,
        "lmcache": None,
    }
    first, second = api_urls(url, values)
    if first is None or second is None:
        if values.get("internal_api_server_enabled") is False or (
            values and "internal_api_server_enabled" not in values
        ):
            result["internal_api"]["state"] = "off"
        return result
    api = result["internal_api"]
    api["url"] = first
    for base in (first, second):
        answer, conf = http.get_json(base + internal_api.CONF, timeout)
        api["state"] = answer.state if answer.state in ("ok", "refused", "timeout") else "error"
        if answer.state == "ok" and isinstance(conf, dict):
            api["url"] = base
            break
    else:
        api["state"] = "error" if api["state"] == "ok" else api["state"]
        return result
    in_effect = settings.lmcache_config(conf)
    ids = {values.get("lmcache_instance_id") for values in (in_effect, logged or {})} - {None}
    if len(ids) > 1:
        api["state"] = "another"
        return result
    result["conf"] = in_effect
    _answer, meta = http.get_json(base + internal_api.META, timeout)
    result["meta"] = settings.lmcache_meta(meta)
    _answer, version = http.get_json(base + internal_api.VERSION, timeout)
    result["lmcache"] = internal_api.version(version)
    for candidate in dict.fromkeys((base, second)):
        answer, backends = http.get_json(candidate + internal_api.BACKENDS, timeout)
        if answer.status is not None:
            api["status"] = answer.status
        if answer.state == "ok" and isinstance(backends, dict):
            result["backends"] = sorted(str(name)[:80] for name in backends)
            break
    return result


def config_path(given: str | None, env: dict | None, events: list[dict]) -> tuple[str | None, str | None]:
    """(path, found_by) of the configuration file: as given, from the environment, or from the log."""
    if given:
        return given, "variable"
    if env and env.get("LMCACHE_CONFIG_FILE"):
        return env["LMCACHE_CONFIG_FILE"], "environ"
    logged = [event["path"] for event in events if event["kind"] == "config_file" and event.get("path")]
    return (logged[-1], "log") if logged else (None, None)


def p2p_ports(config: dict) -> list[int]:
    """Ports of the configuration that something of this node should listen on."""
    ports: list = []
    for key in ("p2p_init_ports", "p2p_lookup_ports", "lmcache_worker_ports"):
        value = config.get(key)
        ports += value if isinstance(value, list) else [value]
    return [port for port in ports if isinstance(port, int) and not isinstance(port, bool)]
