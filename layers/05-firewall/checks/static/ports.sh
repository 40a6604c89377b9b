#!/bin/sh
# Chain and set open what ports.d names and nothing else, and no rule beside it opens anything.
set -eu
want=$(cat /run/clawdy/ports.d/* 2>/dev/null | sort || :)
for family in '' 6; do
  rules=$("ip${family}tables" --wait 10 -S)
  got=$(printf '%s\n' "$rules" |
    sed -n 's/^-A clawdy-open -p \(tcp\|udp\) -m \(tcp\|udp\) --dport \([0-9]*\) -m conntrack --ctstate NEW -j ACCEPT$/\1 \3/p' | sort)
  count=$(printf '%s\n' "$rules" | grep -c '^-A clawdy-open ' || :)
  if [ "$got" != "$want" ] || [ "$count" -ne "$(printf '%s' "$want" | grep -c . || :)" ]; then
    echo "ip${family}tables opens other ports than were asked for" >&2
    exit 1
  fi
  if printf '%s\n' "$rules" | grep -q -e "^-A ufw$family-user-input " -e '^-A INPUT .*-j ACCEPT'; then
    echo "ip${family}tables has further rules that let in" >&2
    exit 1
  fi
done
set=$(nft -j list set inet clawdy_firewall ports | jq -r '.nftables[].set.elem // [] | .[].concat | join(" ")' | sort)
if [ "$set" != "$want" ]; then
  echo 'the table inet clawdy_firewall opens other ports than were asked for' >&2
  exit 1
fi
