"""The node side's three modules, run by Ansible itself: in place by short name, and as a collection."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from kvproof.node import modules as answers
from kvproof.probe import options

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "logs" / "healthy_decode.log"
BIN = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
PLAYBOOK, DOC = (shutil.which(name, path=BIN) for name in ("ansible-playbook", "ansible-doc"))
LOG = {"log": {"file": str(FIXTURE)}, "ids": ["probe-mwbbucwy-B"], "run_marker": "probe-"}
NODE = {"port": 1, "host": "127.0.0.1", "log": {"file": str(FIXTURE)}, "dial_timeout": 0.1, "api_timeout": 0.1}
BAD = {
    "no log": ("lmcache_log_info", {"log": {}}, "log: give exactly one of file, unit and command"),
    "no budget": ("lmcache_log_info", {"log": {"file": "/a"}, "budget": 0}, "budget: give a number above zero, not 0"),
    "two logs": ("lmcache_node_info", {"log": {"file": "/a", "unit": "b"}}, "log: give exactly one of file, unit"),
    "no port": ("lmcache_node_info", {"port": 70000}, "port: give the engine's port"),
    "no peer": ("lmcache_node_info", {"peers": [{"to": "nowhere"}]}, "peers: give host:port"),
    "no url": ("lmcache_controller_info", {"url": "nowhere"}, "url: give a URL"),
}

pytestmark = pytest.mark.skipif(PLAYBOOK is None, reason="ansible-core is not installed beside this Python")


class Controller(BaseHTTPRequestHandler):
    """A controller that lists no workers."""

    def do_GET(self):  # the name is http.server's
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"workers": [], "total_count": 0}')

    def log_message(self, *_args):
        pass


@pytest.fixture(scope="module")
def controller_port():
    server = HTTPServer(("127.0.0.1", 0), Controller)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module", params=["in place", "as a collection, in check mode"])
def results(request, tmp_path_factory, controller_port) -> dict:
    """What Ansible returned for a task of each kind, by label."""
    folder = tmp_path_factory.mktemp("ansible")
    environ = dict(os.environ, ANSIBLE_LOCALHOST_WARNING="0", ANSIBLE_HOME=str(folder), ANSIBLE_NOCOLOR="1")
    prefix, options = "", []
    if request.param == "in place":
        environ.update(ANSIBLE_LIBRARY=str(ROOT / "library"), ANSIBLE_MODULE_UTILS=str(ROOT / "module_utils"))
    else:
        tree = folder / "ansible_collections" / "kvproof" / "cluster"
        tree.parent.mkdir(parents=True)
        tree.symlink_to(ROOT)
        environ["ANSIBLE_COLLECTIONS_PATH"] = str(folder)
        prefix, options = "kvproof.cluster.", ["--check"]
    wanted = {
        "log": ("lmcache_log_info", LOG),
        "node": ("lmcache_node_info", NODE),
        "controller": ("lmcache_controller_info", {"url": f"http://127.0.0.1:{controller_port}", "name": "c"}),
        **{label: (module, arguments) for label, (module, arguments, _said) in BAD.items()},
    }
    names = {label: f"result_{number}" for number, label in enumerate(wanted)}
    tasks = [
        {"name": label, f"{prefix}{module}": arguments, "register": names[label], "ignore_errors": True}
        for label, (module, arguments) in wanted.items()
    ]
    tasks.append(
        {
            "name": "Keep the results",
            "check_mode": False,
            "ansible.builtin.copy": {
                "content": "{{ dict(" + repr(list(names)) + " | zip([" + ", ".join(names.values()) + "])) | to_json }}",
                "dest": str(folder / "results.json"),
                "mode": "0600",
            },
        }
    )
    (folder / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "localhost",
                    "gather_facts": False,
                    "tasks": tasks,
                    "vars": {"ansible_python_interpreter": sys.executable},
                }
            ]
        )
    )
    done = subprocess.run(
        [PLAYBOOK, "-i", "localhost,", "-c", "local", *options, "play.yml"],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (folder / "results.json").exists(), done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return json.loads((folder / "results.json").read_text())


def test_log_info(results):
    result = results["log"]
    assert result["changed"] is False
    assert (result["log"]["state"], result["log"]["ids_found"]) == ("ok", ["probe-mwbbucwy-B"])


def test_node_info_of_a_port_where_nothing_is(results):
    assert results["node"]["changed"] is False
    node = results["node"]["node"]
    assert (node["engine"]["pid"], node["engine"]["listening"]) == (None, False)
    assert node["effective"]["values"]["enable_p2p"] is True
    assert node["config_file"]["path"] == "/opt/kv/run/decode.yaml"


def test_controller_info(results, controller_port):
    controller = results["controller"]["controller"]
    assert (results["controller"]["changed"], controller["workers"], controller["http"]["state"]) == (False, [], "ok")
    assert (controller["process"]["pid"], controller["process"]["found_by"]) == (os.getpid(), "socket")
    assert controller["listening"] == [{"address": "127.0.0.1", "port": controller_port}]


@pytest.mark.parametrize("label", BAD)
def test_bad_input_gets_one_sentence(results, label):
    assert results[label]["failed"] is True
    assert results[label]["msg"].startswith(BAD[label][2])
    assert "\n" not in results[label]["msg"]


ACTIONS = {path.stem for path in (ROOT / "action_plugins").glob("*.py")}


def arguments(name: str) -> dict:
    """Ansible's argument spec of a module, or of the action of its name, which then counts."""
    if name == "kv_reuse_probe":  # the action checks these, the module the others
        spec = options.argument_spec()
        return {**spec, "plan": {"type": "json"}, "recognised": {"type": "str"}, "reached": {"type": "str"}}
    if name not in ACTIONS:
        return answers.MODULES[name][0]
    return importlib.import_module(f"action_plugins.{name}").ActionModule.SPEC


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "library").glob("*.py")))
def test_the_documentation_fits_the_arguments(tmp_path, name):
    done = subprocess.run(
        [DOC, "-M", str(ROOT / "library"), "-j", name],
        capture_output=True,
        text=True,
        env=dict(os.environ, ANSIBLE_HOME=str(tmp_path)),
        timeout=60,
        check=True,
    )
    described = json.loads(done.stdout)[name]
    assert described["doc"]["attributes"]["check_mode"]["support"] == "full"
    assert f"kvproof.cluster.{name}:" in described["examples"]
    assert described["return"]
    assert _told(described["doc"]["options"]) == _told(arguments(name))


