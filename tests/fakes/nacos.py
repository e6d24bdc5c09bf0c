"""A fake of a Nacos server: its open API in versions 1 to 3, leases, and the login."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from fakes.serving import Serving


@dataclass
class Held:
    """An instance as Nacos keeps it."""

    fields: dict
    metadata: dict
    beaten_at: float

    def lasts(self, name, default_ms):
        allowed_s = float(self.metadata.get(f"preserved.{name}", default_ms)) / 1000
        return time.monotonic() - self.beaten_at <= allowed_s

    def shown(self, service):
        where = f"{self.fields['ip']}#{self.fields['port']}#DEFAULT#{service}"
        return {
            "instanceId": where,
            "ip": self.fields["ip"],
            "port": int(self.fields["port"]),
            "weight": float(self.fields.get("weight", 1)),
            "healthy": self.fields.get("healthy", True)
            and self.lasts("heart.beat.timeout", 15_000),
            "enabled": True,
            "clusterName": "DEFAULT",
            "serviceName": service,
            "metadata": self.metadata,
        }


class FakeNacos(Serving):
    """Holds instances by grouped service name and address.

    Attributes:
        services: what is registered, by service ("group@@name") and (ip, port).
        password: wanted of whoever asks, if set.
        tokens: those that are good now.
    """

    def __init__(self):
        routes = [
            Route("/nacos/v1/auth/login", self._login, methods=["POST"]),
            Route("/nacos/v3/auth/user/login", self._login, methods=["POST"]),
            *self._routes("/nacos/v1/ns/instance", wrapped=False),
            *self._routes("/nacos/v2/ns/instance", wrapped=True),
            *self._routes("/nacos/v3/client/ns/instance", wrapped=True),
            Route("/nacos/v1/ns/service/list", self._names),
            Route("/nacos/v2/ns/service/list", self._names),
        ]
        super().__init__(Starlette(routes=routes))
        self.services = {}
        self.password, self.tokens, self.logins = None, set(), 0

    def put(self, service, fields, metadata):
        held = Held(fields, metadata, time.monotonic())
        self.services.setdefault(service, {})[fields["ip"], int(fields["port"])] = held

    def clear(self):
        self.services.clear()

    def _routes(self, path, *, wrapped):
        def shaped(data):
            if wrapped:
                return JSONResponse({"code": 0, "message": "success", "data": data})
            return PlainTextResponse(data) if isinstance(data, str) else JSONResponse(data)

        async def change(request):
            if not self._may(request):
                return JSONResponse({"status": 403, "message": "token expired!"}, 403)
            params = request.query_params
            if "v3" in path and "heartBeat" in params:
                return self._beat(request)
            service = _grouped(params)
            if request.method == "DELETE":
                self.services.get(service, {}).pop((params["ip"], int(params["port"])), None)
            else:
                self.put(service, dict(params), json.loads(params["metadata"]))
            return shaped("ok")

        async def list_(request):
            if not self._may(request):
                return JSONResponse({"status": 403, "message": "token expired!"}, 403)
            service = _grouped(request.query_params)
            hosts = [held.shown(service) for held in self._held(service).values()]
            return shaped(hosts if "v3" in path else {"name": service, "hosts": hosts})

        return [
            Route(path, change, methods=["POST", "DELETE"]),
            Route(f"{path}/list", list_),
            Route(f"{path}/beat", self._beat, methods=["PUT"]),
        ]

    def _may(self, request):
        return not self.password or request.query_params.get("accessToken") in self.tokens

    def _held(self, service):
        held = self.services.get(service, {})
        for address in [a for a, each in held.items() if not each.lasts("ip.delete.timeout", 3e4)]:
            del held[address]
        return held

    def _beat(self, request):
        params = request.query_params
        # Version 2 knows no group beside the name; version 3 none in it.
        is_v3 = "v3" in request.url.path
        service = _grouped(params) if is_v3 else params["serviceName"]
        held = self._held(service).get((params["ip"], int(params["port"])))
        if held is None:
            code = 21003 if is_v3 else 20404
            return JSONResponse({"code": code, "message": "not found", "data": None})
        held.beaten_at = time.monotonic()
        return JSONResponse({"code": 0 if is_v3 else 10200, "data": "ok"})

    async def _names(self, request):
        group = request.query_params["groupName"]
        names = [name.partition("@@")[2] for name in self.services if name.startswith(f"{group}@@")]
        page, size = int(request.query_params["pageNo"]), int(request.query_params["pageSize"])
        found = names[(page - 1) * size : page * size]
        if "v1" in request.url.path:
            return JSONResponse({"count": len(names), "doms": found})
        return JSONResponse({"code": 0, "data": {"count": len(names), "services": found}})

    async def _login(self, request):
        body = (await request.body()).decode()
        if self.password is not None and f"password={self.password}" not in body:
            return JSONResponse({"message": "unknown user!"}, 403)
        self.logins += 1
        self.tokens.add(f"token-{self.logins}")
        return JSONResponse({"accessToken": f"token-{self.logins}", "tokenTtl": 18000})


def _grouped(params):
    return f"{params['groupName']}@@{params['serviceName']}"
