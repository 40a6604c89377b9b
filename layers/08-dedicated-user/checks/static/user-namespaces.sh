#!/bin/sh
# Where the kernel can keep user namespaces from the agent, it does. A container has its host's settings.
set -eu
[ -w /sys/kernel ] || exit 0
for setting in unprivileged_userns_clone=0 apparmor_restrict_unprivileged_userns=1; do
  file=/proc/sys/kernel/${setting%=*}
  [ -r "$file" ] || continue
  [ "$(cat "$file")" = "${setting#*=}" ] || {
    echo "kernel.${setting%=*} is $(cat "$file")" >&2
    exit 1
  }
done
