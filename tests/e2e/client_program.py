"""A client's cold start: one call, and what the client knows about its list, as JSON.

python client_program.py REGISTRY_URL SERVICE FOLDER
"""

from __future__ import annotations

import json
import logging
import sys

import httpx

from trimtab import BalancedTransport, DiscoverySettings

registry, service, folder = sys.argv[1:]
logging.basicConfig(level=logging.WARNING)
settings = DiscoverySettings(last_known_good=folder)
transport = BalancedTransport(registry, discovery=settings)
with httpx.Client(transport=transport, trust_env=False) as client:
    response = client.get(f"http://{service}/work")
    info, state = response.extensions["trimtab"], transport.state()[service]
    known = {
        "status": response.status_code,
        "text": response.text,
        "list_age_s": info.list_age_s,
        "list_source": info.list_source,
        "state_age_s": state.age_s,
        "failures": state.failures,
        "last_error": state.last_error,
    }
    sys.stdout.write(json.dumps(known))
