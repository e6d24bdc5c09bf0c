"""A fake of the Kubernetes API server: EndpointSlices, listed and watched."""

from __future__ import annotations

import asyncio
import json

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from fakes.serving import Serving

_LABEL = "kubernetes.io/service-name"
EXPIRED = {
    "type": "ERROR",
    "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"},
}
"""What a watch ends with whose place is forgotten."""


class FakeApiServer(Serving):
    """Holds EndpointSlices, gives every change a version, and tells watchers.

    Attributes:
        slices: what is there, by (namespace, name).
        forgotten: changes up to this version cannot be watched any more.
        asked: parameters and headers of each question so far.
        bookmark_first: send a bookmark at the beginning of each watch.
    """

    def __init__(self, **config):
        path = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        super().__init__(Starlette(routes=[Route(path, self._slices)]), **config)
        self.slices, self.history = {}, []
        self.version = 100
        self.forgotten = 0
        self.asked = []
        self.bookmark_first = False
        self._queues = {}

    def put(self, slice_, namespace="shop"):
        """Add or replace a slice; nothing happens if it is there already."""
        key = namespace, slice_["metadata"]["name"]
        before = self.slices.get(key)
        if before is not None and _content(before) == _content(slice_):
            return
        self._happen(key, "MODIFIED" if before else "ADDED", slice_)
        self.slices[key] = slice_

    def delete(self, name, namespace="shop"):
        slice_ = self.slices.pop((namespace, name), None)
        if slice_ is not None:
            self._happen((namespace, name), "DELETED", slice_)

    def tell(self, event):
        """Send an event of the test's own to all watchers."""
        for queue in self._queues:
            self.loop.call_soon_threadsafe(queue.put_nowait, event)

    def _happen(self, key, kind, slice_):
        self.version += 1
        slice_["metadata"]["resourceVersion"] = str(self.version)
        event = {"type": kind, "object": json.loads(json.dumps(slice_))}
        self.history.append((self.version, key[0], event))
        for queue, (namespace, service) in list(self._queues.items()):
            if namespace == key[0] and service == slice_["metadata"]["labels"][_LABEL]:
                self.loop.call_soon_threadsafe(queue.put_nowait, event)

    async def _slices(self, request):
        namespace, params = request.path_params["namespace"], dict(request.query_params)
        self.asked.append((params, dict(request.headers)))
        service = params.get("labelSelector", "").removeprefix(f"{_LABEL}=")
        if "watch" in params:
            return self._watch(namespace, service, params)
        found = [
            slice_
            for (place, _), slice_ in sorted(self.slices.items())
            if place == namespace and service in {"", slice_["metadata"]["labels"][_LABEL]}
        ]
        kind = "EndpointSliceList"
        if "PartialObjectMetadataList" in request.headers["accept"]:
            kind = "PartialObjectMetadataList"
            found = [{"kind": "PartialObjectMetadata", "metadata": s["metadata"]} for s in found]
        metadata = {"resourceVersion": str(self.version)}
        return JSONResponse({"kind": kind, "metadata": metadata, "items": found})

    def _watch(self, namespace, service, params):
        after = int(params["resourceVersion"])
        if after < self.forgotten:
            return Response(json.dumps(EXPIRED) + "\n")
        queue = asyncio.Queue()
        for version, place, event in self.history:
            label = event["object"]["metadata"]["labels"][_LABEL]
            if version > after and (place, label) == (namespace, service):
                queue.put_nowait(event)
        if self.bookmark_first:
            metadata = {"resourceVersion": str(self.version)}
            queue.put_nowait({"type": "BOOKMARK", "object": {"metadata": metadata}})
        self._queues[queue] = namespace, service
        return StreamingResponse(self._events(queue, int(params["timeoutSeconds"])))

    async def _events(self, queue, wait_s):
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    yield json.dumps(await queue.get()) + "\n"
        except TimeoutError:
            return
        finally:
            del self._queues[queue]


def _content(slice_):
    metadata = {**slice_["metadata"], "resourceVersion": ""}
    return {**slice_, "metadata": metadata}


def endpoint_slice(service, name, *endpoints, kind="IPv4", ports=None):
    """Write a slice as the API server would."""
    ports = [{"name": "http", "protocol": "TCP", "port": 80}] if ports is None else ports
    return {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": name, "labels": {_LABEL: service}},
        "addressType": kind,
        "endpoints": list(endpoints),
        "ports": ports,
    }
