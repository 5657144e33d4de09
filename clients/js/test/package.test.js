// What the package promises: size, types, no dependencies.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import zlib from "node:zlib";
import esbuild from "esbuild";

const FOLDER = new URL("..", import.meta.url);
const read = (name) => fs.readFileSync(new URL(name, FOLDER), "utf8");

test("minified and gzipped it is at most 3 KB", () => {
  const { code } = esbuild.transformSync(read("airlay-events.js"), { minify: true, format: "esm", target: "es2022" });
  const size = zlib.gzipSync(code, { level: 9 }).length;
  console.log(`${code.length} bytes minified, ${size} gzipped`);
  assert.ok(size <= 3 * 1024, `${size} bytes`);
});

test("it has no dependencies, and all files it lists", () => {
  const { dependencies, files, exports } = JSON.parse(read("package.json"));
  assert.equal(dependencies, undefined);
  assert.doesNotMatch(read("airlay-events.js"), /^import /m);
  for (const file of [...files, ...Object.values(exports["."])]) assert.ok(fs.existsSync(new URL(file, FOLDER)), file);
});

test("the lock file names no registry", () => {
  assert.doesNotMatch(read("package-lock.json"), /"resolved"/);
});

test("the types fit a typical use", () => {
  const compiler = fileURLToPath(new URL("node_modules/typescript/bin/tsc", FOLDER));
  const project = fileURLToPath(new URL("test/tsconfig.json", FOLDER));
  execFileSync(process.execPath, [compiler, "--project", project], { stdio: "inherit" });
});
