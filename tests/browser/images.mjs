/** Synthetic images for the tests. */
import { deflateSync } from "node:zlib";

function chunk(type, data) {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt32BE(data.length);
  bytes.write(type, 4, "latin1");
  data.copy(bytes, 8);
  bytes.writeUInt32BE(checksum(bytes.subarray(4, 8 + data.length)), 8 + data.length);
  return bytes;
}

/** CRC-32 as in PNG; Node has it built in only since 20.15. */
function checksum(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) {
      sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
    }
  }
  return (sum ^ 0xffffffff) >>> 0;
}

/** Encodes a PNG whose rows are `row(y)`: 8-bit RGBA, or 1-bit grey for very large ones. */
function png(width, height, { bits, kind }, row) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width);
  header.writeUInt32BE(height, 4);
  header.set([bits, kind, 0, 0, 0], 8);
  const rows = Array.from({ length: height }, (_, y) => Buffer.concat([Buffer.from([0]), row(y)]));
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.concat(rows))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** Encodes an RGBA PNG. @param {(x: number, y: number) => number[]} color RGBA of a pixel */
export function rgba(width, height, color) {
  return png(width, height, { bits: 8, kind: 6 }, (y) =>
    Buffer.from(Array.from({ length: width }, (_, x) => color(x, y)).flat()));
}

/** Encodes black and white stripes, a small file even for a very large image. */
export function stripes(width, height) {
  const row = Buffer.alloc(Math.ceil(width / 8), 0xf0);
  return png(width, height, { bits: 1, kind: 0 }, () => row);
}

/** Returns the width and height in a PNG's header. @param {Buffer} bytes */
export function pngSize(bytes) {
  if (bytes.toString("latin1", 1, 4) !== "PNG" || bytes.toString("latin1", 12, 16) !== "IHDR") {
    throw new Error("not a PNG");
  }
  return { width: bytes.readUInt32BE(16), height: bytes.readUInt32BE(20) };
}

/** Inserts an EXIF orientation into a JPEG. @param {Buffer} jpeg @param {number} orientation */
export function rotated(jpeg, orientation) {
  const tiff = Buffer.from([
    0x4d, 0x4d, 0, 0x2a, 0, 0, 0, 8, // big-endian, the directory is at 8
    0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, // one entry: orientation, one short
    0, 0, 0, 0, // no further directory
  ]);
  const body = Buffer.concat([Buffer.from("Exif\0\0", "latin1"), tiff]);
  const head = Buffer.from([0xff, 0xe1, 0, 0]);
  head.writeUInt16BE(body.length + 2, 2);
  return Buffer.concat([jpeg.subarray(0, 2), head, body, jpeg.subarray(2)]);
}
