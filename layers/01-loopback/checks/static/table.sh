#!/bin/sh
# The table is there and its chains hold their rules.
set -eu
input=$(nft list chain inet clawdy_loopback input 2>&1) || {
  echo 'the table inet clawdy_loopback is missing' >&2
  exit 1
}
case $input in
  *'iifname != "lo" tcp dport 7860 '*drop*) ;;
  *)
    echo 'port 7860 is not dropped from outside' >&2
    exit 1
    ;;
esac
case $(nft list chain inet clawdy_loopback output) in
  *'oifname "lo" tcp dport 7860 '*'jump first'*) ;;
  *)
    echo 'local connections to port 7860 are not examined' >&2
    exit 1
    ;;
esac
case $(nft list chain inet clawdy_loopback first) in
  *'reject with tcp reset'*) ;;
  *)
    echo 'local connections to port 7860 are not rejected by default' >&2
    exit 1
    ;;
esac
