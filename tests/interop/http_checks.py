"""curl, nghttp and h2load."""

import hashlib
import json
import pathlib
import re
import subprocess
import tempfile
import urllib.request

from stage import PATIENCE, check

NODE = ("http1", "h2c")
BOTH = ("1.1", "2")


def digest(content):
    return hashlib.sha256(content).hexdigest()


def curl(at, *arguments, path=None, content=None, version=None):
    """What curl made of it: every head, the content's digest, how it ended."""
    with tempfile.TemporaryDirectory() as folder:
        heads, body = pathlib.Path(folder, "heads"), pathlib.Path(folder, "body")
        speak = version or ("--http2-prior-knowledge" if at.http2 else "--http1.1")
        urls = [] if path is None else [at.url(path)]
        command = ["curl", "--silent", "--no-buffer", "--max-time", str(PATIENCE), speak, "--path-as-is", "--globoff"]
        command += ["--dump-header", heads, "--output", body, "--write-out", "%{json}", *arguments, *urls]
        command = [str(word).replace("FILES/", f"{at.stage.files}/") if not isinstance(word, bytes) else word
                   for word in command]
        done = subprocess.run(command, input=content, capture_output=True, timeout=60)
        came = body.read_bytes() if body.exists() else b""
        text = heads.read_text("latin-1") if heads.exists() else ""
        made = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    blocks = [block.split("\r\n") for block in text.split("\r\n\r\n") if block.strip()]
    answers = [block for block in blocks if block[0].startswith("HTTP/")]
    fields = [line.split(": ", 1) if ": " in line else (line.rstrip(": "), "") for line in (answers or [[]])[-1][1:]]
    interim = [[block[0].split()[1], *sorted(block[1:])] for block in answers[:-1]]
    return {
        "ended": how_curl_ended(done.returncode),
        "interim": interim,
        "status": made.get("http_code"),
        "fields": fields,
        "trailers": sorted(line.lower() for block in blocks if block not in answers for line in block),
        "content": digest(came),
        "bytes": len(came),
    }


def how_curl_ended(code):
    # 18 partial file, 52 nothing, 55 and 56 network, 92 stream error.
    return {0: "well", 18: "cut short", 52: "cut short", 55: "cut short", 56: "cut short", 92: "cut short", 28: "gave up"}.get(code, f"curl {code}")


def simple(name, path, *arguments, content=None, on=NODE, clients=BOTH, leave=(), leave_server=()):
    """A check that is one call of curl; `leave` out of what the client saw, and the server."""

    @check(f"curl {name}", on, clients)
    def ask(at):
        client = curl(at, *arguments, path=path, content=content)
        client = {key: value for key, value in client.items() if key not in leave}
        server = {key: value for key, value in at.seen().items() if key not in leave_server}
        return {"client": client, "server": server}


# With --head curl writes the fields as content.
HEADS = ("content", "bytes")
# How far a broken answer came is a matter of timing.
BROKEN = ("status", "fields", "content", "bytes")

simple("get", "/echo?a=b&c=%2F;d")
simple("head", "/length?bytes=1000", "--head", leave=HEADS)
simple("get a length", "/length?bytes=300000")
simple("get in chunks", "/chunked?pieces=500")
simple("get nothing", "/length?bytes=0")
simple("get gzip", "/gzip", "--compressed")
simple("get until close", "/until-close")
simple("get trailers", "/trailers", "--header", "TE: trailers")
simple("get hints", "/hints")
simple("post", "/echo", "--data", "a=b&c=d")
simple("post nothing", "/echo", "--data", "")
simple("put 8 MiB", "/echo", "--upload-file", "FILES/large", "--header", "Expect:")
simple("put in chunks", "/echo", "--upload-file", "-", "--header", "Expect:", content=b"abc" * 100_000)
simple("put 8 MiB, with Expect if curl likes", "/echo", "--upload-file", "FILES/large")
simple("form with a file", "/status?code=200", "--form", "file=@/etc/os-release", leave_server=("content",))
simple("expect 100-continue", "/echo", "--header", "Expect: 100-continue", "--data", "x" * 2000)
simple("expect refused", "/refuses", "--header", "Expect: 100-continue", "--data", "x" * 2000, clients=("1.1",),
       on=("http1",))
simple("mirror 4 MiB", "/mirror", "--data-binary", "@-", "--header", "Expect:", content=b"mirrored" * (1 << 19))
# Only in HTTP/1: curl 7.88, which Debian 12 has, often forgets an answer whose stream was reset with
# NO_ERROR while it still sends, of node:http2 as of hitless. nghttp below does not.
simple("early answer", "/early", "--data-binary", "@-", "--header", "Expect:", content=b"x" * 100_000,
       leave=("ended",), clients=("1.1",), on=("http1",), leave_server=("finished",))
