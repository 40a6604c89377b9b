#!/bin/sh
# The connector's account, program and token are nobody else's to change, and the table that holds it is there.
set -eu
[ "$(getent passwd clawdy-tunnel | cut -d: -f3,7)" = '7864:/usr/sbin/nologin' ] || {
  echo "the account clawdy-tunnel is $(getent passwd clawdy-tunnel)" >&2
  exit 1
}
# alone PATH OWNER-AND-MODE
alone() {
  if [ -e "$1" ] && [ "$(stat -c '%u:%g %a' "$1")" != "$2" ]; then
    echo "$1 isn't $2" >&2
    exit 1
  fi
}
alone /usr/lib/clawdy/tunnel/cloudflared '0:0 755'
alone /var/lib/clawdy/state/tunnel/token.cred '0:0 600'
case $(nft list chain inet clawdy_tunnel output 2>/dev/null) in
  *'tcp dport 7864 '*reject*'skuid 7864 jump connector'*) ;;
  *)
    echo 'the table inet clawdy_tunnel is missing or lets the connector roam' >&2
    exit 1
    ;;
esac
