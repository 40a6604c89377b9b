#!/bin/sh
# Makes the gate's account.
set -eu
systemd-sysusers /usr/lib/sysusers.d/02-clawdy-gate.conf
