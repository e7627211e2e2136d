#!/bin/sh
# Run TorchServe until it ends or the container is told to stop; the exit code is 0 only in the second case.
set -eu
: "${TS_LOAD_MODELS:?name the archives in /models to serve, such as TS_LOAD_MODELS=digits.mar}"

# Nobody else may read the archives that TorchServe unpacks there.
mkdir -p -m 700 "$TMPDIR"

stopped=no
trap 'stopped=yes; torchserve --stop --foreground' TERM INT
torchserve --start --foreground --ncs --ts-config /etc/calpow/config.properties --log-config /etc/calpow/log4j2.xml &
wait $! || true
[ "$stopped" = yes ]
