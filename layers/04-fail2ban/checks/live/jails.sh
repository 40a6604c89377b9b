#!/usr/bin/python3 -I
"""fail2ban runs both jails, with bans that grow, and judges by the units' own log lines."""

import subprocess
import sys
import time


def ask(*words):
    done = subprocess.run(["fail2ban-client", *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


# It starts beside everything else; a minute is long even under emulation.
deadline = time.monotonic() + 120
while "pong" not in ask("ping"):
    if time.monotonic() > deadline:
        sys.exit("fail2ban does not answer")
    time.sleep(2)
jails = {word.strip() for word in ask("status").rsplit("Jail list:", 1)[-1].split(",")}
if jails != {"sshd", "clawdy-gate"}:
    sys.exit(f"fail2ban's jails are {', '.join(sorted(jails)) or 'none'}")
for jail, unit in (("sshd", "ssh.service"), ("clawdy-gate", "clawdy-gate.service")):
    if f"_SYSTEMD_UNIT={unit} " not in ask("get", jail, "journalmatch"):
        sys.exit(f"jail {jail} doesn't go by the lines of {unit}")
    if ask("get", jail, "bantime.increment").strip() != "True":
        sys.exit(f"bans of jail {jail} don't grow")
