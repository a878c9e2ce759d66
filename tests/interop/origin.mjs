// The endpoint in Node: one application behind node:http and behind node:http2 (h2c), and a
// WebSocket server (ws). Prints `ready NAME PORT` for each, and for every exchange one JSON line
// with what it saw, once that exchange has ended at this end. No field is added or taken here:
// what the line shows is what Node's own parsers made of the bytes.
import http from "node:http";
import http2 from "node:http2";
import zlib from "node:zlib";
import { createHash } from "node:crypto";
import { createRequire } from "node:module";

// The packages are where the runner has put them, not beside this file.
const { WebSocketServer } = createRequire(process.env.INTEROP_MODULES + "/")("ws");

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const digest = () => createHash("sha256");
const letters = (length) => Buffer.alloc(length, "0123456789abcdef");

/** Flat list of name, value, name, value; as pairs, pseudo-fields left out. */
function pairs(raw) {
  const found = [];
  for (let at = 0; at < raw.length; at += 2)
    if (!raw[at].startsWith(":")) found.push([raw[at].toLowerCase(), raw[at + 1]]);
  return found;
}

const released = new Map();

/** Resolves when /release asks for it. */
function release(run) {
  return new Promise((resolve) => released.set(run, resolve));
}

async function read(request, seen) {
  const hash = digest();
  try {
    for await (const chunk of request) {
      hash.update(chunk);
      seen.bytes += chunk.length;
    }
    seen.complete = true;
  } catch {
    seen.complete = false;
  }
  seen.content = hash.digest("hex");
  seen.trailers = pairs(request.rawTrailers ?? []);
}

/** What each path answers; `url.searchParams` has the details. */
const pages = {
  // 200 with what was asked for.
  async "/echo"(request, response, seen) {
    await read(request, seen);
    response.setHeader("content-type", "application/json");
    response.setHeader("set-cookie", ["a=1; Path=/", "b=2; HttpOnly"]);
    response.setHeader("x-empty", "");
    response.end(JSON.stringify({ method: request.method, content: seen.content, bytes: seen.bytes }));
  },
  // The content that came, as it comes.
  "/mirror"(request, response, seen) {
    request.on("data", (chunk) => (seen.bytes += chunk.length));
    response.writeHead(200, { "content-type": "application/octet-stream" });
    request.pipe(response);
  },
  async "/status"(request, response, seen, url) {
    await read(request, seen);
    const code = Number(url.searchParams.get("code"));
    response.writeHead(code, code >= 300 && code < 400 ? { location: "/echo", etag: '"x"' } : { "x-code": "yes" });
    response.end();
  },
  "/length"(request, response, seen, url) {
    const content = letters(Number(url.searchParams.get("bytes")));
    response.writeHead(200, { "content-length": content.length, "content-type": "text/plain" });
    response.end(request.method === "HEAD" ? undefined : content);
  },
  "/chunked"(request, response, seen, url) {
    response.writeHead(200, { "content-type": "text/plain" });
    for (let piece = 0; piece < Number(url.searchParams.get("pieces")); piece++) response.write(`piece ${piece}\n`);
    response.end();
  },
  "/gzip"(request, response) {
    response.writeHead(200, { "content-encoding": "gzip", vary: "accept-encoding" });
    response.end(zlib.gzipSync(letters(100_000)));
  },
  // Until the connection closes, as HTTP/1.0 had it; HTTP/2 frames it as everything.
  "/until-close"(request, response) {
    response.useChunkedEncodingByDefault = false;
    response.shouldKeepAlive = false;
    response.writeHead(200, { "content-type": "text/plain" });
    response.end(letters(50_000));
  },
  async "/trailers"(request, response, seen) {
    await read(request, seen);
    response.writeHead(200, { trailer: "x-checksum, x-other", "content-type": "text/plain" });
    response.write("content\n");
    response.addTrailers({ "x-checksum": "abc", "x-other": "two words" });
    response.end();
  },
  // 103 before the answer; to HTTP/1.0 none (RFC 9110, section 15.2).
  "/hints"(request, response) {
    if (request.httpVersion !== "1.0") response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
    response.end("hinted\n");
  },
  // The answer is there before the content is, and the content is not wanted.
  "/early"(request, response) {
    response.writeHead(413, { ...(request.stream ? {} : { connection: "close" }), "content-length": 9 });
    response.end("too much\n");
  },
  // Ends in the middle of a promised length.
  "/short"(request, response) {
    response.writeHead(200, { "content-length": 1000 });
    response.write(letters(500), () => response.destroy ? (response.stream ?? response).destroy() : 0);
  },
  // Ends in the middle of an answer without a length.
  "/broken"(request, response) {
    response.writeHead(200, { "content-type": "text/plain" });
    response.write(letters(500), () => (response.stream ?? response).destroy());
  },
  // The first event now, the second when /release says so.
  async "/events"(request, response, seen, url) {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.write("data: 1\n\n");
    await release(url.searchParams.get("run"));
    response.end("data: 2\n\n");
  },
  "/release"(request, response, seen, url) {
    released.get(url.searchParams.get("run"))?.();
    response.end();
  },
  // For a browser: it fetches, opens a WebSocket, writes what it saw into itself, and is loaded then.
  "/page"(request, response) {
    response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
    response.end(page);
  },
  // Empty, once /release says so.
  async "/late"(request, response, seen, url) {
    await release(url.searchParams.get("run"));
    response.writeHead(200, { "content-type": "text/plain" });
    response.end();
  },
  // Never an answer: the client gives up once this has told that it was asked.
  "/never"(request, response, seen) {
    say({ run: seen.run, arrived: true });
    request.resume();
  },
  // Content that never ends.
  "/endless"(request, response) {
    response.writeHead(200, { "content-type": "text/plain" });
    const more = () => {
      while (!response.destroyed && !response.writableEnded && response.write(letters(4096)));
    };
    response.on("drain", more);
    more();
  },
};

