#!/bin/sh
# Makes the operators' account.
set -eu
systemd-sysusers /usr/lib/sysusers.d/03-clawdy-ops.conf
