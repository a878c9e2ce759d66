"""What may differ between direct access and access through hitless, and why; nothing else may.

`differences` compares what both ends of an exchange saw. Every row below is a difference that the
RFCs demand of a gateway or allow it. What is equal needs no explanation: a row that no difference has
needed is reported by the runner, so that the table does not grow stale.
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
    "http2-settings": "RFC 9113, section 3.1: obsolete, never forwarded",
    "upgrade": "RFC 9110, section 7.8: of one connection only; h2c is never forwarded",
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
KINDS = {"fields": "answer", "sent fields": "request", "trailers of grpc": "answer"}

OTHER = {
    "version": "the protocol towards an endpoint is the operator's choice",
    "absolute target": "RFC 9112, section 3.2.2: only to a proxy; a gateway sends the origin form",
    "cookie crumbs": "RFC 9113, section 8.2.3: joined where the next hop may not be HTTP/2",
    "content-length and trailers": "RFC 9112, section 7.1.2: announced trailers need chunks, and chunks say no length",
    "boundary": "curl makes another one for each form",
    "brotli over TLS": "fetch (WHATWG) offers br over https only",
    "order of names": "RFC 9110, section 5.3: only the order of lines of one name means something",
}

# HTTP/2 by hand: outcomes that are not what the RFC names, and yet let nothing through.
CODES = {
    "PROTOCOL_ERROR": "the crate h2 ends the connection, with the general code where RFC 9113 has a finer one "
    "(FRAME_SIZE_ERROR, COMPRESSION_ERROR, FLOW_CONTROL_ERROR); the code is for a human who looks at a trace",
}

# What one application says over HTTP/1 and not over HTTP/2, when only one of them was asked directly.
BORROWED = {"content-length": "node:http knows the length of an answer that is written at once, node:http2 does not say it"}

applied = set()


def differences(direct, through, borrowed=False):
    """The lines to print, empty when there is no difference that is not explained. `borrowed`: the
    client was compared with what another endpoint answers."""
    return list(_walk("", "", direct, through, borrowed))


def _walk(at, key, direct, through, borrowed):
    if isinstance(direct, dict) and isinstance(through, dict):
        for name in sorted(direct.keys() | through.keys()):
            path = f"{at}.{name}" if at else name
            yield from _walk(path, name, direct.get(name), through.get(name), borrowed)
    elif key in TABLES and isinstance(direct, list) and isinstance(through, list):
        yield from _fields(at, key, direct, through, borrowed)
    elif isinstance(direct, list) and isinstance(through, list) and len(direct) == len(through):
        for number, (one, other) in enumerate(zip(direct, through)):
            yield from _walk(f"{at}[{number}]", key, one, other, borrowed)
    else:
        one, other = _plain(direct), _plain(through)
        if one != other and not _is_explained(key, one, other):
            yield f"{at}: direct {_short(one)}, through {_short(other)}"


def _plain(value):
    """Without what is another one in each run."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        value = re.sub(r"run=[\w-]+", "run=RUN", value)
        # The scheme is what is different about access over TLS.
        return re.sub(r"https?://HOST", "http://HOST", re.sub(r"127\.0\.0\.1:\d+", "HOST", value))
    return value


def _is_explained(key, direct, through):
    """What is not a field."""
    if key == "version":
        return _applies("version")
    if key == "target" and direct == f"http://HOST{through}":
        return _applies("absolute target")
    return False


def _fields(at, key, direct, through, borrowed):
    direct, through = _grouped(direct), _grouped(through)
    table = TABLES[key]
    for name in sorted(direct.keys() | through.keys()):
        one, other = direct.get(name, []), through.get(name, [])
        if one == other or name == "x-run":
            continue
        if name in table:
            _applies(f"{KINDS[key]} {name}")
        elif name == "cookie" and "; ".join(one) == "; ".join(other):
            _applies("cookie crumbs")
        elif table is REQUEST and name == "content-length" and not other and "trailer" in through:
            _applies("content-length and trailers")
        elif table is REQUEST and name == "accept-encoding" and sorted(one + ["br"]) == sorted(_listed(other)):
            _applies("brotli over TLS")
        elif name == "content-type" and _bounded(one) == _bounded(other):
            _applies("boundary")
        elif borrowed and at == "client.fields" and name in BORROWED:
            _applies(f"borrowed {name}")
        else:
            yield f"{at}: {name}: direct {_short(one)}, through {_short(other)}"
    if [name for name in direct if name in through] != [name for name in through if name in direct]:
        _applies("order of names")


def _grouped(pairs):
    """The values of each name, in their order."""
    found = {}
    for name, value in pairs:
        found.setdefault(str(name).lower(), []).append(_plain(str(value)))
    return found


def _listed(values):
    """Members, with what is not `br` as one."""
    members = [member.strip() for value in values for member in value.split(",")]
    return [", ".join(member for member in members if member != "br")] + [m for m in members if m == "br"]


def _bounded(values):
    return [re.sub(r"boundary=-+\w+", "boundary=B", value) for value in values]


def _applies(row):
    applied.add(row)
    return True


def _short(value):
    text = repr(value)
    return text if len(text) <= 600 else text[:600] + "…"


def unused():
    """Explanations that nothing needed."""
    rows = {f"request {name}" for name in REQUEST} | {f"answer {name}" for name in ANSWER}
    return sorted((rows | set(OTHER) | {f"borrowed {name}" for name in BORROWED}) - applied)
