"""The endpoints in Python: `origins.py aiohttp|websockets|grpc|uvicorn|gunicorn`.

Each binds a port that the kernel chooses, prints `ready NAME PORT`, and one JSON line for each
exchange with what it saw, as origin.mjs does.
"""

import asyncio
import hashlib
import json
import os
import socket
import sys
from urllib.parse import parse_qs, urlsplit


def say(line):
    # One write: lines of several threads must not mix.
    os.write(1, (json.dumps(line) + "\n").encode())


def run_of(target):
    return parse_qs(urlsplit(target).query).get("run", [None])[0]


def listening():
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    return listener, listener.getsockname()[1]


def serve_aiohttp():
    from aiohttp import web

    async def echo(request):
        content = await request.read()
        fields = [[name.decode().lower(), value.decode("latin-1")] for name, value in request.raw_headers]
        seen = {"method": request.method, "target": request.raw_path, "fields": fields,
                "content": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        say({"run": run_of(request.raw_path), **seen})
        return web.json_response({"method": request.method, "content": seen["content"]})

    async def stream(request):
        response = web.StreamResponse(headers={"content-type": "text/plain"})
        await response.prepare(request)
        for piece in range(100):
            await response.write(b"piece %d\n" % piece)
        await response.write_eof()
        say({"run": run_of(request.raw_path)})
        return response

    async def websocket(request):
        answer = web.WebSocketResponse(protocols=["chat"], compress=True)
        await answer.prepare(request)
        frames = []
        async for message in answer:
            frames.append([message.type.name, len(message.data)])
            if message.data == "close me":
                await answer.close(code=4001, message=b"as you wish")
            elif message.type.name == "TEXT":
                await answer.send_str(message.data)
            else:
                await answer.send_bytes(message.data)
        say({"run": run_of(request.raw_path), "frames": frames, "code": answer.close_code})
        return answer

    async def main():
        app = web.Application(client_max_size=1 << 30)
        # A real implementation of ranges and conditions.
        app.router.add_static("/files", os.environ["INTEROP_FILES"])
        app.router.add_route("*", "/echo", echo)
        app.router.add_get("/stream", stream)
        app.router.add_get("/ws", websocket)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        listener, port = listening()
        await web.SockSite(runner, listener).start()
        print(f"ready aiohttp {port}", flush=True)
        await asyncio.Event().wait()

    asyncio.run(main())


def serve_websockets():
    from websockets.asyncio.server import serve

    async def talk(connection):
        frames = []
        try:
            async for message in connection:
                content = message.encode() if isinstance(message, str) else message
                frames.append([type(message).__name__, len(content), hashlib.sha256(content).hexdigest()])
                if message == "close me":
                    await connection.close(4001, "as you wish")
                elif message == "drop me":
                    connection.transport.abort()
                elif message == "in pieces":
                    await connection.send(iter(["one ", "two ", "three"]))
                elif message == "ping me":
                    await (await connection.ping(b"are you there"))
                    await connection.send("you are")
                else:
                    await connection.send(message)
        except Exception:  # the close code says it
            pass
        say({"run": run_of(connection.request.path), "frames": frames, "code": connection.close_code,
             "reason": connection.close_reason, "protocol": connection.subprotocol})

    def guard(connection, request):
        if request.path.startswith("/forbidden"):
            return connection.respond(403, "not you\n")

    async def main():
        listener, port = listening()
        async with serve(talk, sock=listener, subprotocols=["chat"], process_request=guard, max_size=1 << 25):
            print(f"ready websockets {port}", flush=True)
            await asyncio.Event().wait()

    asyncio.run(main())


def serve_grpc():
    import grpc
    from concurrent.futures import ThreadPoolExecutor

    def seen(context, **more):
        fields = [[key, value if isinstance(value, str) else value.hex()]
                  for key, value in context.invocation_metadata()]
        run = dict(fields).get("x-run")
        remaining = context.time_remaining()
        say({"run": run, "fields": fields, "deadline": remaining is not None and remaining < 3600, **more})

    def unary(request, context):
        context.send_initial_metadata((("x-initial", "yes"), ("x-initial-bin", b"\x00\xff\x80")))
        context.set_trailing_metadata((("x-trailing", "end"), ("x-trailing-bin", b"\x01\xfe")))
        seen(context, bytes=len(request))
        return request

    def fails(request, context):
        # google.rpc.Status by hand: code 9, message "no", and nothing else.
        details = b"\x08\x09\x12\x02no"
        context.set_trailing_metadata((("grpc-status-details-bin", details), ("x-why", "because")))
        seen(context)
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100% r\u00e9serv\u00e9\nline two")

    def slow(request, context):
        # Ends with the call: at its deadline or when it is cancelled.
        import threading

        over = threading.Event()
        context.add_callback(over.set)
        seen(context)
        over.wait(30)
        say({"run": dict(context.invocation_metadata()).get("x-run"), "over": over.is_set()})
        return b"late"

    def server_stream(request, context):
        count = int(request)
        seen(context, count=count)
        for number in range(count):
            yield b"%d" % number * 100

    def endless(request, context):
        import threading

        over = threading.Event()
        context.add_callback(over.set)
        seen(context)
        yield b"one"
        over.wait(30)
        say({"run": dict(context.invocation_metadata()).get("x-run"), "over": over.is_set()})

    def breaks(request, context):
        seen(context)
        yield b"one"
        yield b"two"
        context.abort(grpc.StatusCode.DATA_LOSS, "in the middle")

    def client_stream(requests, context):
        sizes = [len(request) for request in requests]
        seen(context, count=len(sizes), total=sum(sizes))
        return b"%d messages, %d bytes" % (len(sizes), sum(sizes))

    def both(requests, context):
        for request in requests:
            yield b"answer to " + request
        seen(context)

    kinds = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Fails": grpc.unary_unary_rpc_method_handler(fails),
        "Slow": grpc.unary_unary_rpc_method_handler(slow),
        "ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
        "Endless": grpc.unary_stream_rpc_method_handler(endless),
        "Breaks": grpc.unary_stream_rpc_method_handler(breaks),
        "ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(16), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("interop.Test", kinds),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"ready grpc {port}", flush=True)
    server.wait_for_termination()


async def asgi(scope, receive, send):
    """For uvicorn: what it saw."""
    if scope["type"] != "http":
        return
    content, more = b"", True
    while more:
        event = await receive()
        content, more = content + event.get("body", b""), event.get("more_body", False)
    target = scope["raw_path"].decode() + "?" + scope["query_string"].decode()
    fields = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
    seen = {"method": scope["method"], "target": target, "fields": fields, "bytes": len(content)}
    say({"run": run_of(target), **seen})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1"), (b"x-a", b"2")]})
    await send({"type": "http.response.body", "body": content[:1000], "more_body": True})
    await send({"type": "http.response.body", "body": b"end"})


def wsgi(environ, start):
    """For gunicorn: what it saw."""
    content = environ["wsgi.input"].read()
    target = environ["RAW_URI"]
    say({"run": run_of(target), "method": environ["REQUEST_METHOD"], "target": target, "bytes": len(content),
         "digest": hashlib.sha256(content).hexdigest()})
    start("200 OK", [("x-a", "1"), ("x-a", "2"), ("content-type", "text/plain")])
    return [content[:1000], b"end"]


def serve_uvicorn():
    listener, port = listening()
    os.set_inheritable(listener.fileno(), True)
    print(f"ready uvicorn {port}", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "uvicorn", "--fd", str(listener.fileno()),
                              "--no-access-log", "--log-level", "warning", "--app-dir",
                              os.path.dirname(os.path.abspath(__file__)), "origins:asgi"])


def serve_gunicorn():
    listener, port = listening()
    os.set_inheritable(listener.fileno(), True)
    print(f"ready gunicorn {port}", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listener.fileno()}",
                              "--log-level", "error", "--threads", "4", "--chdir",
                              os.path.dirname(os.path.abspath(__file__)), "origins:wsgi"])


if __name__ == "__main__":
    globals()["serve_" + sys.argv[1]]()
