#!/bin/sh
# Nobody has a password, root included, and root is the only uid 0.
set -eu
open=$(awk -F: '$2 !~ /^[!*]/ { print $1 }' /etc/shadow)
if [ -n "$open" ]; then
  echo "accounts with a password, or without need of one: $(echo "$open" | tr '\n' ' ')" >&2
  exit 1
fi
zero=$(awk -F: '$3 == 0 && $1 != "root" { print $1 }' /etc/passwd)
if [ -n "$zero" ]; then
  echo "accounts with root's uid: $zero" >&2
  exit 1
fi
