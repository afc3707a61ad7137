// Makes the Python parser of a Kaitai Struct description: node compile.js FORMAT.ksy DIRECTORY
"use strict";

const fs = require("fs");
const path = require("path");
const yaml = require("js-yaml");
const compiler = require("kaitai-struct-compiler");

const [source, directory] = process.argv.slice(2);
const description = yaml.load(fs.readFileSync(source, "utf8"));
const noImports = { importYaml: (name) => Promise.reject(new Error(`${name}: nothing is imported`)) };
compiler
  .compile("python", description, noImports, false)
  .then((files) => {
    for (const [name, text] of Object.entries(files)) {
      fs.writeFileSync(path.join(directory, name), text);
    }
  })
  .catch((error) => {
    console.error(`${source}: ${error.message || error}`);
    process.exit(1);
  });
