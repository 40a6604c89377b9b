#!/bin/sh
# A hook of mmdebstrap: asks apt which packages, in which versions, an installation would hold, and installs nothing.
# CLAWDY_PACKAGES: names; CLAWDY_RESOLVED: the file that gets one `name version` a line.
set -eu
# shellcheck disable=SC2086 # a list of package names
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get install --simulate --no-install-recommends \
  '?essential' apt $CLAWDY_PACKAGES |
  sed -n 's/^Inst \([^ ]*\) .*(\([^ ]*\) .*/\1 \2/p' | sort >"$CLAWDY_RESOLVED"
