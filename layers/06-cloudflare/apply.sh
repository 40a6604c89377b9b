#!/bin/sh
# Makes the connector's account.
set -eu
systemd-sysusers /usr/lib/sysusers.d/06-clawdy-tunnel.conf
