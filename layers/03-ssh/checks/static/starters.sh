#!/bin/sh
# Nothing but ssh.service starts an sshd.
set -eu
for unit in ssh.socket sshd.socket sshd-vsock.socket sshd-unix-local.socket sshd-keygen.service; do
  if [ "$(systemctl show -P LoadState "$unit")" = loaded ]; then
    echo "$unit can start sshd or make keys for it" >&2
    exit 1
  fi
done
