#!/bin/sh
# The table of bans is there and drops.
set -eu
input=$(nft list chain inet clawdy_bans input 2>&1) || {
  echo 'the table inet clawdy_bans is missing' >&2
  exit 1
}
for set in ssh4 ssh6; do
  case $input in
    *"@$set "*drop*) ;;
    *)
      echo "bans of $set are not dropped" >&2
      exit 1
      ;;
  esac
done
