#!/bin/sh
# The instance key and the user's key are root's alone, and the table is there.
set -eu
for file in instance.pem openrouter openrouter.cred; do
  path=/var/lib/clawdy/state/keys/$file
  [ -e "$path" ] || [ "$file" = instance.pem ] || continue
  [ "$(stat -c '%u:%g %a' "$path")" = '0:0 600' ] || {
    echo "$path isn't root's alone" >&2
    exit 1
  }
done
[ "$(getent passwd clawdy-keys | cut -d: -f3,7)" = '7862:/usr/sbin/nologin' ] || {
  echo "the account clawdy-keys is $(getent passwd clawdy-keys)" >&2
  exit 1
}
case $(nft list chain inet clawdy_keys output 2>/dev/null) in
  *'tcp dport 7862 '*reject*'skuid 7862 jump keys'*) ;;
  *)
    echo 'the table inet clawdy_keys is missing or lets others ask the key proxy' >&2
    exit 1
    ;;
esac
