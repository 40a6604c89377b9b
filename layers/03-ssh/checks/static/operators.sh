#!/bin/sh
# The operators' account has the one program as its shell, and is in no further group.
set -eu
want='clawdy-ops:x:7863:7863:Clawdy operators:/:/usr/lib/clawdy/ops/relay'
[ "$(getent passwd clawdy-ops)" = "$want" ] || {
  echo "the account clawdy-ops is $(getent passwd clawdy-ops)" >&2
  exit 1
}
[ "$(id -G clawdy-ops)" = 7863 ] || {
  echo "clawdy-ops is in further groups: $(id -Gn clawdy-ops)" >&2
  exit 1
}
[ "$(systemctl show -P LoadState user@7863.service)" = masked ] || {
  echo 'user@7863.service is not masked' >&2
  exit 1
}
