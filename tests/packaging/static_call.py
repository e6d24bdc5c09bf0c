"""Run with nothing but the wheel installed: import everything public, make one balanced call."""

import http.server
import threading

import httpx

import trimtab
import trimtab_sim


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *args: object) -> None:
        pass


assert all(hasattr(trimtab, name) for name in trimtab.__all__)
assert trimtab_sim.__doc__
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
transport = trimtab.BalancedTransport(f"static://127.0.0.1:{server.server_port}")
with httpx.Client(transport=transport) as client:
    response = client.get("http://orders/")
assert response.text == "hello"
info = response.extensions["trimtab"]
server.shutdown()
server.server_close()
print(f"wheel: {info.service} answered by {info.instance.address}, attempt {info.attempts}")
