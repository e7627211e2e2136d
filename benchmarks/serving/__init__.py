"""A TorchServe under load: answers a second, a flood, malformed requests, memory, and what prepaying saves."""
