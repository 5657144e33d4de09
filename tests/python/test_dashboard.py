"""The dashboard and the alerts use metrics that the server exports."""

import json
import re
import subprocess
from pathlib import Path

import yaml
from test_metrics import scrape

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "deploy" / "prometheus" / "airlay.rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "airlay.json"
SELECTOR = re.compile(r"\b((?:airlay|process)_[a-z_]+)(\{[^}]*\})?")


def expressions(value):
    """Every PromQL expression in the dashboard or the rules."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("expr", "query") and isinstance(inner, str):
                yield inner
            else:
                yield from expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner)


def selectors(expressions):
    """The metrics that they select, with the labels they select by."""
    for expression in expressions:
        for name, labels in SELECTOR.findall(expression):
            yield name, dict(re.findall(r'(\w+)=~?"([^"]*)"', labels))


def samples(server):
    """The labels of each sample at /metrics, by name."""
    found = {}
    for family in scrape(server).values():
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def check(expressions, server):
    there = samples(server)
    wanted = list(selectors(expressions))
    assert wanted
    for name, labels in wanted:
        assert name in there, name
        for label, value in labels.items():
            # Prometheus adds these two; $ marks a variable of the dashboard.
            if label not in ("job", "instance") and not value.startswith("$"):
                assert value in [sample.get(label) for sample in there[name]], f'{name}{{{label}="{value}"}}'


def test_the_dashboard_s_metrics_exist(server):
    check(expressions(json.loads(DASHBOARD.read_text())), server)


def test_the_alerts_metrics_exist(server):
    check(expressions(yaml.safe_load(RULES.read_text())), server)


def test_the_alerts_fire_when_they_should():
    for command in ["check rules airlay.rules.yml", "test rules airlay.test.yml"]:
        checked = subprocess.run(["promtool", *command.split()], cwd=RULES.parent, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
