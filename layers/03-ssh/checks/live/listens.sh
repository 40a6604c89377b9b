#!/bin/sh
# sshd listens on its port, and no sshd on another.
set -eu
port=$(cat /var/lib/clawdy/state/ssh/port)
ports=$(ss -Hltnp | awk '/"sshd"/ { sub(/.*:/, "", $4); print $4 }' | sort -u)
[ "$ports" = "$port" ] || {
  echo "sshd listens on ${ports:-no port}, not on $port" >&2
  exit 1
}
