# Copyright: the kvproof authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Prometheus' own tool says of kv_reuse.prom and of the alerts on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import verdicts
import yaml
from kvproof.report.views import prometheus

PROMTOOL = os.environ.get("KVPROOF_PROMTOOL") or shutil.which("promtool")
RULES = Path(__file__).resolve().parents[2] / "examples" / "prometheus"
DOCUMENTS = {
    "several": lambda: verdicts.document(
        verdicts.live(cluster="a"),
        verdicts.verdict("sync_loading", cluster='b"x\\y'),
        verdicts.waived(cluster="c"),
        missing=1,
        exit_code=2,
    ),
    "none": lambda: verdicts.document(exit_code=2),
}


def promtool(*words: str, text: str | None = None) -> str:
    if not PROMTOOL:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus), nor named by KVPROOF_PROMTOOL")
    done = subprocess.run([PROMTOOL, *words], input=text, cwd=RULES, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_metrics_have_nothing_to_complain_of(name):
    assert promtool("check", "metrics", text=prometheus.render(DOCUMENTS[name]())) == ""


def test_the_alerts_fire_when_they_should():
    assert "4 rules found" in promtool("check", "rules", "kv_reuse.rules.yml")
    assert "SUCCESS" in promtool("test", "rules", "kv_reuse.tests.yml")


def dashboard() -> list[str]:
    """Expressions of the dashboard's panels, its variables filled in."""
    panels = json.loads((RULES / "kv_reuse.dashboard.json").read_text())["panels"]
    return [target["expr"].replace("$cluster", ".*") for panel in panels for target in panel["targets"]]


def test_prometheus_understands_the_dashboard(tmp_path):
    recorded = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(dashboard())]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in promtool("check", "rules", str(path))


def test_alerts_and_dashboard_name_series_that_there_are():
    rules = yaml.safe_load((RULES / "kv_reuse.rules.yml").read_text())["groups"][0]["rules"]
    expressions = [rule["expr"] for rule in rules] + dashboard()
    named = {name for expression in expressions for name in re.findall(r"kv_reuse_\w+", expression)}
    assert named <= set(re.findall(r"^# TYPE (\w+)", prometheus.render(DOCUMENTS["several"]()), re.MULTILINE))