simple("short answer", "/short", leave=BROKEN, leave_server=("finished",))
simple("broken answer", "/broken", leave=BROKEN, leave_server=("finished",))
simple("options", "/echo", "--request", "OPTIONS")
simple("delete with content", "/echo", "--request", "DELETE", "--data", "why")
simple("propfind", "/echo", "--request", "PROPFIND", "--header", "Depth: 1")
simple("patch", "/echo", "--request", "PATCH", "--data", "{}", "--header", "Content-Type: application/json")
simple("repeated and empty fields", "/echo", "--header", "X-A: 1", "--header", "X-A;", "--header", "X-A: 3, 4",
       "--header", "X-B;", "--header", "Accept: a/b;q=0.5, c/d", "--cookie", "a=1; b=2; c=\"3\"")
simple("fields of 24 KiB", "/length?bytes=1", *(part for number in range(24) for part in
       ("--header", f"X-{number}: " + "v" * 1000)))
simple("fields beyond ASCII", "/length?bytes=1", "--header", b"X-Name: caf\xe9 \xf0\x9f\x90\x8e")
simple("target of 7 KiB", "/echo?" + "q" * 7000)
simple("odd target", "/echo?a=%00%ff&b=//..;c&d=[1]|'()*!$,@:+~")
simple("authorization", "/echo", "--user", "name:secret")
simple("max-forwards", "/echo", "--header", "Max-Forwards: 5")
simple("missing page", "/missing")
simple("http/1.0", "/length?bytes=5000", "--http1.0", clients=("1.1",), on=("http1",))
simple("http/1.0 of unknown length", "/chunked?pieces=50", "--http1.0", clients=("1.1",), on=("http1",))
for code in (200, 201, 202, 204, 205, 206, 301, 303, 304, 307, 400, 401, 404, 409, 410, 418, 421, 429, 451, 500, 501, 502,
             503, 504, 599):
    simple(f"status {code}", f"/status?code={code}")
simple("head of a 404", "/missing", "--head", leave=HEADS)


def files(name, *arguments, path="/files/digits"):
    """Against aiohttp's files, which know ranges and conditions; nothing is recorded there."""

    @check(f"curl {name}", ("aiohttp",), BOTH)
    def ask(at):
        client = curl(at, *arguments, path=path)
        if "--head" in arguments:
            client = {key: value for key, value in client.items() if key not in HEADS}
        return {"client": client}


