"""The metrics as read by Prometheus' own Python library."""

import json
import math
import urllib.error
import urllib.request

from conftest import DEADLINE, ISSUE
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect


def scrape(server):
    with urllib.request.urlopen(server.metrics + "/metrics", timeout=DEADLINE) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def value(families, family, name=None, **labels):
    samples = [sample for sample in families[family].samples if sample.name == (name or family)]
    (found,) = [sample.value for sample in samples if sample.labels == labels]
    return found


def test_every_family_is_well_formed(server):
    families = scrape(server)
    assert len(families) > 30
    for name, family in families.items():
        assert family.documentation.endswith("."), name
        assert family.samples, name
        assert family.type in ("counter", "gauge", "histogram", "summary"), name
        series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(series) == len(set(series)), name
        assert all(math.isfinite(sample.value) and sample.value >= 0 for sample in family.samples), name
        if family.type == "counter":
            assert {sample.name for sample in family.samples} == {name + "_total"}
        if family.type == "histogram":
            buckets = [sample for sample in family.samples if sample.name == name + "_bucket"]
            bounds = [float(sample.labels["le"]) for sample in buckets]
            assert bounds == sorted(bounds) and bounds[-1] == math.inf, name
            counts = [sample.value for sample in buckets]
            assert counts == sorted(counts) and counts[-1] == value(families, name, name + "_count"), name


def test_the_numbers_follow_what_happens(server, token):
    before = scrape(server)
    with connect(server.url, open_timeout=DEADLINE) as client:
        event = {"type": "issueUpdate", "id": ISSUE}
        client.send(json.dumps({"auth": token, "action": "attach", "event": event}))
        assert json.loads(client.recv(DEADLINE))["code"] == 0
        server.publish(*[json.dumps({**event, "data": number}) for number in range(100)])
        for _ in range(100):
            client.recv(DEADLINE)
        during = scrape(server)
    assert value(before, "airlay_connections", phase="open") == 0
    assert value(during, "airlay_connections", phase="open") == 1
    assert value(during, "airlay_subscriptions", type="issueUpdate") == 1
    assert value(during, "airlay_events", "airlay_events_total", type="issueUpdate") == 100
    assert value(during, "airlay_deliveries", "airlay_deliveries_total", type="issueUpdate") == 100
    assert value(during, "airlay_replies", "airlay_replies_total", code="0") == 1
    turns = "airlay_loop_turn_seconds", "airlay_loop_turn_seconds_count"
    assert value(during, *turns) > value(before, *turns)


def test_other_paths_are_404(server):
    try:
        urllib.request.urlopen(server.metrics + "/", timeout=DEADLINE)
        raise AssertionError("a page was served")
    except urllib.error.HTTPError as error:
        assert error.code == 404
