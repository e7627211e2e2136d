"""The protocol between a client and a server that asks for work, without any I/O."""
