"""The world around the SDK: servers, network, registry and clients, as models in virtual time.

These models do not balance, retry, eject or discover: the shipping SDK does that. `world` holds one
run together; `servers`, `registry`, `network` and `places` are what faults act on; `clients` and
`core_clients` send requests at the depth `core`, `http_clients` with `model_transport` at `client`
and with `wire` at `wire`; `probes` are the clients' active checks.
"""
