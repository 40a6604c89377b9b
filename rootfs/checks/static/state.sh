#!/bin/sh
# Root's state is root's alone, and where there are disks it is on its own partition.
set -eu
state=/var/lib/clawdy/state
if [ -L "$state" ] || [ "$(stat -c '%u:%g %a' "$state")" != '0:0 700' ]; then
  echo "$state isn't a folder of root's with mode 0700" >&2
  exit 1
fi
if [ -w /sys/kernel ] && ! findmnt -nro OPTIONS --mountpoint /var/lib/clawdy | grep -q 'nosuid.*nodev\|nodev.*nosuid'; then
  echo '/var/lib/clawdy is not the state partition, or is mounted without nosuid and nodev' >&2
  exit 1
fi
