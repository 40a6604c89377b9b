#!/bin/sh
# The first of a vendor base's two Packer runs (src/bake/vendor-prepare.ts): takes the place of apply.sh in the payload.
# Brings the vendor's image to what a bootstrapped base is when it is prepared: packages, runtime, no layer.
#
#   prepare.sh PAYLOAD   install: one name=version a line; sources.list, archive.gpg: the archive these were found in
set -eu
payload=$1

# The partition was given its size outside (src/bake/vendor-disk.ts).
resize2fs "$(findmnt -no SOURCE /)"

# What is installed here must not start here: a daemon's first start makes keys and ids (invoke-rc.d(8)).
[ ! -e /usr/sbin/policy-rc.d ] || mv /usr/sbin/policy-rc.d /usr/sbin/policy-rc.d.vendor
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 0755 /usr/sbin/policy-rc.d

# The archive that the plan asked and no other, else a version could be one that nobody planned.
set -- -o Dir::Etc::SourceList="$payload/sources.list" -o Dir::Etc::SourceParts=/dev/null \
  -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o APT::Get::Always-Include-Phased-Updates=true
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
if [ -s "$payload/install" ]; then
  # For whoever watches: a bake shows the console's last line.
  echo "clawdy-prepare: $(wc -l <"$payload/install") packages" >/dev/console
  apt-get "$@" update -q
  xargs apt-get "$@" install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold \
    <"$payload/install"
fi

rm /usr/sbin/policy-rc.d
[ ! -e /usr/sbin/policy-rc.d.vendor ] || mv /usr/sbin/policy-rc.d.vendor /usr/sbin/policy-rc.d

# The runtime is attached as a disk that is a tar archive from its first byte on: no copy over an emulated network.
echo 'clawdy-prepare: runtime' >/dev/console
tar -C / --numeric-owner -xpf /dev/disk/by-id/virtio-runtime
