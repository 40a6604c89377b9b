#!/bin/sh
# Whatever listens on 7860 does so on loopback addresses.
set -eu
listeners=$(ss -Hltn 'sport = :7860' | awk '{ print $4 }')
if [ -z "$listeners" ]; then
  echo 'nothing listens on port 7860' >&2
  exit 1
fi
for address in $listeners; do
  case $address in
    # All of 127/8: another program of the agent's there harms nobody.
    127.*:7860 | '[::1]:7860') ;;
    *)
      echo "OpenClaw listens on $address" >&2
      exit 1
      ;;
  esac
done
