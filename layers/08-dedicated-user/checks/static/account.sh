#!/bin/sh
# The account is what the image says it is, and no other account has a shell.
set -eu
want='clawdy:x:7860:7860:OpenClaw:/var/lib/clawdy/home:/usr/lib/clawdy/session/shell'
[ "$(getent passwd clawdy)" = "$want" ] || {
  echo "the account clawdy is $(getent passwd clawdy)" >&2
  exit 1
}
[ "$(id -G clawdy)" = 7860 ] || {
  echo "clawdy is in further groups: $(id -Gn clawdy)" >&2
  exit 1
}
others=$(getent passwd | awk -F: '$1 != "root" && $1 != "clawdy" && $1 != "sync" && !($1 == "clawdy-ops" && $7 == "/usr/lib/clawdy/ops/relay") && $7 !~ /(nologin|false)$/ { print $1 }')
if [ -n "$others" ]; then
  echo "further accounts with a shell: $others" >&2
  exit 1
fi
home=/var/lib/clawdy/home
# Its mode is the agent's to change, and no reason to shut the owner out: each boot sets it back (identity.d).
if [ -L "$home" ] || [ "$(stat -c '%u:%g' "$home")" != '7860:7860' ]; then
  echo "$home isn't clawdy's" >&2
  exit 1
fi
