#!/bin/sh
# OpenClaw's process has the uid, the empty capability sets, the filter and the slice that its unit asks for.
set -eu
pid=$(systemctl show -P MainPID openclaw.service)
status=/proc/$pid/status
if [ "$pid" = 0 ] || [ ! -r "$status" ]; then
  echo 'OpenClaw does not run' >&2
  exit 1
fi
field() {
  sed -n "s/^$1:[[:space:]]*//p" "$status"
}
[ "$(field Uid | cut -f1-4 | tr '\t' ' ')" = '7860 7860 7860 7860' ] || {
  echo 'OpenClaw is not clawdy' >&2
  exit 1
}
for set in CapInh CapPrm CapEff CapBnd CapAmb; do
  [ "$(field $set)" = 0000000000000000 ] || {
    echo "OpenClaw has capabilities ($set)" >&2
    exit 1
  }
done
[ "$(field NoNewPrivs)" = 1 ] || {
  echo 'OpenClaw could gain privileges' >&2
  exit 1
}
[ "$(field Seccomp)" = 2 ] || {
  echo "OpenClaw's system calls are not filtered" >&2
  exit 1
}
grep -q '/clawdy-agent.slice/openclaw.service$' "/proc/$pid/cgroup" || {
  echo 'OpenClaw is outside its slice' >&2
  exit 1
}
