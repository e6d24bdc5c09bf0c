"""Trimtab: client-side load balancing for httpx."""
