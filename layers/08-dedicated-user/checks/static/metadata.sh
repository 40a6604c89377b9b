#!/bin/sh
# The metadata service is root's: rules, then an attempt that no network is needed for.
set -eu
rules=$(nft list table inet clawdy_metadata 2>&1) || {
  echo 'the table inet clawdy_metadata is missing' >&2
  exit 1
}
for rule in 'ip daddr 169.254.169.254 jump root' 'ip6 daddr fd00:ec2::254 jump root' 'meta skuid 0 accept' 'reject with tcp reset'; do
  case $rules in
    *"$rule"*) ;;
    *)
      echo "inet clawdy_metadata lacks: $rule" >&2
      exit 1
      ;;
  esac
done
