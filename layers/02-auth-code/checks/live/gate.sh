#!/usr/bin/python3 -I
"""The gate is where it should be, or shut for a reason that it gave: it listens on 443 and nowhere else, or on no port in a
mode without a CA, refuses who has no client certificate, answers 401 to whoever has no code, while OpenClaw behind it is up, and compares in constant time."""

import http.client
import os
import pwd
import socket
import ssl
import subprocess
import sys
import time

UID = pwd.getpwnam("clawdy-gate").pw_uid
SHUT = "/run/clawdy/gate.shut"
LOCAL = "/run/clawdy-gate/local.sock"
# The same words as on 443, where only the mode's addresses get as far as TLS.
TLS = "/run/clawdy-gate/tls.sock"
CERTIFICATE = "/var/lib/clawdy/state/gate/origin.crt"
CONFIGURATION = "/run/clawdy/gate/haproxy.cfg"
# Where a mode has none there is no 443 (gate/bind.d/02-auth-code).
CLIENT_CA = "/run/clawdy/gate/client-ca.pem"
# X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h, which Python doesn't name.
NO_CHECK_TIME = 0x200000
# No test from outside can tell a few nanoseconds.
COMPARISONS = [f"acl code_{slot} var(txn.digest),secure_memcmp(proc.code_{slot})" for slot in "ab"]


def active():
    command = ["systemctl", "is-active", "--quiet", "clawdy-gate.service"]
    return subprocess.run(command, check=False).returncode == 0


def listeners():
    """Addresses on which the gate's uid listens; ss -e shows whose a socket is."""
    sockets = subprocess.run(["ss", "-Hltne"], capture_output=True, text=True, check=True).stdout
    return sorted({line.split()[3] for line in sockets.splitlines() if f" uid:{UID} " in line})


def unix(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(path)
    return connection


def status_without_code():
    """By the socket that only root may open; TLS is judged apart."""
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = unix(LOCAL)
    connection.request("GET", "/")
    return connection.getresponse().status


def without_certificate():
    """What becomes of a visitor without one: the alert of RFC 8446, 6.2 (116), or anything else."""
    context = ssl.create_default_context(cafile=CERTIFICATE)
    context.check_hostname = False
    # One that a CA made is known by itself too. That one has ended is its visitors' to mind, not a reason to close the box.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with context.wrap_socket(unix(TLS)) as tls:
        try:
            # TLS 1.3: the refusal comes with the first read. Nothing is sent: the gate would reset the connection over
            # it, and its alert be lost.
            return f"it says {tls.recv(16)}"
        except ssl.SSLError as error:
            return error.reason
        except TimeoutError:
            return "it waits for a request"


def comparisons():
    with open(CONFIGURATION, encoding="utf-8") as file:
        return sorted(line.strip() for line in file if line.split()[:1] == ["acl"] and "proc.code_" in line)


def tried(ask):
    """The selfcheck closes the front door by what is said here: a moment of load mustn't."""
    for left in (2, 1, 0):
        try:
            return ask()
        except OSError as error:
            if not left:
                sys.exit(f"the gate doesn't answer root either: {error}")
            time.sleep(2)


if os.path.exists(SHUT):
    if active():
        sys.exit("the gate runs although this instance keeps 443 shut")
    sys.exit(0)
if not active():
    sys.exit("clawdy-gate.service does not run")
on_443 = os.path.exists(CLIENT_CA)
if listeners() != (["0.0.0.0:443", "[::]:443"] if on_443 else []):
    sys.exit(f"the gate listens on {', '.join(listeners()) or 'nothing'}")
if comparisons() != COMPARISONS:
    sys.exit("the gate doesn't compare each slot's digest by secure_memcmp")
status = tried(status_without_code)
if status != 401:
    sys.exit(f"the gate answers {status} to a request without the code")
came = tried(without_certificate) if on_443 else None
if on_443 and came != "TLSV13_ALERT_CERTIFICATE_REQUIRED":
    sys.exit(f"who has no client certificate isn't refused for that: {came}")
