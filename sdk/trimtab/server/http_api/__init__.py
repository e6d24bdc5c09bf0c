"""The HTTP side: thin handlers that read a request, ask the state, write Consul's answer."""
