#!/usr/bin/python3 -I
"""sshd listens on its port and on no other. Judged by what nobody but root can make: sockets of uid 0 that are open in
a process of ssh.service. Any uid may call its program sshd, and must not get SSH stopped by that."""

import os
import subprocess
import sys


def show(name):
    return subprocess.run(["systemctl", "show", "-P", name, "ssh.service"], capture_output=True, text=True, check=True).stdout.strip()


def listening():
    """Root's listening TCP sockets, by inode: proc(5), /proc/net/tcp."""
    ports = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):
            continue
        with open(table, encoding="ascii") as file:
            for fields in map(str.split, list(file)[1:]):
                if fields[3] == "0A" and fields[7] == "0":
                    ports[f"socket:[{fields[9]}]"] = int(fields[1].rsplit(":", 1)[1], 16)
    return ports


def members(cgroup):
    """The processes of a cgroup and of those below it, by cgroups(7), /proc/PID/cgroup: alike in both versions."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
                paths = [line.rstrip("\n").split(":", 2)[2] for line in file]
        except OSError:  # ended
            continue
        if any(path == cgroup or path.startswith(f"{cgroup}/") for path in paths):
            yield pid


def opened(pid):
    try:
        return {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    except OSError:  # a connection that has just ended
        return set()


with open("/var/lib/clawdy/state/ssh/port", encoding="ascii") as file:
    port = int(file.read())
main = show("MainPID")
cgroup = show("ControlGroup")
if main == "0" or not cgroup:
    sys.exit("sshd does not run")
known = listening()
own = {known[name] for name in opened(main) & known.keys()}
all_ = {known[name] for pid in members(cgroup) for name in opened(pid) & known.keys()}
if own != {port} or all_ != {port}:
    sys.exit(f"sshd listens on {', '.join(map(str, sorted(own | all_))) or 'no port'}, not on {port}")
