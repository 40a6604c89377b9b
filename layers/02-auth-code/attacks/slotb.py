"""A second code for attacks from inside, where nobody has the first: slot B of the running gate takes it, as in a rotation.
Not a script: import it with this folder in sys.path."""

import hashlib
import secrets
import socket

ADMIN = "/run/clawdy-gate/admin.sock"
LOCAL = "/run/clawdy-gate/local.sock"


def mint():
    """A code that the gate takes until it reloads."""
    code = secrets.token_urlsafe(32)
    digest = hashlib.sha256(code.encode()).hexdigest().upper()
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(ADMIN)
        admin.sendall(f"experimental-mode on; set var proc.code_b expr str({digest})\n".encode())
        said = b""
        while more := admin.recv(4096):
            said += more
    # It speaks only of what it didn't do.
    if said.strip():
        raise SystemExit(f"the gate's administration says {said.decode().strip()}")
    return code


def local():
    """A connection that only root may make; what asks there is judged like everyone, but never throttled."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(LOCAL)
    return connection
