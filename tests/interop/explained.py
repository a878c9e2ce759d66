"""What may differ between direct access and access through hitless, and why; nothing else may.

`differences` compares what both ends of an exchange saw. Every row below is a difference that the
RFCs demand of a gateway or allow it; a row that never applies is reported by the runner, so that the
table does not grow stale.
"""

import re

# Fields of a request, as the endpoint sees them.
REQUEST = {
    "via": "RFC 9110, section 7.6.3: a gateway adds itself",
    "forwarded": "RFC 7239: who asked, for which host, by which scheme",
    "x-forwarded-for": "as Forwarded, for applications that read the older field",
    "x-forwarded-proto": "as Forwarded",
    "x-forwarded-host": "as Forwarded",
    "x-request-id": "the name of the request in the logs of hitless",
    "traceparent": "W3C Trace Context: continued or begun here",
    "connection": "RFC 9110, section 7.6.1: of one connection only",
    "keep-alive": "RFC 9110, section 7.6.1: of one connection only",
    "http2-settings": "RFC 9113, section 3.1: obsolete, never forwarded",
    "upgrade": "RFC 9110, section 7.8: of one connection only; h2c is never forwarded",
    "te": "RFC 9110, section 10.1.4: of one connection only; 'trailers' is said anew",
    "transfer-encoding": "RFC 9112, section 6.1: of one connection only; HTTP/2 has none",
    "host": "HTTP/2 has :authority instead (RFC 9113, section 8.3.1); 'authority' is compared",
}

# Fields of an answer, as the client sees them.
ANSWER = {
    "via": "RFC 9110, section 7.6.3: a gateway adds itself",
    "x-request-id": "the name of the request in the logs of hitless",
    "traceresponse": "W3C Trace Context, level 2",
    "date": "RFC 9110, section 6.6.1: kept, and added where the endpoint has said none",
    "connection": "RFC 9110, section 7.6.1: of one connection only",
    "keep-alive": "RFC 9110, section 7.6.1: of one connection only",
    "transfer-encoding": "RFC 9112, section 6.1: of one connection only; HTTP/2 has none",
}

# Of an answer to gRPC that is nothing but trailers, they are its fields (gRPC over HTTP/2: Trailers-Only).
TABLES = {"fields": ANSWER, "sent fields": REQUEST, "trailers of grpc": ANSWER}

OTHER = {
    "version": "the protocol towards an endpoint is the operator's choice",
    "absolute target": "RFC 9112, section 3.2.2: only to a proxy; a gateway sends the origin form",
    "cookie crumbs": "RFC 9113, section 8.2.3: joined where the next hop may not be HTTP/2",
    "content-length: 0": "RFC 9110, section 8.6: may be said where a method anticipates content",
    "boundary": "curl makes another one for each form",
    "order of names": "RFC 9110, section 5.3: only the order of lines of one name means something",
}

# HTTP/2 by hand: outcomes that are not what the RFC names, and yet let nothing through.
CODES = {
    "PROTOCOL_ERROR": "the crate h2 ends the connection, with the general code where RFC 9113 has a finer one "
    "(FRAME_SIZE_ERROR, COMPRESSION_ERROR, FLOW_CONTROL_ERROR); the code is for a human who looks at a trace",
}

applied = set()


# What one application says over HTTP/1 and not over HTTP/2, when only one of them was asked directly.
BORROWED = {"content-length": "node:http knows the length of an answer that is written at once, node:http2 does not say it"}


def differences(direct, through, borrowed=False):
    """The lines to print, empty when there is no difference that is not explained. `borrowed`: the
    client was compared with what another endpoint answers."""
    direct, through = _plain(direct), _plain(through)
    if borrowed:
        direct, through = _without(BORROWED, direct), _without(BORROWED, through)
    return list(_walk("", direct, through))


def _without(names, seen):
    client = seen.get("client")
    if not isinstance(client, dict) or "fields" not in client:
        return seen
    applied.update(names)
    fields = [line for line in client["fields"] if line[0] not in names]
    return {**seen, "client": {**client, "fields": fields}}


def _walk(at, direct, through):
    if isinstance(direct, dict) and isinstance(through, dict):
        for key in sorted(direct.keys() | through.keys()):
            yield from _walk(f"{at}.{key}" if at else key, direct.get(key), through.get(key))
    elif direct != through:
        yield f"{at}: direct {_short(direct)}, through {_short(through)}"


def _short(value):
    text = repr(value)
    return text if len(text) <= 600 else text[:600] + "…"


def _plain(value, key=""):
    """An observation without what is explained."""
    if isinstance(value, dict):
        return {name: _plain(inner, name) for name, inner in value.items() if not _drop(key, name)}
    if key in TABLES and isinstance(value, list):
        return _lines(value, TABLES[key])
    if isinstance(value, (list, tuple)):
        return [_plain(inner, key) for inner in value]
    if isinstance(value, str):
        text = re.sub(r"run=[\w-]+", "run=RUN", value)
        text = re.sub(r"127\.0\.0\.1:\d+", "HOST", text)
        if "boundary=-" in text:
            applied.add("boundary")
            text = re.sub(r"boundary=-+\w+", "boundary=B", text)
        if key == "target" and text.startswith("http://HOST"):
            applied.add("absolute target")
            text = text.removeprefix("http://HOST")
        return text
    return value


def _drop(key, name):
    if name == "version":
        applied.add("version")
        return True
    return False


def _lines(pairs, table):
    kept, cookies = [], []
    for name, value in pairs:
        name, value = str(name).lower(), str(value)
        if name == "cookie":
            cookies.append(value)
        elif name in table:
            applied.add(name)
        elif table is REQUEST and (name, value) == ("content-length", "0"):
            applied.add("content-length: 0")
        elif name != "x-run":
            kept.append((name, _plain(value)))
    if len(cookies) > 1:
        applied.add("cookie crumbs")
    if cookies:
        kept.append(("cookie", "; ".join(cookies)))
    applied.add("order of names")
    return sorted(kept, key=lambda line: line[0])


def unused():
    """Explanations that nothing needed."""
    return sorted((set(REQUEST) | set(ANSWER) | set(OTHER)) - applied)
