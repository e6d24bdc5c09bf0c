"""nginx."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from real.server import Server, running

_NGINX = Path("/usr/sbin/nginx")


@pytest.fixture(scope="session")
def nginx(tmp_path_factory):
    """One nginx for the whole run that serves the files of its `root`."""
    with running(Nginx(_NGINX, tmp_path_factory.mktemp("nginx"))) as server:
        yield server


class Nginx(Server):
    """An nginx that serves the files in `root`, with ETag and Last-Modified."""

    name = "nginx"

    @property
    def root(self):
        return self.folder / "www"

    def command(self):
        self.root.mkdir(exist_ok=True)
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = self.folder / "nginx.conf"
        config.write_text(
            f"daemon off; master_process off; pid {self.folder}/pid; error_log stderr;"
            "events {} http { access_log off; default_type application/json; gzip on;"
            f"gzip_types application/json; gzip_min_length 1; {temporary}"
            f"server {{ listen 127.0.0.1:{self.port}; root {self.root}; }} }}"
        )
        return [self.binary, "-p", self.folder, "-e", "stderr", "-c", config]

    def is_ready(self):
        return bool(httpx.get(self.http, trust_env=False).status_code)

    def publish(self, path, text):
        """Put a file in place at once, as publishers should."""
        target = self.root / path
        draft = target.with_suffix(".new")
        draft.write_text(text)
        draft.replace(target)
