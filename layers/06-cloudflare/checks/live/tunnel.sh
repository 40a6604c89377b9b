#!/bin/sh
# In mode tunnel nobody but the connector gets to the gate's socket. That the connector has Cloudflare isn't for this box to prove.
set -eu
[ "$(cat /run/clawdy/gate/mode 2>/dev/null || :)" = tunnel ] || exit 0
[ ! -e /run/clawdy/gate.shut ] || exit 0
found=$(stat -c '%U:%G %a' /run/clawdy-tunnel /run/clawdy-tunnel/gate.sock | paste -sd' ')
[ "$found" = 'clawdy-gate:clawdy-tunnel 2750 clawdy-gate:clawdy-tunnel 660' ] || {
  echo "the tunnel's socket is open to others, or isn't there: $found" >&2
  exit 1
}
[ ! -e /run/clawdy/ports.d/02-auth-code ] || {
  echo 'mode tunnel asks the firewall for a port' >&2
  exit 1
}
members=$(getent group clawdy-tunnel | cut -d: -f4)
[ -z "$members" ] || {
  echo "further accounts are in the connector's group: $members" >&2
  exit 1
}
