#!/bin/sh
# What sshd itself makes of its configuration.
set -eu
got=$(/usr/sbin/sshd -T 2>&1) || {
  echo "sshd refuses its configuration: $(printf '%s\n' "$got" | tail -n 1)" >&2
  exit 1
}
port=$(cat /var/lib/clawdy/state/ssh/port)
for line in "port $port" \
  'hostkey /var/lib/clawdy/state/ssh/ssh_host_ed25519_key' \
  'authenticationmethods publickey' 'passwordauthentication no' 'kbdinteractiveauthentication no' \
  'permitrootlogin no' 'allowusers clawdy' 'authorizedkeysfile /run/clawdy/ssh/%u.keys' 'authorizedkeyscommand none' \
  'disableforwarding yes' 'permituserrc no' 'permituserenvironment no' 'permittunnel no'; do
  printf '%s\n' "$got" | grep -qixF "$line" || {
    echo "sshd's configuration lacks: $line" >&2
    exit 1
  }
done
if [ "$(printf '%s\n' "$got" | grep -c '^port ')" -ne 1 ] || [ "$(printf '%s\n' "$got" | grep -c '^allowusers ')" -ne 1 ]; then
  echo 'sshd has a second port or lets in a second user' >&2
  exit 1
fi
