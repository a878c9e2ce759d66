"""WebSockets: websockets, aiohttp and ws as clients, against each other's servers."""

import asyncio
import hashlib
import json
import os
import subprocess

import aiohttp
import websockets
from websockets.asyncio.client import connect

import stage
from python_checks import connector
from stage import PATIENCE, check

SERVERS = ("http1", "websockets")
# Texts of several lengths (each form of the length), Unicode, binary.
MESSAGES = ["", "hello", "x" * 125, "y" * 126, "z" * 65_536, "\u00e9\U0001f40e" * 1000, b"", bytes(range(256)), b"\0" * (1 << 20)]


def of(message):
    content = message.encode() if isinstance(message, str) else message
    return [type(message).__name__, len(content), hashlib.sha256(content).hexdigest()]


async def talk(at, path, say, **options):
    seen = {"frames": []}
    try:
        async with connect(at.url(path, "ws"), max_size=1 << 25, open_timeout=PATIENCE, **options) as connection:
            seen["protocol"] = connection.subprotocol
            seen["extensions"] = [type(one).__name__ for one in connection.protocol.extensions]
            await say(connection, seen["frames"])
            await connection.wait_closed()
    except websockets.exceptions.InvalidStatus as refused:
        return {"refused": refused.response.status_code}
    except websockets.exceptions.ConnectionClosed:
        pass
    return {**seen, "code": connection.close_code, "reason": connection.close_reason}


def client(name, path="/ws", on=SERVERS, **options):
    """A check of the websockets package; the decorated function is what it says."""

    def register(say):
        @check(f"websockets {name}", on)
        def ask(at):
            seen = asyncio.run(asyncio.wait_for(talk(at, path, say, **options), 2 * PATIENCE))
            return {"client": seen, "server": at.seen() if "refused" not in seen else None}

        return say

    return register


async def all_messages(connection, frames):
    for message in MESSAGES:
        await connection.send(message)
        frames.append(of(await connection.recv()))
    await connection.close(1000, "done")


client("messages")(all_messages)
client("messages without compression", compression=None)(all_messages)


@client("subprotocol", subprotocols=["other", "chat"])
async def subprotocol(connection, frames):
    await connection.close(3000, "mine")


@client("ping", ping_interval=None)
async def ping(connection, frames):
    await (await connection.ping(b"there?"))
    frames.append("pong")
    await connection.close()


@client("sends in pieces")
async def in_pieces(connection, frames):
    await connection.send(iter(["one ", "two ", "three"]))
    frames.append(of(await connection.recv()))
    await connection.close()


@client("receives in pieces", on=("websockets",))
async def receives_pieces(connection, frames):
    await connection.send("in pieces")
    async for piece in connection.recv_streaming():
        frames.append(of(piece))
    await connection.send("ping me")
    frames.append(of(await connection.recv()))
    await connection.close()


@client("is closed by the server")
async def is_closed(connection, frames):
    await connection.send("close me")


@client("is dropped by the server")
async def is_dropped(connection, frames):
    await connection.send("drop me")


@client("drops the server")
async def drops(connection, frames):
    await connection.send("hello")
    await connection.recv()
    connection.transport.abort()


@client("is refused", path="/forbidden")
async def refused(connection, frames):
    raise AssertionError("it was opened")


@check("aiohttp websocket", ("aiohttp", *SERVERS))
def aiohttp_websocket(at):
    async def run():
        frames = []
        async with aiohttp.ClientSession(connector=connector()) as session:
            async with session.ws_connect(at.url("/ws", "ws"), protocols=["chat"], compress=15, max_msg_size=0) as socket:
                for message in ("hello", "x" * 70_000):
                    await socket.send_str(message)
                    frames.append(of((await socket.receive()).data))
                await socket.send_bytes(b"\0" * 100_000)
                frames.append(of((await socket.receive()).data))
                await socket.send_str("close me")
                last = await socket.receive()
                return {"frames": frames, "code": socket.close_code, "last": [last.type.name, last.extra]}

    return {"client": asyncio.run(asyncio.wait_for(run(), PATIENCE)), "server": at.seen()}


def ws(name, script, path="/ws", on=SERVERS):
    """A check of the package ws for Node."""

    @check(f"ws {name}", on)
    def ask(at):
        environment = {**os.environ, "INTEROP_MODULES": str(stage.HOME)}
        command = ["node", "clients.mjs", "ws", at.url(path, "ws"), json.dumps(script)]
        done = subprocess.run(command, cwd=stage.HERE, env=environment, capture_output=True, text=True, timeout=2 * stage.PATIENCE)
        seen = json.loads(done.stdout)
        return {"client": seen, "server": at.seen() if "refused" not in seen else None}


ws("messages", {"say": [{"text": "hello"}, {"text": "x" * 70_000}, {"bytes": 0}, {"bytes": 500_000}]})
ws("messages without compression", {"deflate": False, "say": [{"text": "hello"}, {"bytes": 500_000}]})
ws("pieces and a ping", {"say": [{"pieces": ["one ", "two ", "three"]}, {"ping": "there?"}]})
ws("subprotocol", {"protocols": ["other", "chat"], "say": []})
ws("is closed by the server", {"say": [{"text": "close me"}]})
ws("is dropped by the server", {"say": [{"text": "drop me"}]})
ws("drops the server", {"say": [{"text": "hello"}, {"end": True}]})
ws("is refused", {"say": []}, path="/forbidden")
