"""Fakes of registries that cannot be had here, each a real HTTP server on loopback.

They do what the documentation says, no more: what is shown against them is that an adapter speaks
as documented and meets the contract, not that the real server agrees.
"""
