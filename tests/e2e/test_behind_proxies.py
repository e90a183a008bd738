"""Deploys behind real proxies at full load: one of them; `bench/deploys.py` has twenty."""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from smartmob_agent.client_cli.rendering import _fill

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "deploy" / "render"
SLOTS = [
    {"slug": f"shop.web.{n}", "app": "shop", "pid": 7 + n, "host": "127.0.0.1", "port": 20000 + n}
    for n in range(3)
]
APPS = [{"app": "shop", "slots": [{**one, "ready": one["pid"] != 8} for one in SLOTS]}]
WORLD = {"apps": APPS, "processes": APPS[0]["slots"], "agents": []}

pytestmark = [pytest.mark.slow, pytest.mark.one_python]


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_no_request_fails_while_an_app_is_deployed(kind: str) -> None:
    for name in (kind, "wrk"):
        program(name)
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/deploys.py"), kind, "--deploys=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("apps", [APPS, [{"app": "shop", "slots": []}], []])
def test_proxies_take_what_is_rendered(apps: list[dict[str, object]], tmp_path: Path) -> None:
    """Also with no slot that is ready; one that is not has no place in it."""
    world = {**WORLD, "apps": apps}
    made = tmp_path / "made"
    nginx = _fill(TEMPLATES / "nginx.conf.j2", world)
    made.write_text(f"events {{}}\nhttp {{\n{nginx}\n}}\n")
    base = [program("nginx"), "-t", "-q", "-p", str(tmp_path), "-c", str(made)]
    subprocess.run([*base, "-g", f"pid {tmp_path}/pid; error_log stderr;"], check=True)
    haproxy = _fill(TEMPLATES / "haproxy.cfg.j2", world)
    times = "".join(f" timeout {name} 1s\n" for name in ("connect", "client", "server"))
    listen = "frontend web\n bind 127.0.0.1:1\n"
    made.write_text(f"defaults\n mode http\n{times}{listen}{haproxy}\n")
    subprocess.run([program("haproxy"), "-c", "-f", str(made)], check=True)
    assert "20001" not in nginx + haproxy
    assert ("20000" in nginx) == ("20000" in haproxy) == bool(apps == APPS)


class Slot(http.server.BaseHTTPRequestHandler):
    """Answers its own port."""

    def do_GET(self) -> None:
        body = str(self.connection.getsockname()[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_caddy_leads_to_each_slot(tmp_path: Path) -> None:
    caddy = program("caddy")
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(2):
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slot)
            stack.enter_context(server)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            ports.append(server.server_address[1])
        slots = [{**SLOTS[0], "port": port, "ready": True} for port in ports]
        text = _fill(
            TEMPLATES / "Caddyfile.j2", {**WORLD, "apps": [{"app": "shop", "slots": slots}]}
        )
        with socket.create_server(("127.0.0.1", 0)) as sock:
            own = sock.getsockname()[1]
        made = tmp_path / "Caddyfile"
        made.write_text("{\n admin off\n}\n" + text.replace(":8000", f":{own}"))
        process = subprocess.Popen(
            [caddy, "run", "--adapter", "caddyfile", "--config", str(made)],
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        found = set[str]()
        while len(found) < 2:
            assert process.poll() is None
            request = urllib.request.Request(
                f"http://127.0.0.1:{own}/", headers={"Host": f"shop.localhost:{own}"}
            )
            with contextlib.suppress(OSError), urllib.request.urlopen(request) as answer:
                found.add(answer.read().decode())
        assert found == set(map(str, ports))


def test_prometheus_takes_its_targets(tmp_path: Path) -> None:
    (tmp_path / "targets.json").write_text(_fill(TEMPLATES / "prometheus.json.j2", WORLD))
    config = tmp_path / "prometheus.yml"
    config.write_text(
        "scrape_configs:\n- job_name: shop\n  file_sd_configs:\n"
        f"  - files: [{tmp_path / 'targets.json'}]\n"
    )
    subprocess.run([program("promtool"), "check", "config", str(config)], check=True)


def test_prometheus_gets_its_targets() -> None:
    for processes in (APPS[0]["slots"], []):
        made = json.loads(
            _fill(TEMPLATES / "prometheus.json.j2", {**WORLD, "processes": processes})
        )
        assert [one["targets"] for one in made] == (
            [["127.0.0.1:20000"], ["127.0.0.1:20002"]] if processes else []
        )
