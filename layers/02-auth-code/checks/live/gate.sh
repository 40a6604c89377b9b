#!/usr/bin/python3 -I
"""The gate is where it should be, or shut for a reason that it gave: it listens on 443 and nowhere else, refuses who has
no client certificate, and answers 401 to whoever has no code, while OpenClaw behind it is up."""

import http.client
import os
import socket
import ssl
import subprocess
import sys

SHUT = "/run/clawdy/gate.shut"
LOCAL = "/run/clawdy-gate/local.sock"


def active():
    command = ["systemctl", "is-active", "--quiet", "clawdy-gate.service"]
    return subprocess.run(command, check=False).returncode == 0


def status_without_code():
    """By the socket that only root may open; TLS is judged apart."""
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(10)
    connection.sock.connect(LOCAL)
    connection.request("GET", "/")
    return connection.getresponse().status


def lets_in_without_certificate():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", 443), timeout=10) as raw:
            with context.wrap_socket(raw) as tls:
                # TLS 1.3: the refusal comes with the first read.
                tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return bool(tls.recv(1))
    except (ssl.SSLError, ConnectionError, TimeoutError):
        return False


if os.path.exists(SHUT):
    if active():
        sys.exit("the gate runs although this instance keeps 443 shut")
    sys.exit(0)
if not active():
    sys.exit("clawdy-gate.service does not run")
status = status_without_code()
if status != 401:
    sys.exit(f"the gate answers {status} to a request without the code")
if lets_in_without_certificate():
    sys.exit("the gate talks to whoever has no client certificate")
