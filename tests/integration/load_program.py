"""Applications that tests start under gunicorn: each works for 20 ms and says its process."""

import os
import threading

from trimtab import WsgiLoadReporter

PAUSE = threading.Event()  # nothing sets it


def work(environ, start_response):
    PAUSE.wait(0.02)
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


app = WsgiLoadReporter(work)
