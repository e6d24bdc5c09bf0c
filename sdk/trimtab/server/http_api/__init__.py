"""The HTTP endpoints: thin handlers that read a request, ask the state and write Consul's answer.

`agent` and `catalog` hold the handlers, `queries` what all reads have in common, `page` the page
for people at `/`. The routes are in `trimtab.server.app`.
"""
