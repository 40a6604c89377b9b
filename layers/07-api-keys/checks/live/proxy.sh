#!/usr/bin/python3 -I
"""The key proxy runs, refuses what isn't allow-listed, and its map is nobody else's."""

import http.client
import os
import sys

# clawdy-keys, by sysusers.d
UID = 7862


def status(method, path):
    connection = http.client.HTTPConnection("127.0.0.1", 7862, timeout=10)
    connection.request(method, path)
    return connection.getresponse().status


try:
    answers = [status("GET", "/api/v1/keys"), status("DELETE", "/api/v1/models")]
except OSError as error:
    sys.exit(f"the key proxy does not answer: {type(error).__name__}")
if answers != [403, 403]:
    sys.exit(f"the key proxy answers {answers} where it should refuse")
held = os.stat("/run/clawdy/keys/key.map")
folder = os.stat("/run/clawdy/keys")
for of, modes in ((folder, 0o750), (held, 0o440)):
    if (of.st_uid, of.st_gid, of.st_mode & 0o777) != (0, UID, modes):
        sys.exit("others than the key proxy could read its key, or it could write it")
