"""A client of OpenSSL, by Python's ssl, whose connection moves: `openssl.py ADDRESS CA VERSION KIND`.

OpenSSL works on memory here, so that what it seals can be cut at any byte. Commands come on stdin,
each is answered by a line: `prepare` puts some requests (or frames of a WebSocket) together and sends a
part of their records, `still` the same with less than one request, `finish` sends the rest and checks what comes back. The cipher suite is that of the
configuration in OPENSSL_CONF. The seed of everything random is in SEED.
"""

import os
import random
import socket
import ssl
import sys

address, ca, version, kind = sys.argv[1:]
rng = random.Random(int(os.environ["SEED"]))


class Client:
    def __init__(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca)
        context.minimum_version = context.maximum_version = {
            "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]
        if version == "1.2":
            context.set_ciphers(os.environ["CIPHER"])
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="shop.test")
        host, port = address.split(":")
        self.socket = socket.create_connection((host, int(port)), 120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.came = b""
        self.number = 0
        while True:
            try:
                self.tls.do_handshake()
                self.flush()
                break
            except ssl.SSLWantReadError:
                self.flush()
                self.feed()
        self.suite = self.tls.cipher()[0]
        self.expected = []
        self.rest = b""
        if kind == "websocket":
            self.seal(b"GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                      b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            self.socket.sendall(self.outgoing.read())
            head = self.until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 "), head

    def flush(self):
        self.socket.sendall(self.outgoing.read())

    def feed(self):
        some = self.socket.recv(65536)
        if some:
            self.incoming.write(some)
        else:
            self.incoming.write_eof()

    def seal(self, plain):
        """In records of any size."""
        while plain:
            size = rng.choice((1, 100, 5000, 16384))
            assert self.tls.write(plain[:size]) == len(plain[:size])
            plain = plain[size:]

    def more(self):
        while True:
            try:
                some = self.tls.read(65536)
                if not some:
                    raise EOFError(f"the end came after {self.came!r}")
                self.came += some
                return
            except ssl.SSLWantReadError:
                self.flush()  # an answer to KeyUpdate, if there is one
                self.feed()

    def exactly(self, count):
        while len(self.came) < count:
            self.more()
        found, self.came = self.came[:count], self.came[count:]
        return found

    def until(self, end):
        while end not in self.came:
            self.more()
        return self.exactly(self.came.index(end) + len(end))

    def still(self):
        """Too little is sent for a request to begin."""
        self.prepare(36)

    def prepare(self, below=None):
        assert not self.rest and not self.expected
        for _ in range(rng.choice((1, 1, 1, 3))):
            content = rng.randbytes(rng.choice((0, 10, 125, 3000, 40000)))
            self.number += 1
            if kind == "websocket":
                content = self.number.to_bytes(8, "big") + content[:100]
                frame = b"\x82" + bytes([0x80 | len(content)]) + b"\0\0\0\0" + content
                self.seal(frame)
                self.expected.append(frame)
            else:
                self.seal(b"POST /echo?%d HTTP/1.1\r\nHost: shop.test\r\nContent-Length: %d\r\n\r\n"
                          % (self.number, len(content)) + content)
                self.expected.append(content)
        sealed = self.outgoing.read()
        cut = rng.choice((0, 1, 3, len(sealed) - 1, len(sealed), rng.randrange(len(sealed))))
        if below is not None:
            cut = rng.randrange(below)
        self.socket.sendall(sealed[:cut])
        self.rest = sealed[cut:]

    def finish(self):
        self.socket.sendall(self.rest)
        for expected in self.expected:
            if kind != "websocket":
                head = self.until(b"\r\n\r\n").decode()
                assert head.startswith("HTTP/1.1 200 "), head
                assert "connection: close" not in head.lower(), head
            came = self.exactly(len(expected))
            assert came == expected, f"{self.number}: other content came back"
        assert not self.came, self.came
        self.rest, self.expected = b"", []


client = Client()
print(f"ready {client.suite} {client.socket.getsockname()[1]}", flush=True)
for line in sys.stdin:
    {"prepare": client.prepare, "still": client.still, "finish": client.finish}[line.strip()]()
    print("done", flush=True)
