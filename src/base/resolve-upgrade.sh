#!/bin/sh
# A hook of mmdebstrap: asks apt what an upgrade of a finished image and an installation of further packages would
# change in it, and changes nothing. src/bake/vendor-prepare.ts has the guest install exactly these versions.
# CLAWDY_STATUS: the image's dpkg status; CLAWDY_PACKAGES: names; CLAWDY_RESOLVED: the file that gets `Inst name version`
# and `Remv name` lines.
set -eu
said=$CLAWDY_RESOLVED.said
# Ubuntu hands some updates out in phases, by a machine's id: an image must not depend on whose turn it was.
# shellcheck disable=SC2086 # a list of package names
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get dist-upgrade --simulate --no-install-recommends \
  -o Dir::State::status="$CLAWDY_STATUS" -o APT::Get::Always-Include-Phased-Updates=true $CLAWDY_PACKAGES >"$said"
sed -n -e 's/^Inst \([^ ]*\) \(\[[^]]*\] \)\{0,1\}(\([^ ]*\) .*/Inst \1 \3/p' -e 's/^Remv \([^ ]*\) .*/Remv \1/p' \
  "$said" >"$CLAWDY_RESOLVED"
