"""Run the README's first example with nothing but what its install line installs."""

import contextlib
import http.server
import io
import re
import threading
from pathlib import Path

FIRST = re.compile(r"```python\n(.*?)```\n+```output\n(.*?)```", re.DOTALL)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


found = FIRST.search(Path("README.md").read_text(encoding="utf-8"))
assert found
code, output = found.groups()
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    exec(code, {"BACKENDS": [server.server_port for server in servers]})
for server in servers:
    server.shutdown()
    server.server_close()
assert printed.getvalue() == output, printed.getvalue()
print(f"readme: {output.strip()}")