def test_every_action_has_a_page():
    assert {path.stem for path in (ROOT / "library").glob("*.py")} >= ACTIONS


def _told(options: dict) -> dict:
    """Type, default, choices and suboptions of each option, of a documentation or of an argument spec."""
    return {
        name: (
            option["type"],
            option.get("default"),
            option.get("choices"),
            _told(option.get("suboptions") or option.get("options") or {}),
        )
        for name, option in options.items()
    }


# ------------------------------------------------------------------ the oldest Python of a node

NODE_SIDE = sorted(
    ".".join(path.relative_to(ROOT / "module_utils").with_suffix("").parts).removesuffix(".__init__")
    for room in ("node", "stack")
    for path in (ROOT / "module_utils" / "kvproof" / room).rglob("*.py")
)
SCRIPT = """
import importlib, json, sys
before = set(sys.modules)
for name in {names!r}:
    importlib.import_module(name)
own = set(sys.modules) - before
from kvproof.node import controller as controllerinfo, engine as nodeinfo
from kvproof.stack import flatyaml
log = {{"file": {log!r}}}
node = nodeinfo.gather(port=1, log=log, ids=["probe-mwbbucwy-B"], run_marker="probe-", dial_timeout=0.1,
                       api_timeout=0.1)
print(json.dumps([sys.version_info[:2], node["log"]["ids_found"], controllerinfo.gather(port=1)["http"]["state"],
                  flatyaml.read_flat("a: [1, 'x'] # y"), sorted(own)]))
"""


def old_python() -> str | None:
    """A Python 3.8 that runs: a version manager has a python3.8 also where none is chosen."""
    versions = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python"))
    python = str(versions[-1]) if versions else shutil.which("python3.8")
    runs = python and subprocess.run([python, "-V"], capture_output=True, check=False).returncode == 0
    return python if runs else None


def test_the_node_side_runs_on_python_3_8_with_nothing_installed():
    python = old_python()
    if python is None:
        pytest.skip("no Python 3.8 here")
    script = SCRIPT.format(names=NODE_SIDE, log=str(FIXTURE))
    done = subprocess.run(
        [python, "-S", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(ROOT / "module_utils"), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr
    version, found, http, flat, _modules = json.loads(done.stdout)
    assert (version, found, http, flat) == ([3, 8], ["probe-mwbbucwy-B"], "unset", {"a": [1, "x"]})


def test_the_node_side_needs_the_standard_library_only():
    script = SCRIPT.format(names=NODE_SIDE, log=str(FIXTURE))
    path = f"import sys; sys.path.append({str(ROOT / 'module_utils')!r})"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", path + script], capture_output=True, text=True, timeout=60, check=True
    )
    modules = {name.partition(".")[0] for name in json.loads(done.stdout)[-1]}
    assert modules - set(sys.stdlib_module_names) - {"kvproof"} == set()
