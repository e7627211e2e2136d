#!/bin/sh
# Startup probe: exits with 0 if the gate answers the one payload that the probe key is for (docs/deploy.md, "Probes").
# The first argument is the model's URL, the second the folder of the payload. Without a key, there is nothing to ask.
set -eu
[ -n "${CALPOW_KEY:-}" ] || exit 0
exec calpow predict --max-seconds 20 "$1" "$2"/* >/dev/null
