#!/bin/sh
# Makes the account, and takes sudo's door away from anyone the base or its build let in.
set -eu
systemd-sysusers /usr/lib/sysusers.d/08-clawdy.conf

# The overlay's sudoers doesn't include this folder; what is in it would only mislead.
find /etc/sudoers.d -mindepth 1 -maxdepth 1 ! -name README -delete
