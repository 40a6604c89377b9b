#!/bin/sh
# Host key and login keys are root's and in nobody else's hands.
set -eu
key=/var/lib/clawdy/state/ssh/ssh_host_ed25519_key
[ "$(stat -c '%u:%g %a' "$key")" = '0:0 600' ] || {
  echo "$key isn't root's alone" >&2
  exit 1
}
for file in /run/clawdy /run/clawdy/ssh /run/clawdy/ssh/clawdy.keys /run/clawdy/ssh/clawdy-ops.keys /run/clawdy/sshd.d; do
  if [ -L "$file" ] || [ "$(stat -c %u "$file")" != 0 ] || [ -n "$(find "$file" -maxdepth 0 -perm /022)" ]; then
    echo "$file can be written by others than root" >&2
    exit 1
  fi
done
if ls /etc/ssh/ssh_host_* >/dev/null 2>&1; then
  echo 'there are host keys in /etc/ssh' >&2
  exit 1
fi
