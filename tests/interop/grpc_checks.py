"""gRPC over h2c, and over TLS to hitless: every kind of call, its metadata, its status, its end."""

import grpc

from stage import PATIENCE, check

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0)]


def call(name):
    """A check; the function is given the channel and the metadata, and says what it saw."""

    def register(function):
        @check(f"grpc {name}", ("grpc",), ("2",))
        def ask(at):
            metadata = (("x-run", at.run), ("x-text", "a, b"), ("x-bytes-bin", bytes(range(256))))
            secure = (at.host, grpc.ssl_channel_credentials())
            with grpc.secure_channel(*secure, options=OPTIONS) if at.tls else grpc.insecure_channel(
                at.host, options=OPTIONS
            ) as channel:
                client, lines = function(channel, metadata)
            return {"client": client, "server": sorted((at.seen() for _ in range(lines)), key=repr)}

        return function

    return register


def pairs(metadata):
    return [(key, value if isinstance(value, str) else value.hex()) for key, value in metadata or ()]


def ending(outcome):
    """Of a call or of its error."""
    return {
        "status": outcome.code().name,
        "message": outcome.details(),
        "fields": pairs(outcome.initial_metadata()),
        "trailers of grpc": pairs(outcome.trailing_metadata()),
    }


def status(function):
    """The status that a call ends with, whatever it is."""
    try:
        function()
        return "OK"
    except grpc.RpcError as error:
        return ending(error)


def unary(channel, name):
    return channel.unary_unary(f"/interop.Test/{name}")


@call("unary")
def unary_call(channel, metadata):
    answer, done = unary(channel, "Unary").with_call(b"hello", metadata=metadata, timeout=PATIENCE)
    return {"answer": answer, **ending(done)}, 1


@call("unary without a deadline")
def no_deadline(channel, metadata):
    answer, done = unary(channel, "Unary").with_call(b"", metadata=metadata)
    return {"answer": answer, **ending(done)}, 1


@call("message of 8 MiB")
def large(channel, metadata):
    answer = unary(channel, "Unary")(b"x" * (8 << 20), metadata=metadata, timeout=PATIENCE)
    return len(answer), 1


@call("gzip")
def compressed(channel, metadata):
    answer = unary(channel, "Unary")(b"x" * 100_000, metadata=metadata, compression=grpc.Compression.Gzip)
    return len(answer), 1


@call("error with details")
def fails(channel, metadata):
    return status(lambda: unary(channel, "Fails")(b"", metadata=metadata, timeout=PATIENCE)), 1


@call("unknown method")
def unimplemented(channel, metadata):
    return status(lambda: unary(channel, "Nothing")(b"", metadata=metadata, timeout=PATIENCE)), 0


@call("deadline")
def deadline(channel, metadata):
    # The second line: the server was told, by its own deadline or by the reset.
    # Its text is the client's own, or says that the server's reset came first.
    return status(lambda: unary(channel, "Slow")(b"", metadata=metadata, timeout=2))["status"], 2


@call("cancellation")
def cancelled(channel, metadata):
    stream = channel.unary_stream("/interop.Test/Endless")(b"", metadata=metadata)
    first = next(stream)
    stream.cancel()
    return {"first": first, "status": stream.code().name}, 2


@call("server stream")
def server_stream(channel, metadata):
    stream = channel.unary_stream("/interop.Test/ServerStream")(b"1000", metadata=metadata, timeout=PATIENCE)
    return {"answers": [len(answer) for answer in stream], **ending(stream)}, 1


@call("stream that breaks")
def breaks(channel, metadata):
    stream = channel.unary_stream("/interop.Test/Breaks")(b"", metadata=metadata, timeout=PATIENCE)
    came = []
    return {"end": status(lambda: came.extend(stream)), "came": came}, 1


@call("client stream")
def client_stream(channel, metadata):
    requests = (b"x" * size for size in range(500))
    answer = channel.stream_unary("/interop.Test/ClientStream")(requests, metadata=metadata, timeout=PATIENCE)
    return answer, 1


@call("streams both ways, in turns")
def both(channel, metadata):
    import queue

    to_send = queue.Queue()
    stream = channel.stream_stream("/interop.Test/Both")(iter(to_send.get, None), metadata=metadata, timeout=PATIENCE)
    came = []
    for number in range(100):
        to_send.put(b"%d" % number)
        came.append(next(stream))
    to_send.put(None)
    return {"came": came, "rest": list(stream), **ending(stream)}, 1


@call("a hundred at once")
def many(channel, metadata):
    futures = [unary(channel, "Unary").future(b"%d" % number, metadata=metadata, timeout=PATIENCE) for number in range(100)]
    return [future.result() for future in futures], 100
