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
# The rest can't be read off the process; it is what systemd started it with.
for want in ProtectSystem=strict PrivateTmp=yes PrivateDevices=yes NoNewPrivileges=yes RestrictNamespaces=yes; do
  got=$(systemctl show -P "${want%=*}" openclaw.service)
  [ "$got" = "${want#*=}" ] || {
    echo "OpenClaw runs with ${want%=*}=$got" >&2
    exit 1
  }
done
case " $(systemctl show -P InaccessiblePaths openclaw.service) " in
  *' /var/lib/clawdy/state '*) ;;
  *)
    echo "OpenClaw could see root's state" >&2
    exit 1
    ;;
esac
for limit in TasksMax MemoryMax; do
  case $(systemctl show -P "$limit" clawdy-agent.slice) in
    '' | *[!0-9]*)
      echo "clawdy-agent.slice has no $limit" >&2
      exit 1
      ;;
  esac
done
for file in /etc/cron.allow /etc/at.allow; do
  [ "$(cat "$file")" = root ] || {
    echo "$file names others than root" >&2
    exit 1
  }
done
# Not by its exit status, which tells nothing here.
if [ -x /usr/bin/sudo ]; then
  case $(LC_ALL=C /usr/bin/sudo -n -l -U clawdy 2>&1) in
    *'not allowed to run sudo'*) ;;
    *)
      echo 'sudo lets clawdy in' >&2
      exit 1
      ;;
  esac
fi
