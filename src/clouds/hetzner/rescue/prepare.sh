#!/bin/sh
# In Hetzner's rescue system: makes sure that /dev/sda is the server's own disk and not in use, and empties it.
# $1: bytes that it has to hold.
set -eu
disk=/dev/sda

fail() {
  echo "$1" >&2
  exit 1
}

[ -b "$disk" ] || fail "the rescue system has no $disk"
root=$(awk '$2 == "/" { device = $1 } END { print device }' /proc/mounts)
case $root in
  /dev/sd* | /dev/vd* | /dev/nvme*) fail "the server has booted its own disk ($root), not the rescue system" ;;
esac
size=$(blockdev --getsize64 "$disk")
[ "$size" -ge "$1" ] || fail "$disk has $size bytes, the image needs $1"

# What the vendor's image left would show wherever ours is zero, because zeros aren't sent. -f: it has signatures.
blkdiscard -f "$disk"
