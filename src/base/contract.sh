#!/bin/sh
# A hook of mmdebstrap: what makes a bootstrapped tree keep the contract of a vendor's cloud image.
# $1: the tree.
set -eu
root=$1

# The serial console is where clouds let one watch a boot; the screen gets the messages too.
mkdir -p "$root/etc/default/grub.d"
cat >"$root/etc/default/grub.d/10-cloud.cfg" <<'EOF'
GRUB_TIMEOUT=0
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --speed=115200"
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0"
GRUB_DISABLE_OS_PROBER=true
EOF

# Root and boot only: everything else is an image's own business.
cat >"$root/etc/fstab" <<'EOF'
LABEL=clawdy-root / ext4 rw,errors=remount-ro 0 1
LABEL=CLAWDY-EFI /boot/efi vfat umask=0077 0 2
EOF
mkdir -p "$root/boot/efi"

# netplan is rendered by networkd; cloud-init writes the plan.
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
rm -f "$root/etc/hostname"
# /run is a tmpfs at boot; what packages left below it would only be covered.
rm -rf "$root"/run/*
: >"$root/etc/machine-id"

# Made anew at each boot that lacks them, as in a vendor's image; a base must not hold any.
rm -f "$root"/etc/ssh/ssh_host_*
rm -f "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
