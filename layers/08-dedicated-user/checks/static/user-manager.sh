#!/bin/sh
# clawdy has no service manager of its own, where it could keep things running beyond its slice.
set -eu
[ "$(systemctl show -P LoadState user@7860.service)" = masked ] || {
  echo 'user@7860.service is not masked' >&2
  exit 1
}
