"""What h2spec would ask, in its order: HTTP/2 frames by hand (only the field blocks are left to
hpack), and how the other side must end it. h2spec itself is a Go program that is in neither npm, PyPI
nor Debian, and the crate of that name is another thing, at 0.0.0; hence this.

An outcome is the error code of a GOAWAY or of a RST_STREAM, "closed" (the connection ended without a
word), a status, or "ping" (it went on and answered). Each row says which outcomes the RFC allows.
nghttpd is asked the same: where it breaks a rule as well, `--verbose` says so, since then this file
may be what is wrong.
"""

import socket
import struct

import hpack

import explained

PATIENCE = 5
ECHO = b"the end?"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"]
GET = [(":method", "GET"), (":scheme", "http"), (":path", "/small"), (":authority", "localhost")]
POST = [(":method", "POST"), *GET[1:]]


def raw(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, PRIORITIZED, ACK = 1, 4, 8, 32, 1


def block(fields):
    return hpack.Encoder().encode(fields, huffman=False)


def headers(fields=GET, stream=1, flags=END_STREAM | END_HEADERS):
    return raw(HEADERS, flags, stream, block(fields))


def setting(key, value):
    return raw(SETTINGS, 0, 0, struct.pack(">HI", key, value))


def with_(*more):
    return headers([*GET, *more])


def window(stream, increment):
    return raw(WINDOW, 0, stream, struct.pack(">I", increment))


def post(*more, content=b"", stream=1):
    return headers([*POST, *more], stream, END_HEADERS) + raw(DATA, END_STREAM, stream, content)


CONNECTION = {"PROTOCOL_ERROR", "closed"}
STREAM = {"PROTOCOL_ERROR", "closed", "400"}
SIZE = {"FRAME_SIZE_ERROR", "closed"}
FLOW = {"FLOW_CONTROL_ERROR", "closed"}
COMPRESSION = {"COMPRESSION_ERROR", "closed"}
CLOSED = {"STREAM_CLOSED", "PROTOCOL_ERROR", "closed"}
FINE = {"200", "405", "404"}

# (section of RFC 9113 or 7541, what is sent, the outcomes that are right)
CASES = [
    ("3.4 an invalid preface", b"INVALID CONNECTION PREFACE\r\n\r\n", CONNECTION | {"400", "505"}),
    ("4.1 a frame of unknown type", raw(0x16, 0, 0, b"\0" * 8) + headers(), FINE),
    ("4.1 undefined flags", raw(PING, 0x16, 0, b"\0" * 8), {"ping"}),
    ("4.1 the reserved bit of a stream", raw(PING, 0, 0x80000000, b"\0" * 8), {"ping"}),
    ("4.2 DATA of 2^14 octets", headers(POST, 1, END_HEADERS) + raw(DATA, END_STREAM, 1, b"x" * 16384), FINE),
    ("4.2 DATA beyond SETTINGS_MAX_FRAME_SIZE", headers(POST, 1, END_HEADERS) + raw(DATA, 1, 1, b"x" * 16385), SIZE),
    ("4.2 HEADERS beyond SETTINGS_MAX_FRAME_SIZE", raw(HEADERS, 5, 1, block(GET) + b"\0" * 16400), SIZE),
    ("4.3 a field block that is none", raw(HEADERS, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"), COMPRESSION),
    ("4.3 PRIORITY within a field block", raw(HEADERS, 1, 1, block(GET)) + raw(PRIORITY, 0, 1, b"\0" * 5), CONNECTION),
    ("4.3 HEADERS of another stream within a field block", raw(HEADERS, 1, 1, block(GET)) + headers(stream=3), CONNECTION),
    ("5.1 DATA on an idle stream", raw(DATA, 1, 1, b"x"), CONNECTION | CLOSED),
    ("5.1 RST_STREAM on an idle stream", raw(RST, 0, 1, b"\0\0\0\x08"), CONNECTION),
    ("5.1 WINDOW_UPDATE on an idle stream", window(1, 100), CONNECTION),
    ("5.1 CONTINUATION on an idle stream", raw(CONTINUATION, 4, 1, block(GET)), CONNECTION),
    ("5.1 DATA on a half-closed stream", headers() + raw(DATA, 1, 1, b"x"), CLOSED | FINE),
    ("5.1 HEADERS on a half-closed stream", headers() + headers(), CLOSED),
    ("5.1 DATA after RST_STREAM", headers(POST, 1, 4) + raw(RST, 0, 1, b"\0\0\0\x08") + raw(DATA, 1, 1, b"x"),
     CLOSED | {"ping"}),
    ("5.1 HEADERS after RST_STREAM", headers(POST, 1, 4) + raw(RST, 0, 1, b"\0\0\0\x08") + headers(), CLOSED),
    ("5.1.1 an even stream", headers(stream=2), CONNECTION),
    ("5.1.1 a stream lower than the last", headers(stream=5) + headers(stream=3), CONNECTION | CLOSED),
    ("5.3 a stream that depends on itself is none of ours", raw(PRIORITY, 0, 1, b"\0\0\0\x01\x10"), {"ping"} | CONNECTION),
    ("5.5 an unknown setting", setting(0xff, 1), {"ping"}),
    ("6.1 DATA on stream 0", raw(DATA, 1, 0, b"x"), CONNECTION),
    ("6.1 padding as long as the payload", headers(POST, 1, 4) + raw(DATA, PADDED | 1, 1, b"\x06xxxxx"), CONNECTION),
    ("6.2 HEADERS on stream 0", raw(HEADERS, 5, 0, block(GET)), CONNECTION),
    ("6.2 padding beyond the payload", raw(HEADERS, 5 | PADDED, 1, b"\xff" + block(GET)), CONNECTION),
    ("6.2 padded, with a priority", raw(HEADERS, 5 | PADDED | PRIORITIZED, 1, b"\x03\0\0\0\0\x10" + block(GET) + b"\0" * 3),
     FINE),
    ("6.3 PRIORITY on stream 0", raw(PRIORITY, 0, 0, b"\0" * 5), CONNECTION),
    ("6.3 PRIORITY of 4 octets", raw(PRIORITY, 0, 1, b"\0" * 4) , SIZE),
    ("6.4 RST_STREAM on stream 0", raw(RST, 0, 0, b"\0\0\0\x08"), CONNECTION),
    ("6.4 RST_STREAM of 3 octets", headers(POST, 1, 4) + raw(RST, 0, 1, b"\0\0\0"), SIZE),
    ("6.5 SETTINGS ACK with a payload", raw(SETTINGS, ACK, 0, b"\0" * 6), SIZE),
    ("6.5 SETTINGS on a stream", raw(SETTINGS, 0, 1, b""), CONNECTION),
    ("6.5 SETTINGS of 3 octets", raw(SETTINGS, 0, 0, b"\0\0\0"), SIZE),
    ("6.5.2 ENABLE_PUSH of 2", setting(2, 2), CONNECTION),
    ("6.5.2 INITIAL_WINDOW_SIZE of 2^31", setting(4, 1 << 31), FLOW),
    ("6.5.2 MAX_FRAME_SIZE below 2^14", setting(5, 16383), CONNECTION),
    ("6.5.2 MAX_FRAME_SIZE beyond 2^24-1", setting(5, 1 << 24), CONNECTION),
    ("6.6 PUSH_PROMISE by a client", headers(POST, 1, 4) + raw(PUSH, 4, 1, b"\0\0\0\x02" + block(GET)), CONNECTION),
    ("6.7 PING", raw(PING, 0, 0, b"12345678"), {"ping"}),
    ("6.7 PING ACK that nobody asked for", raw(PING, ACK, 0, b"other..."), {"ping"}),
    ("6.7 PING on a stream", raw(PING, 0, 1, b"\0" * 8), CONNECTION),
    ("6.7 PING of 6 octets", raw(PING, 0, 0, b"\0" * 6), SIZE),
    ("6.8 GOAWAY on a stream", raw(GOAWAY, 0, 1, b"\0" * 8), CONNECTION),
    ("6.9 WINDOW_UPDATE of 0", window(0, 0), CONNECTION | FLOW),
    ("6.9 WINDOW_UPDATE of 0 on a stream", headers(POST, 1, 4) + window(1, 0), CONNECTION | FLOW),
    ("6.9 WINDOW_UPDATE of 3 octets", raw(WINDOW, 0, 0, b"\0\0\1"), SIZE),
    ("6.9.1 a window beyond 2^31-1", window(0, 0x7fffffff) * 2, FLOW),
    ("6.9.1 a stream's window beyond 2^31-1", headers(POST, 1, 4) + window(1, 0x7fffffff) * 2, FLOW),
    ("6.10 CONTINUATION", raw(HEADERS, 1, 1, block(GET)[:4]) + raw(CONTINUATION, 4, 1, block(GET)[4:]), FINE),
    ("6.10 CONTINUATION after END_HEADERS", headers(POST, 1, 4) + raw(CONTINUATION, 4, 1, b""), CONNECTION),
    ("6.10 CONTINUATION on stream 0", raw(HEADERS, 1, 1, block(GET)) + raw(CONTINUATION, 4, 0, b""), CONNECTION),
    ("6.10 DATA within a field block", raw(HEADERS, 0, 1, block(POST)) + raw(DATA, 1, 1, b""), CONNECTION),
    ("7 GOAWAY of an unknown code", raw(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\xff"), {"ping", "closed", "NO_ERROR"}),
    ("7 RST_STREAM of an unknown code", headers(POST, 1, 4) + raw(RST, 0, 1, b"\0\0\0\xff"), {"ping"}),
    ("8.1 trailers without END_STREAM", headers(POST, 1, 4) + headers([("x-t", "1")], 1, 4), STREAM | CLOSED),
    ("8.2.1 an uppercase name", with_(("X-Test", "ok")), STREAM),
    ("8.2.1 a name with a space", with_(("x test", "ok")), STREAM),
    ("8.2.1 a name with a colon", with_(("x:test", "ok")), STREAM),
    ("8.2.1 an empty name", with_(("", "ok")), STREAM),
    ("8.2.1 CR in a value", with_(("x-a", "a\rb")), STREAM),
    ("8.2.1 LF in a value", with_(("x-a", "a\nb")), STREAM),
    ("8.2.1 NUL in a value", with_(("x-a", "a\0b")), STREAM),
    ("8.2.1 a value that begins with a space", with_(("x-a", " b")), STREAM),
    ("8.2.1 a value that ends in a tab", with_(("x-a", "b\t")), STREAM),
    ("8.2.2 Connection", with_(("connection", "keep-alive")), STREAM),
    ("8.2.2 Keep-Alive", with_(("keep-alive", "5")), STREAM),
    ("8.2.2 Proxy-Connection", with_(("proxy-connection", "close")), STREAM),
    ("8.2.2 Transfer-Encoding", with_(("transfer-encoding", "chunked")), STREAM),
    ("8.2.2 Upgrade", with_(("upgrade", "h2c")), STREAM),
    ("8.2.2 TE other than trailers", with_(("te", "trailers, deflate")), STREAM),
    ("8.2.2 TE: trailers", with_(("te", "trailers")), FINE),
    ("8.3 an unknown pseudo-field", with_((":test", "ok")), STREAM),
    ("8.3 a pseudo-field of answers", with_((":status", "200")), STREAM),
    ("8.3 a pseudo-field in trailers", headers(POST, 1, 4) + headers([(":method", "GET")]), STREAM),
    ("8.3 a pseudo-field after a field", headers([GET[0], ("x", "1"), *GET[1:]]), STREAM),
    ("8.3.1 an empty :path", headers([*GET[:2], (":path", ""), GET[3]]), STREAM),
    ("8.3.1 no :method", headers(GET[1:]), STREAM),
    ("8.3.1 no :scheme", headers([GET[0], *GET[2:]]), STREAM),
    ("8.3.1 no :path", headers([*GET[:2], GET[3]]), STREAM),
    ("8.3.1 two :method", headers([GET[0], *GET]), STREAM),
    ("8.3.1 two :scheme", headers([GET[1], *GET]), STREAM),
    ("8.3.1 two :path", headers([GET[2], *GET]), STREAM),
    ("8.3.1 two :authority", headers([*GET, (":authority", "other")]), STREAM),
    ("8.3.1 userinfo in :authority", headers([*GET[:3], (":authority", "user@localhost")]), STREAM),
    ("8.3.1 :authority disagrees with Host", with_(("host", "other.example")), STREAM),
    ("8.3.1 a :path without a slash", headers([*GET[:2], (":path", "small"), GET[3]]), STREAM),
    ("8.3.1 a space in :path", headers([*GET[:2], (":path", "/a b"), GET[3]]), STREAM),
    ("8.3.1 a method that is none", headers([(":method", "GE T"), *GET[1:]]), STREAM),
    ("8.1.1 content-length below the content", post(("content-length", "1"), content=b"xx"), STREAM),
    ("8.1.1 content-length beyond the content", post(("content-length", "5"), content=b"xx"), STREAM),
    ("8.1.1 content-length without content", headers([*POST, ("content-length", "1")]), STREAM),
    ("8.1.1 two content-length that differ", post(("content-length", "2"), ("content-length", "3"), content=b"xx"), STREAM),
    ("8.1.1 content-length that is no number", post(("content-length", "+2"), content=b"xx"), STREAM),
    ("8.5 CONNECT with :path", headers([(":method", "CONNECT"), *GET[1:]]), STREAM | {"405", "501"}),
    ("RFC 7541 2.3.3 index 0", raw(HEADERS, 5, 1, b"\x80"), COMPRESSION),
    ("RFC 7541 2.3.3 an index beyond the table", raw(HEADERS, 5, 1, block(GET) + b"\xff\x80\x01"), COMPRESSION),
    ("RFC 7541 4.2 a table beyond SETTINGS", raw(HEADERS, 5, 1, b"\x3f\xe1\xff\x03" + block(GET)), COMPRESSION),
    ("RFC 7541 4.2 a table resized at the end", raw(HEADERS, 5, 1, block(GET) + b"\x20"), COMPRESSION),
    ("RFC 7541 5.2 padding of more than 7 bits", raw(HEADERS, 5, 1, block(GET) + b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
     COMPRESSION),
    ("RFC 7541 5.2 padding of zeros", raw(HEADERS, 5, 1, block(GET) + b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
     COMPRESSION),
]


def outcome(port, sent, allowed):
    """The first word of the other side that decides. The echo of a PING that follows what is asked
    says that all of it was read; it decides where going on is right, and elsewhere the answer or the
    error is waited for."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.settimeout(PATIENCE)
        greeted = not sent.startswith(b"INVALID")
        try:
            if greeted:
                sent = PREFACE + raw(SETTINGS, 0, 0) + sent + raw(PING, 0, 0, ECHO)
            connection.sendall(sent)
            return read(connection, "ping" in allowed)
        except TimeoutError:
            return "silence"
        except OSError:
            return "closed"


def read(connection, echo_decides):
    decoder, buffer = hpack.Decoder(), b""
    while came := connection.recv(65_536):
        buffer += came
        if buffer.startswith(b"HTTP/1"):
            return buffer[9:12].decode()
        while len(buffer) >= 9 and len(buffer) >= 9 + int.from_bytes(buffer[:3], "big"):
            end = 9 + int.from_bytes(buffer[:3], "big")
            kind, flags, payload, buffer = buffer[3], buffer[4], buffer[9:end], buffer[end:]
            if kind == GOAWAY:
                return name_of(payload[4:8])
            if kind == RST:
                return name_of(payload)
            if kind == HEADERS:
                return dict(decoder.decode(payload))[":status"]
            if kind == PING and flags & ACK and payload == ECHO and echo_decides:
                return "ping"
    return "closed"


def name_of(code):
    code = int.from_bytes(code, "big")
    return CODES[code] if code < len(CODES) else str(code)


def run(scene, only, verbose):
    """Of hitless in front of nghttpd; the rows that failed have a reason."""
    results = []
    for name, sent, allowed in CASES:
        title = f"HTTP/2 conformance: {name}"
        if only not in title:
            continue
        found = outcome(scene.through["nghttpd"], sent, allowed)
        if verbose:
            reference = outcome(scene.ports["nghttpd"], sent, allowed)
            if reference not in allowed:
                print(f"note    nghttpd itself answers '{reference}' to '{name}', which allows {sorted(allowed)}")
        right = found in allowed
        if not right and found in explained.CODES and allowed in (SIZE, FLOW, COMPRESSION):
            explained.applied.add(found)
            right = True
        results.append((title, [] if right else [f"it is '{found}', allowed: {sorted(allowed)}"]))
    return results
