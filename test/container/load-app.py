#!/usr/bin/python3 -I
"""An app of the agent's on loopback, for load through the gate. load-app PORT: /events sends a line every 100 ms, `count` of
them, and ends; an upgrade to websocket gives back every byte; anything else is answered `ok`."""

import base64
import hashlib
import http.server
import sys
import time
import urllib.parse


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("upgrade", "").lower() == "websocket":
            return self.echo()
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/events":
            return self.events(int(urllib.parse.parse_qs(url.query)["count"][0]))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def echo(self):
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "upgrade")
        # RFC 6455, 4.2.2; HAProxy holds both sides to it.
        key = self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_header("sec-websocket-accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while data := self.request.recv(65536):
            self.request.sendall(data)

    def events(self, count):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(count):
            event = f"data: {number}\n\n".encode()
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
            self.wfile.flush()
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), App)
server.daemon_threads = True
server.serve_forever()
