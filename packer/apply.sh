#!/bin/sh
# Applies layers to a root tree in which nothing of them runs yet. The same script serves the Packer guest, the
# container tree and the tests: it knows nothing about where it runs.
#
#   apply.sh PAYLOAD [LAYER...]   PAYLOAD: folder made by src/bake/payload.ts; without LAYER: all, in order
set -eu

payload=$1
shift
# shellcheck disable=SC2046 # one layer a line
[ "$#" -gt 0 ] || set -- $(cat "$payload/order")

# systemctl then edits links only, whether or not a systemd is running (systemctl(1), Environment).
export SYSTEMD_OFFLINE=1 DEBIAN_FRONTEND=noninteractive
umask 022

mkdir -p /usr/lib/clawdy
install -m 0644 "$payload/image.json" /usr/lib/clawdy/image.json

for layer in "$@"; do
  echo "clawdy-apply: $layer"
  dir=$payload/$layer
  # Numeric owners: an overlay may name the agent's uid before the account exists.
  tar -C / --numeric-owner --keep-directory-symlink --no-overwrite-dir -xpf "$dir/overlay.tar"
  if [ -f "$dir/src/apply.sh" ]; then
    (cd "$dir/src" && sh -eu ./apply.sh)
  fi
  while read -r verb unit; do
    systemctl --quiet "$verb" "$unit"
  done <"$dir/units"
done
