"""What the exit code of `calpow` tells a script."""

REFUSED = 1
FAILED = 2
INTERRUPTED = 130  # as a shell tells SIGINT
