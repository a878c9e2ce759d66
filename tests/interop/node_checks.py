"""Clients in Node: undici, node:http, node:http2. clients.mjs is what they do."""

import json
import os
import subprocess

import stage
from stage import check

NODE = ("http1", "h2c")


def node(at, name, path, scheme="http"):
    environment = {**os.environ, "INTEROP_MODULES": str(stage.HOME)}
    command = ["node", "clients.mjs", name, at.url(path, scheme), at.version]
    done = subprocess.run(command, cwd=stage.HERE, env=environment, capture_output=True, text=True, timeout=2 * stage.PATIENCE)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return {"error": done.stderr + done.stdout}


def asks(what, name, path, on=("http1",), clients=("1.1",)):
    @check(f"node {what}", on, clients)
    def ask(at):
        return {"client": node(at, name, path), "server": at.seen()}


asks("undici fetch", "fetch", "/echo")
asks("undici fetch upload stream", "upload", "/echo")
asks("undici request with trailers", "trailers", "/trailers")
asks("undici pipelining", "pipeline", "/length?bytes=100")
asks("undici abort", "abort", "/endless")
asks("undici cut short", "short", "/short")
asks("http hints", "hints", "/hints")
asks("http request trailers", "sends_trailers", "/echo")
asks("http expect 100-continue", "expects", "/echo")
asks("http expect refused", "expects", "/refuses")
asks("http2 get", "two", "/echo", on=NODE, clients=("2",))
asks("http2 trailers both ways", "two_trailers", "/trailers", on=NODE, clients=("2",))
asks("http2 hints", "two_hints", "/hints", on=NODE, clients=("2",))
asks("http2 cookie crumbs", "two_cookies", "/echo", on=NODE, clients=("2",))
asks("http2 expect 100-continue", "two_expects", "/echo", on=NODE, clients=("2",))
asks("http2 reset", "two_reset", "/endless", on=NODE, clients=("2",))
