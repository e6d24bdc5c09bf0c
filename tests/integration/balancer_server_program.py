"""A server that answers with its own port, over HTTP by aiohttp or over gRPC, for the Balancer.

python balancer_server_program.py aiohttp|grpc PORT

HTTP: GET /who and POST /who answer the port; /status/503 that status.
gRPC: /orders.Orders/Who answers the port, /orders.Orders/Wrong the code INVALID_ARGUMENT;
messages are plain bytes.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
from aiohttp import web


def http(port):
    async def who(request):
        await asyncio.sleep(0.001)
        return web.Response(text=str(port))

    async def status(request):
        return web.Response(status=int(request.match_info["code"]), text=str(port))

    app = web.Application()
    app.add_routes([web.get("/who", who), web.post("/who", who), web.get("/status/{code}", status)])
    web.run_app(app, host="127.0.0.1", port=port, print=None)


async def over_grpc(port):
    async def who(request, context):
        await asyncio.sleep(0.001)
        return str(port).encode()

    async def wrong(request, context):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such order")

    methods = {
        name: grpc.unary_unary_rpc_method_handler(function)
        for name, function in {"Who": who, "Wrong": wrong}.items()
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("orders.Orders", methods)]
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    kind, number = sys.argv[1], int(sys.argv[2])
    if kind == "aiohttp":
        http(number)
    else:
        asyncio.run(over_grpc(number))
