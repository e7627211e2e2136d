"""One request to a server that asks for work, from its first sending to its last reply, without any I/O."""
