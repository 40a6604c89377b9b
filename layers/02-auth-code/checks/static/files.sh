#!/bin/sh
# Keys and the code's digest are root's alone; the distribution's own HAProxy isn't started.
set -eu
for file in gate/origin.pem sealed/code.sha256 sealed/codes.json; do
  path=/var/lib/clawdy/state/$file
  [ -e "$path" ] || continue
  [ "$(stat -c '%u:%g %a' "$path")" = '0:0 600' ] || {
    echo "$path isn't root's alone" >&2
    exit 1
  }
done
[ -e /var/lib/clawdy/state/gate/origin.pem ] || {
  echo 'the gate has no key' >&2
  exit 1
}
[ "$(systemctl show -P LoadState haproxy.service)" = masked ] || {
  echo 'haproxy.service could start beside the gate' >&2
  exit 1
}
[ "$(getent passwd clawdy-gate | cut -d: -f3,7)" = '7861:/usr/sbin/nologin' ] || {
  echo "the account clawdy-gate is $(getent passwd clawdy-gate)" >&2
  exit 1
}