const page = `<!doctype html><title>a page</title><pre id="seen"></pre><script>
const run = new URLSearchParams(location.search).get("run");
document.write('<img src="/late?run=' + run + '">');
const talk = () =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(location.origin.replace("http", "ws") + "/ws?run=" + run + "-socket");
    const came = [];
    socket.onopen = () => socket.send("hello");
    socket.onmessage = ({ data }) => {
      came.push(data.length);
      socket.send(came.length === 1 ? "x".repeat(70000) : "close me");
    };
    socket.onclose = ({ code, reason }) => resolve([came, code, reason]);
    socket.onerror = () => reject("the WebSocket failed");
  });
(async () => {
  const seen = {};
  try {
    const many = Array.from({ length: 20 }, async (_, number) => {
      const response = await fetch("/echo?number=" + number + "&run=" + run + "-fetch", { method: "POST", body: "x".repeat(number * 1000) });
      return (await response.json()).bytes;
    });
    seen.fetched = await Promise.all(many);
    seen.socket = await talk();
  } catch (error) {
    seen.error = String(error);
  }
  seen.protocol = performance.getEntriesByType("navigation")[0].nextHopProtocol;
  document.getElementById("seen").textContent = JSON.stringify(seen);
  fetch("/release?run=" + run);
})();
</script>`;

function serve(request, response) {
  const url = new URL(request.url, "http://origin");
  const seen = {
    run: url.searchParams.get("run"),
    method: request.method,
    target: request.url,
    version: request.httpVersion,
    authority: request.headers[":authority"] ?? request.headers.host,
    fields: pairs(request.rawHeaders ?? []),
    bytes: 0,
    expected: request.expected ?? false,
  };
  let told = false;
  const tell = () => {
    if (told || seen.run === null || url.pathname === "/release") return;
    told = true;
    say({ ...seen, finished: response.writableFinished ?? response.finished });
  };
  response.on("close", tell);
  const page = pages[url.pathname];
  if (page === undefined) {
    response.statusCode = 404;
    request.resume();
    return response.end("no such page\n");
  }
  // A client that went away in the middle: the close above tells of it.
  Promise.resolve(page(request, response, seen, url)).catch(() => {});
}

/** `Expect: 100-continue`: refused for /refuses, otherwise said by Node when it is read. */
function expects(request, response) {
  request.expected = true;
  if (request.url.startsWith("/refuses")) {
    const run = new URL(request.url, "http://origin").searchParams.get("run");
    response.on("close", () => say({ run, refused: true }));
    response.writeHead(401, { connection: "close", "content-length": 8 });
    return response.end("not you\n");
  }
  response.writeContinue();
  serve(request, response);
}

const limits = { maxHeaderSize: 64 * 1024, keepAliveTimeout: 60_000 };
const one = http.createServer(limits, serve).on("checkContinue", expects);
const two = http2.createServer(serve).on("checkContinue", expects);
// A request that cannot be parsed, or a stream that was reset, is no reason to end.
two.on("sessionError", () => {}).on("streamError", () => {});

const sockets = new WebSocketServer({
  server: one,
  perMessageDeflate: { threshold: 0 },
  handleProtocols: (offered) => (offered.has("chat") ? "chat" : false),
  verifyClient: ({ req }, done) => (req.url.startsWith("/forbidden") ? done(false, 403, "no") : done(true)),
});
sockets.on("connection", (socket, request) => {
  const run = new URL(request.url, "http://origin").searchParams.get("run");
  const seen = { run, frames: [], protocol: socket.protocol, extensions: Object.keys(socket._extensions) };
  socket.on("message", (data, binary) => {
    seen.frames.push([binary ? "binary" : "text", data.length, createHash("sha256").update(data).digest("hex")]);
    if (!binary && data.toString() === "close me") return socket.close(4001, "as you wish");
    if (!binary && data.toString() === "drop me") return socket.terminate();
    socket.send(data, { binary });
  });
  socket.on("ping", (data) => seen.frames.push(["ping", data.length]));
  socket.on("close", (code, reason) => say({ ...seen, code, reason: reason.toString() }));
  socket.on("error", () => {});
});

for (const [name, server] of [["http1", one], ["h2c", two]])
  server.listen(0, "127.0.0.1", () => console.log(`ready ${name} ${server.address().port}`));
