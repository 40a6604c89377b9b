#!/bin/sh
# What sshd itself makes of its configuration.
set -eu
# Up to Debian 12 and Ubuntu 24.04 only ssh.service makes this folder, and sshd -T wants it too.
mkdir -p /run/sshd
got=$(/usr/sbin/sshd -T 2>&1) || {
  echo "sshd refuses its configuration: $(printf '%s\n' "$got" | tail -n 1)" >&2
  exit 1
}
port=$(cat /var/lib/clawdy/state/ssh/port)
for line in "port $port" \
  'hostkey /var/lib/clawdy/state/ssh/ssh_host_ed25519_key' \
  'authenticationmethods publickey' 'passwordauthentication no' 'kbdinteractiveauthentication no' \
  'permitrootlogin no' 'allowusers clawdy' 'allowusers clawdy-ops' 'authorizedkeysfile /run/clawdy/ssh/%u.keys' 'authorizedkeyscommand none' \
  'disableforwarding yes' 'permituserrc no' 'permituserenvironment no' 'permittunnel no' \
  'hostbasedauthentication no' 'trustedusercakeys none' 'maxauthtries 3' 'requiredrsasize 2048' \
  'ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com' \
  'macs hmac-sha2-512-etm@openssh.com,hmac-sha2-256-etm@openssh.com'; do
  printf '%s\n' "$got" | grep -qixF "$line" || {
    echo "sshd's configuration lacks: $line" >&2
    exit 1
  }
done
if [ "$(printf '%s\n' "$got" | grep -c '^port ')" -ne 1 ] || [ "$(printf '%s\n' "$got" | grep -c '^allowusers ')" -ne 2 ]; then
  echo 'sshd has a second port or lets in a third user' >&2
  exit 1
fi
# What is left after the exclusions depends on the version; each must rest on Curve25519.
kex=$(printf '%s\n' "$got" | sed -n 's/^kexalgorithms //p')
if [ -z "$kex" ] || printf '%s\n' "$kex" | tr , '\n' | grep -Evq '^(curve25519-|sntrup761x25519-|mlkem768x25519-)'; then
  echo "sshd takes other key exchanges than Curve25519's: ${kex:-none}" >&2
  exit 1
fi
# What holds for the operators' account alone.
operators=$(/usr/sbin/sshd -T -C user=clawdy-ops,host=localhost,addr=127.0.0.1)
for line in 'forcecommand /usr/lib/clawdy/ops/relay' 'permittty no' 'disableforwarding yes' 'authenticationmethods publickey'; do
  printf '%s\n' "$operators" | grep -qixF "$line" || {
    echo "for clawdy-ops sshd's configuration lacks: $line" >&2
    exit 1
  }
done
