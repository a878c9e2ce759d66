"""httpx and aiohttp as clients; aiohttp, uvicorn and gunicorn as servers."""

import asyncio
import hashlib
import ssl

import aiohttp
import httpx

from stage import PATIENCE, check

NODE = ("http1", "h2c")
SERVERS = ("http1", "aiohttp", "uvicorn", "gunicorn")
BOTH = ("1.1", "2")


def options_of(at):
    # httpx brings authorities of its own; the default context has those of SSL_CERT_FILE.
    verify = ssl.create_default_context()
    return {"http1": not at.http2, "http2": at.http2, "timeout": PATIENCE, "trust_env": False, "verify": verify}


def client_of(at):
    return httpx.Client(**options_of(at))


def answer(response):
    return {
        "status": response.status_code,
        "reason": response.reason_phrase,
        "fields": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw],
        "content": hashlib.sha256(response.content).hexdigest(),
    }


def asks(name, method, path, on=NODE, **options):
    @check(f"httpx {name}", on, BOTH)
    def ask(at):
        with client_of(at) as client:
            given = {key: value() if callable(value) else value for key, value in options.items()}
            response = client.request(method, at.url(path), **given)
            return {"client": answer(response), "server": at.seen()}


asks("get", "GET", "/echo?x=1", params=None)
asks("json", "POST", "/echo", json={"a": [1, 2, 3]})
asks("form", "POST", "/echo", data={"a": "b"}, cookies={"one": "1", "two": "2"})
asks("upload of unknown length", "POST", "/echo", content=lambda: (b"part %d\n" % part for part in range(2000)))
asks("redirect", "GET", "/status?code=302", follow_redirects=False)
asks("gzip", "GET", "/gzip")
asks("head", "HEAD", "/length?bytes=77")
asks("post to real servers", "POST", "/echo", on=SERVERS, content=b"x" * 100_000)
asks("unknown length to real servers", "PUT", "/echo", on=SERVERS,
     content=lambda: (b"part %d\n" % part for part in range(2000)))


@check("httpx many at once", NODE, BOTH)
def many(at):
    async def all_of_them():
        async with httpx.AsyncClient(**options_of(at)) as client:
            asked = (client.get(at.url(f"/length?bytes={size}")) for size in range(50))
            return sorted(len(response.content) for response in await asyncio.gather(*asked))

    return {"client": asyncio.run(all_of_them()), "server": sorted(at.seen()["target"] for _ in range(50))}


@check("httpx cut short", NODE, BOTH)
def cut_short(at):
    with client_of(at) as client:
        try:
            client.get(at.url("/short"))
            return {"client": "a whole answer"}
        except httpx.TransportError:
            return {"client": "an error"}


@check("aiohttp stream", ("aiohttp",))
def stream(at):
    return {"client": asyncio.run(fetch(at, "GET", "/stream")), "server": at.seen()}


@check("aiohttp compressed upload in chunks", ("http1", "aiohttp"))
def upload(at):
    async def parts():
        for part in range(500):
            yield b"part %d\n" % part

    return {"client": asyncio.run(fetch(at, "POST", "/echo", data=parts(), compress="gzip")), "server": at.seen()}


@check("aiohttp expect 100-continue", ("http1", "aiohttp"))
def expect(at):
    return {"client": asyncio.run(fetch(at, "POST", "/echo", data=b"x" * 50_000, expect100=True)), "server": at.seen()}


@check("aiohttp expect refused", ("http1",))
def refused(at):
    client = asyncio.run(fetch(at, "POST", "/refuses", data=b"x" * 50_000, expect100=True))
    return {"client": client, "server": at.seen()}


@check("aiohttp form with files", ("http1", "aiohttp"))
def form(at):
    data = aiohttp.FormData()
    data.add_field("name", "value")
    data.add_field("file", b"\x00\xff" * 5000, filename="b.bin", content_type="application/octet-stream")
    data._writer._boundary = b"boundary"  # the same each time
    client = asyncio.run(fetch(at, "POST", "/status?code=200" if at.endpoint == "http1" else "/echo", data=data))
    return {"client": client["status"], "server": {"bytes": at.seen().get("bytes")}}


def connector():
    # aiohttp's own context is older than SSL_CERT_FILE here.
    return aiohttp.TCPConnector(ssl=ssl.create_default_context())


async def fetch(at, method, path, **options):
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector()) as session:
        async with session.request(method, at.url(path), **options) as response:
            content = await response.read()
            fields = [(name.decode(), value.decode("latin-1")) for name, value in response.raw_headers]
            content = hashlib.sha256(content).hexdigest()
            return {"status": response.status, "reason": response.reason, "fields": fields, "content": content}
