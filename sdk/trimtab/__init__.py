"""Trimtab: client-side load balancing for httpx."""

from trimtab.instance import Instance, Snapshot, Status
from trimtab.pool import Pool
from trimtab.registries import connect

__all__ = ["Instance", "Pool", "Snapshot", "Status", "connect"]
