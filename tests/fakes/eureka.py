"""A fake of a Eureka server: applications, leases, the path of Spring Cloud."""

from __future__ import annotations

import time

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fakes.serving import Serving


class FakeEureka(Serving):
    """Holds instances by application and id; one whose lease has lapsed is dropped.

    Attributes:
        instances: what is registered, by (application, id).
    """

    def __init__(self):
        routes = [
            Route("/eureka/apps", self._all),
            Route("/eureka/apps/{app}", self._application, methods=["GET", "POST"]),
            Route("/eureka/apps/{app}/{id}", self._instance, methods=["PUT", "DELETE"]),
        ]
        super().__init__(Starlette(routes=routes))
        self.instances, self._renewed_at = {}, {}

    def put(self, app, instance):
        key = app, instance["instanceId"]
        self.instances[key] = instance
        self._renewed_at[key] = time.monotonic()

    def clear(self):
        self.instances.clear()

    def _lapse(self):
        for key, instance in list(self.instances.items()):
            lease_s = instance.get("leaseInfo", {}).get("durationInSecs", 90)
            if time.monotonic() - self._renewed_at[key] > lease_s:
                del self.instances[key]

    def _of(self, app):
        self._lapse()
        return [instance for (name, _), instance in self.instances.items() if name == app]

    async def _all(self, request):
        names = sorted({name for name, _ in self.instances})
        found = [{"name": name, "instance": self._of(name)} for name in names]
        return JSONResponse({"applications": {"application": found}})

    async def _application(self, request):
        app = request.path_params["app"].upper()
        if request.method == "POST":
            instance = (await request.json())["instance"]
            if instance["app"] != app or not (instance["hostName"] and instance["ipAddr"]):
                return JSONResponse({"error": "mismatched or missing"}, 400)
            self.put(app, instance)
            return Response(status_code=204)
        found = self._of(app)
        if not found:
            return JSONResponse({"status": 404, "error": "Not Found"}, 404)
        return JSONResponse({"application": {"name": app, "instance": found}})

    async def _instance(self, request):
        self._lapse()
        key = request.path_params["app"].upper(), request.path_params["id"]
        if key not in self.instances:
            return Response(status_code=404)
        if request.method == "DELETE":
            del self.instances[key]
        else:
            self._renewed_at[key] = time.monotonic()
        return Response(status_code=200)
