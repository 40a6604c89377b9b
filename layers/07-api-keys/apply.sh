#!/bin/sh
# Makes the key proxy's account.
set -eu
systemd-sysusers /usr/lib/sysusers.d/07-clawdy-keys.conf
