/**
 * A small static HTTP server with byte ranges, If-Range, ETags and MIME types. Every response must be revalidated, so the log of
 * requests shows all that a browser needs.
 *
 *   node server.mjs DIR [PORT]     serves DIR and prints the address
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".jpg": "image/jpeg",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".png": "image/png",
  ".safetensors": "application/octet-stream",
  ".svg": "image/svg+xml",
  ".ts": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
  ".webp": "image/webp",
};

/** Returns the file of a URL inside `root`, or null; a folder means its index.html. */
async function find(root, url) {
  let path;
  try {
    path = decodeURIComponent(new URL(url, "http://localhost").pathname);
  } catch {
    return null;
  }
  const file = resolve(join(root, path.endsWith("/") ? `${path}index.html` : path));
  if (path.includes("\0") || !file.startsWith(root + sep)) {
    return null;
  }
  const facts = await stat(file).catch(() => null);
  return facts?.isFile() ? { file, size: facts.size, etag: `"${facts.size.toString(36)}-${facts.mtimeMs.toString(36)}"` } : null;
}

/** Returns a file in memory in the format of `find`. */
function held(files, url) {
  const path = new URL(url, "http://localhost").pathname;
  const bytes = files.get(path);
  return bytes && { file: path, size: bytes.length, etag: `"${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}"`, bytes };
}

/** Parses `bytes=a-b`, `bytes=a-` or `bytes=-n` of `size` bytes to the first and last byte, "bad", or null for the whole file. */
function span(header, size) {
  const found = /^bytes=(\d*)-(\d*)$/.exec(header ?? "");
  if (!found || (found[1] === "" && found[2] === "")) {
    return null;
  }
  const [first, last] = found[1] === ""
    ? [Math.max(0, size - Number(found[2])), size - 1]
    : [Number(found[1]), found[2] === "" ? size - 1 : Math.min(Number(found[2]), size - 1)];
  return first <= last && first < size ? { first, last } : "bad";
}

async function answer(root, files, request, response) {
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.writeHead(405, { Allow: "GET, HEAD" }).end();
    return;
  }
  const found = held(files, request.url) ?? (await find(root, request.url));
  if (!found) {
    response.writeHead(404, { "Content-Type": "text/plain; charset=utf-8" }).end("not found\n");
    return;
  }
  const { file, size, etag, bytes } = found;
  const headers = {
    "Accept-Ranges": "bytes",
    "Cache-Control": "no-cache",
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    ETag: etag,
    "X-Content-Type-Options": "nosniff",
  };
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304, headers).end();
    return;
  }
  // A range of an older version is ignored: the response is the whole file.
  const fresh = (request.headers["if-range"] ?? etag) === etag;
  const range = fresh ? span(request.headers.range, size) : null;
  if (range === "bad") {
    response.writeHead(416, { ...headers, "Content-Range": `bytes */${size}` }).end();
    return;
  }
  const { first, last } = range ?? { first: 0, last: size - 1 };
  response.writeHead(range ? 206 : 200, {
    ...headers,
    "Content-Length": last - first + 1,
    ...(range && { "Content-Range": `bytes ${first}-${last}/${size}` }),
  });
  if (request.method === "HEAD" || size === 0) {
    response.end();
    return;
  }
  if (bytes) {
    response.end(bytes.subarray(first, last + 1));
    return;
  }
  const stream = createReadStream(file, { start: first, end: last });
  stream.on("error", () => response.destroy());
  response.on("close", () => stream.destroy());
  stream.pipe(response);
}

/**
 * Serves a folder on the loopback address.
 *
 * For tests, `files` holds further files by path, which override those of the folder and may change at any time. `intercept` gets
 * each request first; it returns true if it has answered or cut the connection itself.
 * @param {string} dir
 * @param {number} [port] 0 for any free one
 * @param {{ files?: Map<string, Uint8Array>, intercept?: (request: import("node:http").IncomingMessage,
 *   response: import("node:http").ServerResponse) => boolean }} [hooks]
 * @returns {Promise<{ url: string, requests: { method: string, path: string, range?: string, ifRange?: string }[],
 *   close: () => Promise<void> }>}
 */
export async function serve(dir, port = 0, { files = new Map(), intercept = () => false } = {}) {
  const root = resolve(dir);
  const requests = [];
  const server = createServer((request, response) => {
    const { method, url: path, headers } = request;
    requests.push({ method, path, range: headers.range, ifRange: headers["if-range"] });
    if (!intercept(request, response)) {
      answer(root, files, request, response).catch(() => response.destroy());
    }
  });
  await new Promise((ready, failed) => {
    server.once("error", failed);
    server.listen(port, "127.0.0.1", ready);
  });
  return {
    url: `http://localhost:${server.address().port}/`,
    requests,
    close() {
      server.closeAllConnections();
      return new Promise((done) => server.close(done));
    },
  };
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [dir, port = "8080"] = process.argv.slice(2);
  if (!dir || !/^\d+$/.test(port)) {
    console.error("usage: node server.mjs DIR [PORT]");
    process.exit(2);
  }
  const taken = (error) => (error.code === "EADDRINUSE" ? serve(dir, 0) : Promise.reject(error));
  const { url } = await serve(dir, Number(port)).catch(taken);
  console.log(url);
}
