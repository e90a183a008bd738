"""A real agent as Prometheus sees it, and what operators are given for that: deploy/."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smartmob_agent.metrics.catalogue import ALL
from tests.e2e.agent import archive_server, running_agent, shell_app

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus-alerts.yaml"
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
SCRIPT = """
mkfifo never
exec 7<>never 8</dev/null
i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done
exec sh -c 'setsid sh -c "exec <&7; echo ready; read x" & exec <&7; echo ready; read x'
"""
"""Two members, one of which has left the session; both have descriptors 7 and 8.

Neither opens or closes one after its `ready`, as a program does while it is loaded, and a shell
that reads a script: each reads from a FIFO that it has already, and into which nobody writes.
"""
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool: Debian's package prometheus"
)


def promtool(*argv: str, stdin: str | None = None) -> None:
    """Run it; it must find nothing to complain about."""
    process = subprocess.run(
        ["promtool", *argv], check=False, capture_output=True, text=True, input=stdin, cwd=DEPLOY
    )
    assert (process.returncode, process.stderr) == (0, ""), process.stdout


def series(text: str) -> dict[tuple[str, str], float]:
    """Name and labels → value."""
    pattern = re.compile(r"([a-z_]+)(?:\{(.*)\})? (\S+)")
    found = (pattern.fullmatch(line) for line in text.splitlines() if not line.startswith("#"))
    return {(m[1], m[2] or ""): float(m[3]) for m in found if m}


def expressions() -> Iterator[str]:
    """All queries of the dashboard, with values for its variables."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield re.sub(r"\$\w+", ".*", target["expr"].replace("$__rate_interval", "5m"))


def names_in(text: str) -> set[str]:
    labels = "|".join({label for metric in ALL for label in metric.labels})
    names = set(re.findall(r"\b(?:smartmob|process|python)_[a-z_]+", text))
    return {name for name in names if not re.fullmatch(labels, name)}


@needs_promtool
@pytest.mark.slow
async def test_a_scrape_of_a_real_agent() -> None:
    """All of it at once: what is told, and that dashboard and alerts ask for no more."""
    archive = shell_app(SCRIPT)
    async with archive_server() as server, running_agent() as agent:
        await agent.create(server.add("app", archive))
        async with agent.attach("app.web.0", "?tail=2") as console:
            assert [await console.get_message() for _ in range(2)] == ["ready", "ready"]
            answer = await agent.client.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        check_figures(series(answer.text), len(archive))
        promtool("check", "metrics", stdin=answer.text)
        check_names(answer.text)
        await agent.delete("app.web.0")
        text = (await agent.client.get("/metrics")).text
        assert "app.web.0" not in text
        assert series(text)["smartmob_exits_total", 'code="",signal="SIGTERM"'] == 1
        log = [event for event in agent.events if event.get("path") == "/metrics"]
        assert log == [], "scrapes are not logged"


def check_figures(found: dict[tuple[str, str], float], archive_bytes: int) -> None:
    labels = 'app="app",node="web.0",process_type="web",slug="app.web.0"'
    of_process = {name: value for (name, of), value in found.items() if of == labels}
    assert of_process.pop("smartmob_process_cpu_seconds_total") > 0.0
    # PSS: of a shell little is left where hundreds of others run beside it.
    assert 10_000 < of_process.pop("smartmob_process_memory_bytes") < 100_000_000
    assert 20_000 <= of_process.pop("smartmob_process_port") <= 29_999
    assert of_process.pop("smartmob_process_ready") in (0, 1)  # Whether its port answers yet.
    assert of_process == {
        "smartmob_process_starts_total": 1,
        "smartmob_process_failures": 0,
        "smartmob_process_open_fds": 2 * 5,
        "smartmob_process_members": 2,
        "smartmob_console_lines_total": 2,
        "smartmob_console_bytes_total": len("ready\nready\n"),
        "smartmob_console_missed_lines_total": 0,
        "smartmob_console_clients": 1,
    }
    assert found["smartmob_processes", 'state="running"'] == 1
    assert found["smartmob_spawn_seconds_count", ""] == 1
    assert 0 < found["smartmob_spawn_seconds_sum", ""] < 10
    assert found["smartmob_download_seconds_count", 'outcome="fetched"'] == 1
    assert found["smartmob_download_bytes_total", ""] == archive_bytes
    request = 'method="POST",route="/create-process",status="201"'
    assert found["smartmob_http_request_duration_seconds_count", request] == 1
    assert found["smartmob_http_requests_in_progress", 'route="/attach-console/<slug>"'] == 1
    assert found["smartmob_http_requests_in_progress", 'route="/metrics"'] == 1


def check_names(text: str) -> None:
    """What dashboard and alerts ask for is there, and the dashboard shows all that is ours."""
    told = {line.split()[2]: line.split()[3] for line in text.splitlines() if "# TYPE" in line}
    for name, kind in tuple(told.items()):
        if kind == "histogram":
            told |= dict.fromkeys((f"{name}_bucket", f"{name}_count", f"{name}_sum"), kind)
    asked = names_in("\n".join(expressions()))
    assert asked - set(told) == set()
    assert names_in(ALERTS.read_text(encoding="utf-8")) - set(told) == set()
    shown = {re.sub("_(bucket|count|sum)$", "", name) for name in asked}
    assert {metric.name for metric in ALL} - shown == set()


@needs_promtool
@pytest.mark.slow
def test_alerts_fire_when_they_should() -> None:
    promtool("check", "rules", ALERTS.name)
    process = subprocess.run(
        ["promtool", "test", "rules", "prometheus-alerts-test.yaml"],
        check=False,
        capture_output=True,
        text=True,
        cwd=DEPLOY,
    )
    assert process.returncode == 0, process.stdout + process.stderr


@needs_promtool
@pytest.mark.slow
def test_prometheus_understands_the_configuration_on_the_page(tmp_path: Path) -> None:
    page = (DEPLOY.parent / "docs/operating.rst").read_text(encoding="utf-8")
    blocks = re.findall(r"::\n\n((?:    .*\n)+)", page)
    (scrape,) = (block for block in blocks if "scrape_configs:" in block)
    (rules,) = (block for block in blocks if "rule_files:" in block)
    path = tmp_path / "prometheus.yaml"
    path.write_text(textwrap.dedent(scrape + rules))
    promtool("check", "config", "--syntax-only", str(path))


def test_each_alert_is_tested() -> None:
    pattern = re.compile(r"alert(?:name)?: (\w+)")
    tests = (DEPLOY / "prometheus-alerts-test.yaml").read_text(encoding="utf-8")
    alerts = pattern.findall(ALERTS.read_text(encoding="utf-8"))
    assert len(alerts) > 0
    assert set(pattern.findall(tests)) == set(alerts)


@needs_promtool
@pytest.mark.slow
def test_prometheus_understands_each_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query} for number, query in enumerate(expressions())
    ]
    assert len(rules) > 20
    path = tmp_path / "rules.yaml"  # JSON is YAML, too
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(path))


def test_the_dashboard_can_be_imported_anywhere() -> None:
    """Nothing in it is of one Grafana: the data source is a variable, panels are numbered."""
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    sources = {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"}
    assert sources == {"${datasource}"}
    used = set(re.findall(r"\$(\w+)", json.dumps(panels))) - {"__rate_interval"}
    assert used <= set(variables)
