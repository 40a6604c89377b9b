"""What attacks on the gate share: the way in, HTTP/1.1 as raw bytes, and as much of HTTP/2 as they need (RFC 9113, 7541).
Not a script: import it with this folder in sys.path."""

import os
import re
import socket
import ssl

HELD = "/var/tmp/auth-proxy"


def held(name):
    with open(f"{HELD}/{name}", encoding="ascii") as file:
        return file.read().strip()


def connect(protocol="http/1.1"):
    """TLS to the gate with the client certificate."""
    context = ssl.create_default_context(cafile=f"{HELD}/origin.crt")
    context.check_hostname = False
    context.set_alpn_protocols([protocol])
    context.load_cert_chain(f"{HELD}/client.crt", f"{HELD}/client.key")
    raw = socket.create_connection((os.environ["TARGET"], 443), timeout=10)
    connection = context.wrap_socket(raw, server_hostname="localhost")
    if connection.selected_alpn_protocol() != protocol:
        raise SystemExit(f"the gate doesn't speak {protocol}")
    return connection


def drain(connection, seconds):
    """All that comes until the other side ends, or is silent for so long."""
    connection.settimeout(seconds)
    got = b""
    try:
        while more := connection.recv(65536):
            got += more
    except OSError:  # silence, or a reset: what came before counts
        pass
    return got


def read_answer(connection, head_only=False):
    """One HTTP/1.1 answer: status (0: the connection ended) and body."""
    connection.settimeout(20)
    got = b""
    try:
        while b"\r\n\r\n" not in got and (more := connection.recv(65536)):
            got += more
        head, _, body = got.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1]) if head.startswith(b"HTTP/1.") else 0
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        chunked = re.search(rb"(?im)^transfer-encoding: *chunked", head)
        bare = head_only or status in (0, 101, 204, 304)
        while not bare and (len(body) < int(length[1]) if length else not chunked or not body.endswith(b"0\r\n\r\n")):
            more = connection.recv(65536)
            if not more:
                break
            body += more
    except ConnectionError:
        return 0, b""
    return status, body


class H2:
    """One HTTP/2 connection; one request at a time."""

    # RFC 7541, appendix A: the statuses that have an index.
    STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}

    def __init__(self):
        self.connection = connect("h2")
        self.stream = -1
        self.buffer = b""
        # INITIAL_WINDOW_SIZE, then the connection's own: no answer here is larger.
        settings = b"\x00\x04" + (1 << 24).to_bytes(4, "big")
        hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, settings)
        self.connection.sendall(hello + self.frame(8, 0, 0, (1 << 24).to_bytes(4, "big")))

    @staticmethod
    def frame(kind, flags, stream, content):
        return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content

    @staticmethod
    def text(value):
        """RFC 7541, 5.2, without Huffman."""
        length = len(value)
        if length < 127:
            return bytes((length,)) + value
        rest, coded = length - 127, b"\x7f"
        while rest >= 128:
            coded += bytes((rest % 128 + 128,))
            rest //= 128
        return coded + bytes((rest,)) + value

    def ask(self, fields, body=None, trailers=None, tunnel=False):
        """fields: pairs of str or bytes, as they are. Status 0: the stream or the connection was ended without one; silence
        without one raises TimeoutError. A tunnel (CONNECT) stays open: its 200 is the answer."""
        self.stream += 2
        raw = [tuple(part.encode("latin-1") if isinstance(part, str) else part for part in field) for field in fields]
        # Literals without indexing, new names (6.2.2).
        block = b"".join(b"\x00" + self.text(name) + self.text(value) for name, value in raw)
        last = body is None and trailers is None and not tunnel
        sent = self.frame(1, 5 if last else 4, self.stream, block)
        if body is not None:
            sent += self.frame(0, 0 if trailers else 1, self.stream, body)
        if trailers:
            block = b"".join(b"\x00" + self.text(name.encode()) + self.text(value.encode()) for name, value in trailers)
            sent += self.frame(1, 5, self.stream, block)
        try:
            self.connection.sendall(sent)
            return self.answer(tunnel)
        except (ConnectionError, ssl.SSLError):
            return 0, b""

    def exactly(self, length):
        while len(self.buffer) < length:
            more = self.connection.recv(65536)
            if not more:
                raise ConnectionResetError
            self.buffer += more
        got, self.buffer = self.buffer[:length], self.buffer[length:]
        return got

    def answer(self, tunnel):
        status, body = 0, b""
        self.connection.settimeout(20)
        while True:
            try:
                head = self.exactly(9)
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                content = self.exactly(int.from_bytes(head[:3], "big"))
            except OSError:
                # An answer without an end is one.
                if status:
                    return status, body
                raise
            if kind == 4 and not flags & 1:
                self.connection.sendall(self.frame(4, 1, 0, b""))
            if kind == 7 or (kind == 3 and stream == self.stream):
                return status, body
            if stream != self.stream:
                continue
            if kind == 1 and not status:
                # HAProxy puts :status first, by its index or as three digits.
                status = self.STATUS[content[0] & 127] if content[0] & 128 else int(content[2:5])
                if tunnel and status == 200:
                    return status, b""
            if kind == 0:
                body += content
            if kind in (0, 1) and flags & 1:
                return status, body

    def close(self):
        self.connection.close()
