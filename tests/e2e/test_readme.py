"""Every Python block of the README runs, and prints what the block after it says."""

import contextlib
import http.server
import io
import re
import threading
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"```python\n(.*?)```(?:\n+```output\n(.*?)```)?", re.DOTALL)
BLOCKS = BLOCK.findall(README.read_text(encoding="utf-8"))


class Hello(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def backends():
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield [server.server_port for server in servers]
    for server in servers:
        server.shutdown()
        server.server_close()


def test_there_are_blocks_with_output():
    assert sum(bool(output) for _, output in BLOCKS) >= 2


@pytest.mark.parametrize(("code", "output"), BLOCKS, ids=range(len(BLOCKS)))
def test_block(code, output, backends):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"BACKENDS": backends})
    if output:
        assert printed.getvalue() == output


def test_ten_lines_are_about_ten():
    lines = [line for line in BLOCKS[0][0].splitlines() if line.strip()]
    assert len(lines) <= 14
