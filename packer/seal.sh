#!/bin/sh
# The last thing that runs in a baked tree: takes away whatever belongs to this machine or this build, so that two
# instances of the image share nothing. What it promises is checked on the closed disk by src/seal/hygiene.ts.
set -eu

# Identity. An empty machine-id makes systemd mint one at boot (machine-id(5)).
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/hostname
rm -f /etc/ssh/ssh_host_*
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /boot/efi/loader/random-seed
rm -f /etc/iscsi/initiatorname.iscsi /etc/nvme/hostid /etc/nvme/hostnqn
rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem

# The build's way in, and what cloud-init did for it.
rm -rf /root/.ssh /root/.cache /root/.bash_history /root/.wget-hsts
rm -rf /var/lib/cloud /run/cloud-init
rm -f /etc/netplan/50-cloud-init.yaml /etc/network/interfaces.d/50-cloud-init
rm -f /etc/sudoers.d/90-cloud-init-users /etc/ssh/sshd_config.d/50-cloud-init.conf
rm -rf /etc/systemd/network/10-cloud-init-*.network

# What packages' services, started by this boot, made for themselves; ours keep theirs in the state, or in memory.
rm -f /var/lib/fail2ban/fail2ban.sqlite3 /var/lib/haproxy/dev/log

# Traces.
rm -f /etc/.updated /var/.updated
find /usr/share/netplan -name __pycache__ -prune -exec rm -rf {} +
rm -rf /var/lib/apt/lists /var/cache/apt/archives /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old
mkdir -p /var/lib/apt/lists/partial /var/cache/apt/archives/partial
rm -rf /var/log/journal /var/lib/systemd/coredump /var/lib/systemd/timers /var/lib/private/systemd
rm -rf /var/lib/systemd/timesync /var/lib/systemd/rfkill /var/lib/systemd/catalog/database /var/lib/systemd/linger
rm -rf /var/backups /var/cache/ldconfig /var/cache/man
mkdir -p /var/backups
# Hidden ones too: where /tmp is on the disk (Debian 12), systemd-tmpfiles makes .X11-unix and its like.
find /tmp /var/tmp -mindepth 1 -delete
find /var/log -type f -delete
