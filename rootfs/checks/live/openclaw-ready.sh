#!/usr/bin/python3 -I
"""OpenClaw answers on its own readiness path. Under emulation a first start took three minutes, and after a power
cut it may have to wait five for a lease of its own to run out; on a slow day fourteen minutes were not enough (seen)."""

import subprocess
import sys
import time
import urllib.request

DEADLINE = time.monotonic() + 1680
why = "no answer"
while time.monotonic() < DEADLINE:
    try:
        with urllib.request.urlopen("http://127.0.0.1:7860/readyz", timeout=10) as answer:
            if answer.status == 200:
                sys.exit(0)
            why = f"status {answer.status}"
    except OSError as error:
        why = type(error).__name__
    state = subprocess.run(["systemctl", "is-active", "openclaw.service"], capture_output=True, text=True).stdout.strip()
    if state in ("inactive", "failed"):
        why = f"openclaw.service is {state}"
        break
    time.sleep(2)
print(f"OpenClaw isn't ready: {why}", file=sys.stderr)
sys.exit(1)
