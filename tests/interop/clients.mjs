// Clients in Node: `clients.mjs NAME URL VERSION` does one thing and prints what it saw as JSON.
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import { createHash } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(process.env.INTEROP_MODULES + "/");
const [, , name, url, version] = process.argv;
const digest = (content) => createHash("sha256").update(content).digest("hex");
const where = new URL(url);
const path = where.pathname + where.search;

function pairs(raw) {
  const found = [];
  for (let at = 0; at < raw.length; at += 2) found.push([String(raw[at]).toLowerCase(), String(raw[at + 1])]);
  return found;
}

async function whole(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

async function one(options, act = (request) => request.end()) {
  const seen = { interim: [] };
  const request = (where.protocol === "https:" ? https : http).request(url, options);
  request.on("information", (info) => seen.interim.push([info.statusCode, info.headers]));
  request.on("continue", () => seen.interim.push("continue"));
  const answered = new Promise((resolve, reject) => request.on("response", resolve).on("error", reject));
  act(request);
  const response = await answered;
  const content = await whole(response);
  return { ...seen, status: response.statusCode, fields: pairs(response.rawHeaders), content: digest(content), trailers: response.trailers };
}

async function two(headers, act = (stream) => stream.end()) {
  const seen = { interim: [] };
  const session = http2.connect(where.origin);
  const stream = session.request({ ":path": path, ...headers }, { endStream: false, waitForTrailers: true });
  stream.on("headers", (fields) => seen.interim.push([fields[":status"], fields.link ?? null]));
  stream.on("trailers", (fields) => (seen.trailers = { ...fields }));
  const answered = new Promise((resolve, reject) => stream.on("response", (_, __, raw) => resolve(raw)).on("error", reject));
  act(stream);
  const raw = pairs(await answered);
  seen.status = raw.find(([name]) => name === ":status")[1];
  seen.fields = raw.filter(([name]) => !name.startsWith(":"));
  seen.content = digest(await whole(stream));
  session.close();
  return seen;
}

const clients = {
  async fetch() {
    const { fetch } = require("undici");
    const response = await fetch(url, { headers: { "x-a": "1" }, cache: "no-store" });
    return { status: response.status, fields: [...response.headers], content: digest(Buffer.from(await response.arrayBuffer())) };
  },
  async upload() {
    const { fetch } = require("undici");
    const body = new ReadableStream({
      start(controller) {
        for (let part = 0; part < 500; part++) controller.enqueue(Buffer.from(`part ${part}\n`));
        controller.close();
      },
    });
    const response = await fetch(url, { method: "POST", body, duplex: "half" });
    return { status: response.status, content: await response.json() };
  },
  async trailers() {
    const { request } = require("undici");
    const response = await request(url, { headers: { te: "trailers" } });
    const content = digest(await whole(response.body));
    return { status: response.statusCode, content, trailers: response.trailers };
  },
  async pipeline() {
    const { Client } = require("undici");
    const client = new Client(where.origin, { pipelining: 10 });
    const answers = await Promise.all(
      Array.from({ length: 30 }, async (_, number) => {
        const response = await client.request({ path: number % 3 ? "/length?bytes=" + number : path, method: "GET" });
        return [response.statusCode, (await whole(response.body)).length];
      }),
    );
    await client.close();
    return answers;
  },
  async abort() {
    const { request } = require("undici");
    const control = new AbortController();
    const response = await request(url, { signal: control.signal });
    try {
      for await (const _ of response.body) control.abort();
      return "ended";
    } catch (error) {
      return error.name;
    }
  },
  async short() {
    const { request } = require("undici");
    const response = await request(url);
    try {
      await whole(response.body);
      return "a whole answer";
    } catch {
      return "an error";
    }
  },
  hints: () => one({}),
  sends_trailers: () =>
    one({ method: "POST", headers: { trailer: "x-sum, x-other", "transfer-encoding": "chunked" } }, (request) => {
      request.write("content");
      request.addTrailers({ "x-sum": "abc", "x-other": "2" });
      request.end();
    }),
  expects: () =>
    one({ method: "POST", headers: { expect: "100-continue", "content-length": 5 } }, (request) => {
      request.on("continue", () => request.end("hello"));
      request.flushHeaders();
      // A refusal comes instead.
      request.on("response", () => request.destroyed || request.writableEnded || request.destroy());
    }),
  two: () => two({ "x-a": "1" }),
  two_trailers: () =>
    two({ ":method": "POST", te: "trailers" }, (stream) => {
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "abc", "x-other": "2" }));
      stream.end("content");
    }),
  two_hints: () => two({}),
  two_cookies: () => two({ cookie: ["a=1", "b=2", "c=3"] }),
  two_expects: () =>
    two({ ":method": "POST", expect: "100-continue" }, (stream) => {
      stream.on("continue", () => stream.end("hello"));
      stream.on("response", () => stream.end());
    }),
  async two_reset() {
    const session = http2.connect(where.origin);
    const stream = session.request({ ":path": path });
    await new Promise((resolve) => stream.once("data", resolve));
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await new Promise((resolve) => stream.once("close", resolve));
    session.close();
    return stream.rstCode;
  },
};

// ws: `clients.mjs ws URL SCRIPT`, where the script is a JSON list of what to say.
clients.ws = () =>
  new Promise((resolve) => {
    const WebSocket = require("ws");
    const script = JSON.parse(version);
    const seen = { frames: [] };
    const socket = new WebSocket(url, script.protocols ?? [], { perMessageDeflate: script.deflate ?? true });
    const next = () => {
      const step = script.say.shift();
      if (step === undefined) return socket.close(4002, "that is all");
      if (step.ping !== undefined) return socket.ping(step.ping);
      if (step.end) return socket.terminate();
      if (step.pieces) {
        step.pieces.forEach((piece, at) => socket.send(piece, { fin: at === step.pieces.length - 1 }));
        return;
      }
      socket.send(step.text ?? Buffer.alloc(step.bytes, 7));
    };
    socket.on("open", () => {
      seen.protocol = socket.protocol;
      seen.extensions = Object.keys(socket._extensions);
      next();
    });
    socket.on("message", (data, binary) => {
      seen.frames.push([binary ? "binary" : "text", data.length, digest(data)]);
      next();
    });
    socket.on("pong", (data) => {
      seen.frames.push(["pong", data.toString()]);
      next();
    });
    socket.on("unexpected-response", (request, response) => {
      seen.refused = response.statusCode;
      socket.terminate();
      resolve(seen);
    });
    socket.on("error", () => {});
    socket.on("close", (code, reason) => resolve({ ...seen, code, reason: reason.toString() }));
  });

clients[name]().then(
  (seen) => {
    process.stdout.write(JSON.stringify(seen));
    process.exit(0);
  },
  (error) => {
    process.stdout.write(JSON.stringify({ failed: error.code ?? error.message }));
    process.exit(0);
  },
);
