/** Packs in memory for fault tests: unpacks and packs safetensors shards and updates their indexes. */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** @typedef {Map<string, Buffer>} Pack a pack's files by their path in it */
/** @typedef {{ dtype: string, shape: number[], bytes: Buffer }} Tensor */

/** @param {string} folder @returns {Promise<Pack>} */
export async function readPack(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));
  const read = async (file) => [file.slice(folder.length).replace(/^\/+/, ""), await readFile(file)];
  return new Map(await Promise.all(files.map(read)));
}

/** @param {Buffer} shard @returns {Map<string, Tensor>} */
export function unpack(shard) {
  const length = Number(shard.readBigUInt64LE());
  const header = JSON.parse(shard.toString("utf8", 8, 8 + length));
  delete header.__metadata__;
  return new Map(Object.entries(header).map(([name, { dtype, shape, data_offsets: [from, to] }]) => [
    name,
    { dtype, shape, bytes: shard.subarray(8 + length + from, 8 + length + to) },
  ]));
}

/** Builds a shard from any header and data, whether they match or not. */
export function assemble(header, data) {
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, data]);
}

/** Splits a shard into header and data. @param {Buffer} shard */
export function parts(shard) {
  const length = Number(shard.readBigUInt64LE());
  return { header: JSON.parse(shard.toString("utf8", 8, 8 + length)), data: shard.subarray(8 + length) };
}

/** @param {Map<string, Tensor>} tensors @returns {Buffer} */
export function pack(tensors) {
  let at = 0;
  const header = {};
  for (const [name, { dtype, shape, bytes }] of tensors) {
    header[name] = { dtype, shape, data_offsets: [at, (at += bytes.length)] };
  }
  return assemble(header, Buffer.concat([...tensors.values()].map(({ bytes }) => bytes)));
}

export const indexPath = (component) => `${component}/model.safetensors.index.json`;

/** @param {Pack} files @param {string} component */
export const index = (files, component) => JSON.parse(files.get(indexPath(component)).toString());

/** Returns the pack with one file changed. @param {Pack} files @param {string} path @param {Buffer | string | null} content */
export function withFile(files, path, content) {
  const changed = new Map(files);
  if (content === null) {
    changed.delete(path);
  } else {
    changed.set(path, Buffer.from(content));
  }
  return changed;
}

/** Returns the pack with one JSON file changed by `change`. */
export function withJson(files, path, change) {
  const value = JSON.parse(files.get(path).toString());
  return withFile(files, path, JSON.stringify(change(value) ?? value));
}

/** Returns the pack with a shard replaced, and the index updated to match. */
export function withShard(files, component, name, shard) {
  const changed = withFile(files, `${component}/${name}`, shard);
  return withJson(changed, indexPath(component), ({ metadata }) => {
    metadata.shards[name] = { length: shard.length, sha256: createHash("sha256").update(shard).digest("hex") };
  });
}

/**
 * Splits a component's weights into `count` shards of about equal size.
 * @param {Pack} files
 * @param {string} component
 * @param {number} count
 * @returns {Pack}
 */
export function reshard(files, component, count) {
  const { metadata, weight_map: map } = index(files, component);
  const changed = new Map(files);
  const all = [];
  for (const name of Object.keys(metadata.shards)) {
    all.push(...unpack(files.get(`${component}/${name}`)));
    changed.delete(`${component}/${name}`);
  }
  const total = all.reduce((sum, [, { bytes }]) => sum + bytes.length, 0);
  metadata.shards = {};
  let [filled, next] = [0, 0];
  for (let i = 0; i < count; i += 1) {
    const some = [];
    for (; next < all.length && filled < ((i + 1) * total) / count; next += 1) {
      some.push(all[next]);
      filled += all[next][1].bytes.length;
    }
    if (some.length === 0) {
      throw new Error(`the tensors of ${component} do not fill ${count} shards of about equal size`);
    }
    const name = `model-${String(i + 1).padStart(5, "0")}-of-${String(count).padStart(5, "0")}.safetensors`;
    const shard = pack(new Map(some));
    changed.set(`${component}/${name}`, shard);
    metadata.shards[name] = { length: shard.length, sha256: createHash("sha256").update(shard).digest("hex") };
    some.forEach(([tensor]) => (map[tensor] = name));
  }
  return withFile(changed, indexPath(component), JSON.stringify({ metadata, weight_map: map }));
}

/**
 * Deepens the transformer to `layers` blocks by repeating its own: a large pack without a large model in git.
 * @param {Pack} files with one shard per component
 * @param {number} layers
 * @returns {Pack}
 */
export function deepen(files, layers) {
  const { num_layers: period } = JSON.parse(files.get("transformer/config.json").toString());
  const { metadata } = index(files, "transformer");
  const [shard, ...others] = Object.keys(metadata.shards);
  if (others.length > 0) {
    throw new Error(`the transformer is in ${1 + others.length} shards; one is read`);
  }
  const tensors = new Map();
  for (const [name, tensor] of unpack(files.get(`transformer/${shard}`))) {
    const [, block, rest] = /^blocks\.(\d+)(\..*)$/.exec(name) ?? [];
    if (block === undefined) {
      tensors.set(name, tensor);
    }
    for (let layer = Number(block); layer < layers; layer += period) {
      tensors.set(`blocks.${layer}${rest}`, tensor);
    }
  }
  const indexed = withJson(withShard(files, "transformer", shard, pack(tensors)), indexPath("transformer"), ({ weight_map: map }) => {
    Object.keys(map).forEach((name) => delete map[name]);
    [...tensors.keys()].forEach((name) => (map[name] = shard));
  });
  return withJson(indexed, "transformer/config.json", (config) => {
    config.num_layers = layers;
  });
}

/**
 * Widens the transformer `times` times, with `layers` blocks: a large pack of few large tensors, like those of real
 * models. Its weights repeat the original ones, so it runs but generates no meaningful images.
 * @param {Pack} files with one shard per component and q8 weights
 * @param {number} times
 * @param {number} layers
 * @returns {Pack}
 */
export function widen(files, times, layers) {
  const deep = deepen(files, layers);
  const { hidden_size: d, mlp_ratio: ratio } = JSON.parse(files.get("transformer/config.json").toString());
  // Sides that scale with the width: of matrices, of their packed values, four in an integer, and of their blocks of 32.
  const sides = [d, 2 * d, 3 * d, 6 * d, ratio * d].flatMap((side) => [side, side / 4, side / 32]);
  const scalable = new Set(sides.filter((side) => Number.isInteger(side) && side >= d / 32));
  const { metadata } = index(deep, "transformer");
  const [shard] = Object.keys(metadata.shards);
  const tensors = new Map();
  for (const [name, { dtype, shape, bytes }] of unpack(deep.get(`transformer/${shard}`))) {
    const scaled = shape.map((side) => (scalable.has(side) ? side * times : side));
    const factor = scaled.reduce((product, side, i) => (product * side) / shape[i], 1);
    tensors.set(name, { dtype, shape: scaled, bytes: Buffer.concat(Array(factor).fill(bytes)) });
  }
  const widened = withShard(deep, "transformer", shard, pack(tensors));
  return withJson(widened, "transformer/config.json", (config) => {
    config.hidden_size *= times;
    config.num_attention_heads *= times;
  });
}
