"""The world around the SDK: servers, network, registry and clients, as models in virtual time.

Nothing here balances, retries, ejects or discovers: the SDK does, itself. What is modelled is
what the SDK meets.
"""
