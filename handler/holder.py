"""Which worker holds a redeemed challenge, and whether it still lives: after a crash its work is given back."""

import os
import socket

import psutil


def this_holder() -> str:
    """A name for this process that no later process of any machine bears: host, pid and start time."""
    return _name(os.getpid())


def is_alive(holder: str) -> bool:
    """Whether the process of that name still runs. Those of other hosts cannot be seen and count as alive."""
    host, pid, _ = holder.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    try:
        return _name(int(pid)) == holder
    except psutil.NoSuchProcess:
        return False


def _name(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{psutil.Process(pid).create_time():.2f}"
