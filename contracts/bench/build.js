#!/usr/bin/env node
// Compiles FlockStyle.sol, which only `scripts/bench gas` deploys, as foundry.toml says, and writes its artifact beside
// the measurement: it is none of the contracts that nodes know.
//   node bench/build.js
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');

const here = path.join(__dirname, '..');
const file = path.join(__dirname, 'FlockStyle.sol');
const target = path.join(here, '..', 'p2p_flock', 'bench', 'artifacts', 'FlockStyle.json');
const source = fs.readFileSync(file, 'utf8');
const input = {
  language: 'Solidity',
  sources: { 'FlockStyle.sol': { content: source } },
  settings: {
    evmVersion: 'osaka',
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: 'none' },
    outputSelection: { '*': { '*': ['evm.bytecode.object'] } },
  },
};
const output = JSON.parse(require(path.join(here, 'node_modules', 'solc')).compile(JSON.stringify(input)));
const errors = (output.errors ?? []).filter((error) => error.severity === 'error');
if (errors.length) {
  console.error(errors.map((error) => error.formattedMessage).join('\n'));
  process.exit(1);
}
const artifact = {
  contractName: 'FlockStyle',
  bytecode: '0x' + output.contracts['FlockStyle.sol'].FlockStyle.evm.bytecode.object,
  sourceSha256: crypto.createHash('sha256').update(source).digest('hex'),
};
fs.mkdirSync(path.dirname(target), { recursive: true });
fs.writeFileSync(target, JSON.stringify(artifact, null, 1) + '\n');
