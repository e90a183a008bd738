"""A web server that counts its visitors.

PORT: where it listens on 127.0.0.1; 0, the default, picks a free port.
"""

from __future__ import annotations

import http.server
import itertools
import os

visitors = itertools.count(1)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"Hello, visitor {next(visitors)}!\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, template: str, *values: object) -> None:
        print(self.address_string(), template % values)


with http.server.HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "0"))), Handler) as server:
    print(f"web serves http://127.0.0.1:{server.server_port}")
    server.serve_forever()
