#!/usr/bin/python3 -I
"""Stands in for cloudflared in its unit: takes the arguments that the unit gives, the token from its file, has metrics on loopback,
dials Cloudflare's edge (region1.v2.argotunnel.com, port 7844) and tells systemd when it has a connection. Other than the real one it
speaks no QUIC and proves nothing to the edge: each connection carries one stream, in clear. The edge's first line names a service as
a tunnel's configuration does (unix:PATH, tcp:ADDRESS:PORT); a line with `ok`, or what kept it from connecting, goes back."""

import argparse
import base64
import errno
import http.server
import json
import os
import socket
import threading
import time

EDGE = ("region1.v2.argotunnel.com", 7844)

parser = argparse.ArgumentParser()
parser.add_argument("tunnel", choices=["tunnel"])
parser.add_argument("--no-autoupdate", action="store_true", required=True)
parser.add_argument("--metrics", required=True)
parser.add_argument("--management-diagnostics", choices=["false"], required=True)
parser.add_argument("run", choices=["run"])
parser.add_argument("--token-file", required=True)
options = parser.parse_args()
with open(options.token_file, encoding="ascii") as file:
    token = json.loads(base64.b64decode(file.read(), validate=True))


class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        # The real one gives away its memory there (/debug/pprof/heap).
        self.wfile.write(json.dumps(token).encode())

    def log_message(self, *_):
        pass


def serve_metrics():
    host, port = options.metrics.split(":")
    http.server.HTTPServer((host, int(port)), Metrics).serve_forever()


def tell_systemd():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])


def connect(service):
    kind, rest = service.split(":", 1)
    if kind == "unix":
        origin = socket.socket(socket.AF_UNIX)
        origin.settimeout(3)
        origin.connect(rest)
    else:
        host, port = rest.rsplit(":", 1)
        origin = socket.create_connection((host.strip("[]"), int(port)), 3)
    origin.settimeout(None)
    return origin


def copy(source, into):
    try:
        while part := source.recv(65536):
            into.sendall(part)
        into.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def first_line(connection):
    line = b""
    while not line.endswith(b"\n") and (part := connection.recv(1)):
        line += part
    return line.decode().strip()


def carry(edge):
    service = first_line(edge)
    if not service:
        return
    try:
        origin = connect(service)
    except OSError as error:
        word = "timeout" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno, "?")
        edge.sendall(f"{word}\n".encode())
        return
    with origin:
        edge.sendall(b"ok\n")
        back = threading.Thread(target=copy, args=(origin, edge))
        back.start()
        copy(edge, origin)
        back.join()


threading.Thread(target=serve_metrics, daemon=True).start()
told = False
while True:
    try:
        with socket.create_connection(EDGE, 3) as edge:
            edge.settimeout(None)
            if not told:
                tell_systemd()
                told = True
            carry(edge)
    except OSError:
        time.sleep(0.2)