files("file")
files("range", "--range", "1000-1999")
files("range of the end", "--range", "-5")
files("ranges", "--range", "0-9,100-109")
files("range that is none", "--range", "900000-")
files("resume", "--continue-at", "199000")
files("not modified since", "--header", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT")
files("if-range", "--range", "5-9", "--header", 'If-Range: "other"')
files("file of 8 MiB", path="/files/large")
files("head of a file", "--head")


# curl 7.88, which Debian 12 has, and node:http2 do not get the second one done, directly either.
@check("curl two requests on one connection", NODE)
def kept(at):
    one, two = at.url("/length?bytes=10"), at.url("/length?bytes=20")
    command = ["curl", "--silent", "--http1.1", "--write-out", "%{num_connects} %{http_code}\\n"]
    done = subprocess.run([*command, "-o", "/dev/null", "-o", "/dev/null", one, two], capture_output=True, timeout=60, text=True)
    return {"client": done.stdout.split("\n"), "server": [at.seen(), at.seen()]}


@check("curl asterisk form", ("http1",))
def asterisk(at):
    done = curl(at, "--request", "OPTIONS", "--request-target", "*", at.url("/"))
    return {"client": {"status": done["status"]}}


# Over TLS it would be an offer of h2.
@check("curl offer of h2c", ("aiohttp",), tls=False)
def offers_h2c(at):
    return {"client": curl(at, path="/echo", version="--http2"), "server": at.seen()}


@check("curl absolute form", ("http1",))
def absolute(at):
    target = at.url("/echo")
    return {"client": curl(at, "--request-target", target, at.url("/")), "server": at.seen()}


@check("curl events come when they are sent", NODE, BOTH)
def events(at):
    version = "--http2-prior-knowledge" if at.http2 else "--http1.1"
    command = ["curl", "--silent", "--no-buffer", "--max-time", str(PATIENCE), version, at.url("/events")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        first = process.stdout.readline()
        release(at)
        rest = process.stdout.read()
    return {"client": [first, rest, process.returncode], "server": at.seen()}


def release(at):
    """Only HTTP/1 can be asked in passing."""
    if at.protocol == "http1":
        urllib.request.urlopen(at.directly("/release")).read()
    else:
        subprocess.run(["curl", "--silent", "--http2-prior-knowledge", at.directly("/release")], check=True)


@check("curl gives up before the answer", NODE, BOTH)
def gives_up(at):
    version = "--http2-prior-knowledge" if at.http2 else "--http1.1"
    with subprocess.Popen(["curl", "--silent", version, at.url("/never")], stdout=subprocess.PIPE) as process:
        arrived = at.seen()
        process.kill()
    # The endpoint is told by the end of the connection or the stream, whichever it has.
    return {"server": [arrived, at.seen()["target"]]}


@check("curl gives up within the answer", NODE, BOTH)
def breaks_off(at):
    version = "--http2-prior-knowledge" if at.http2 else "--http1.1"
    with subprocess.Popen(["curl", "--silent", version, at.url("/endless")], stdout=subprocess.PIPE) as process:
        assert len(process.stdout.read(100_000)) == 100_000
        process.kill()
    return {"server": at.seen()["target"]}


def nghttp(at, *arguments):
    command = ["nghttp", "--timeout=20", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, text=True, errors="replace")
    # nghttp looks for an address among the names of hosts only.
    errors = done.stderr.replace("[WARNING] Certificate verification failed: hostname mismatch\n", "" if at.tls else "!")
    return {"code": done.returncode, "content": digest(done.stdout.encode()), "errors": errors}


@check("nghttp get", NODE, ("2",))
def nghttp_get(at):
    return {"client": nghttp(at, at.url("/length?bytes=100000")), "server": at.seen()}


@check("nghttp post with trailers", NODE, ("2",))
def nghttp_post(at):
    data = at.stage.files / "small"
    client = nghttp(at, f"--data={data}", "--trailer=x-sum: 1", "--trailer=x-two: 2", at.url("/mirror"))
    return {"client": client, "server": at.seen()}


@check("nghttp request trailers arrive", NODE, ("2",))
def nghttp_trailers(at):
    data = at.stage.files / "small"
    nghttp(at, f"--data={data}", "--trailer=x-sum: 1", "--trailer=x-two: 2", at.url("/echo"))
    return {"server": at.seen()}


@check("nghttp early answer", NODE, ("2",))
def nghttp_early(at):
    client = nghttp(at, f"--data={at.stage.files / 'large'}", at.url("/early"))
    return {"client": client, "server": at.seen()["target"]}


@check("nghttp many streams", NODE, ("2",))
def nghttp_many(at):
    urls = [at.url(f"/length?bytes={size}") for size in range(0, 60_000, 1000)]
    client = nghttp(at, "--null-out", "--stat", *urls)
    return {"client": {"code": client["code"]}, "server": sorted(at.seen()["target"] for _ in urls)}


@check("nghttp tiny windows and padding", NODE, ("2",))
def nghttp_window(at):
    client = nghttp(at, "--window-bits=10", "--connection-window-bits=12", "--padding=200", at.url("/length?bytes=200000"))
    return {"client": client, "server": at.seen()}


@check("nghttp to nghttpd", ("nghttpd",), ("2",))
def nghttpd_get(at):
    statuses = nghttpd_frames(at, at.url("/large"))
    return {"client": {**statuses, **nghttp(at, at.url("/large"))}}


@check("nghttp trailers of nghttpd", ("nghttpd",), ("2",))
def nghttpd_trailers(at):
    return {"client": nghttpd_frames(at, at.url("/small"))}


@check("nghttp echoed upload of nghttpd", ("nghttpd",), ("2",))
def nghttpd_upload(at):
    data = at.stage.files / "large"
    return {"client": nghttp(at, f"--data={data}", at.url("/echo"))}


def nghttpd_frames(at, url):
    done = subprocess.run(["nghttp", "--verbose", "--null-out", url], capture_output=True, timeout=60, text=True, errors="replace")
    plain = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    found = re.findall(r"recv \(stream_id=\d+\) (:status|x-checksum|content-length): (\S+)", plain)
    return {"code": done.returncode, "lines": sorted(found)}


@check("curl to nghttpd", ("nghttpd",), BOTH)
def curl_nghttpd(at):
    return {"client": curl(at, path="/large")}


def h2load(at, *arguments):
    command = ["h2load", "--requests=400", "--clients=10", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("requests:", "status codes:"))]
    return {"code": done.returncode, "lines": lines}


@check("h2load", NODE, BOTH)
def load(at):
    speak = ["--max-concurrent-streams=10"] if at.http2 else ["--h1"]
    return {"client": h2load(at, *speak, f"{at.origin()}/length?bytes=2000")}


@check("h2load with content", NODE, BOTH)
def load_content(at):
    speak = ["--max-concurrent-streams=10"] if at.http2 else ["--h1"]
    data = at.stage.files / "digits"
    return {"client": h2load(at, *speak, "--requests=100", f"--data={data}", f"{at.origin()}/mirror")}
