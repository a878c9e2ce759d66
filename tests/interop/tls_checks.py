"""openssl s_client, which is nothing but TLS: what it is answered is what the bare socket is."""

import socket
import subprocess

from stage import PATIENCE, check


def ask(name, *options, path="/length?bytes=100000"):
    @check(f"openssl s_client {name}", ("http1",))
    def asks(at):
        target = at.url(path).removeprefix(at.origin())
        request = f"GET {target} HTTP/1.1\r\nHost: {at.host}\r\nConnection: close\r\n\r\n".encode()
        came = over_tls(at, request, *options) if at.tls else bare(at, request)
        head, _, content = came.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        fields = [line.split(": ", 1) for line in fields]
        return {"client": {"first": first, "fields": fields, "bytes": len(content)}, "server": at.seen()}


def over_tls(at, request, *options):
    command = ["openssl", "s_client", "-quiet", "-verify_return_error", "-connect", at.host, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        client.stdin.write(request)
        client.stdin.flush()
        # It ends with the end of the connection.
        return client.stdout.read()


def bare(at, request):
    with socket.create_connection(("127.0.0.1", at.port), PATIENCE) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


ask("TLS 1.3", "-tls1_3")
ask("TLS 1.2", "-tls1_2")
for suite in ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"):
    ask(suite, "-tls1_3", "-ciphersuites", suite)
for suite in ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"):
    ask(suite, "-tls1_2", "-cipher", suite)
ask("P-256", "-groups", "P-256")
ask("ALPN", "-alpn", "http/1.1")
ask("records of 512 bytes", "-max_send_frag", "512")
