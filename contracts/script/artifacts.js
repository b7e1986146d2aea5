#!/usr/bin/env node
// Writes, or compares, the committed ABI and bytecode of the contracts that nodes deploy and call.
//   node script/artifacts.js --write | --check     (after `forge build`; called by scripts/contracts)
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');

const here = path.join(__dirname, '..');
const target = path.join(here, '..', 'p2p_flock', 'chain', 'artifacts');
// Contract whose bytecode is committed -> the contracts whose ABIs answer at its address.
const contracts = {
  FlockToken: ['FlockToken'],
  Beacon: ['Beacon'],
  AllianceFactory: ['AllianceFactory'],
  Alliance: ['Alliance', 'Members', 'Evidence', 'Challenges'],
  Members: ['Members'],
  Evidence: ['Evidence'],
  Challenges: ['Challenges'],
  Genesis: ['Genesis'],
  GmFlock: ['GmFlock'],
  Emission: ['Emission'],
  FlockGovernor: ['FlockGovernor'],
  TimelockController: ['TimelockController'],
};
// Nobody deploys these by themselves: Genesis does, and its creation code holds theirs.
const madeByGenesis = ['GmFlock', 'Emission', 'FlockGovernor', 'TimelockController'];
// Built twice, as tests use it, too: the build through the IR is the one that Genesis holds, and so the deployed one.
const builds = { FlockToken: 'FlockToken.ir' };

const sha256 = (data) => crypto.createHash('sha256').update(data).digest('hex');

function sourceFiles(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const name = path.join(folder, entry.name);
    return entry.isDirectory() ? sourceFiles(name) : name.endsWith('.sol') ? [name] : [];
  }).sort();
}

function sourcesHash() {
  // What decides the bytecode: our sources, the build settings and the locked versions of compiler and libraries.
  const files = [...sourceFiles(path.join(here, 'src')), path.join(here, 'foundry.toml'), path.join(here, 'package-lock.json')];
  return sha256(files.map((file) => path.relative(here, file) + '\0' + sha256(fs.readFileSync(file)) + '\n').join(''));
}

function mergedAbi(parts) {
  const seen = new Set();
  return parts.flatMap((part, i) => part.abi.filter((entry) => {
    if (i > 0 && entry.type === 'constructor') return false;
    const key = JSON.stringify(entry);
    return !seen.has(key) && seen.add(key);
  }));
}

function artifact(name, sources) {
  const read = (contract) => JSON.parse(
    fs.readFileSync(path.join(here, 'out', contract + '.sol', (builds[contract] ?? contract) + '.json'), 'utf8'));
  const built = read(name);
  const settings = built.metadata.settings;
  return {
    contractName: name,
    abi: mergedAbi(contracts[name].map(read)),
    bytecode: madeByGenesis.includes(name) ? '0x' : built.bytecode.object,
    deployedBytecodeBytes: (built.deployedBytecode.object.length - 2) / 2,
    deployedBytecodeSha256: sha256(Buffer.from(built.deployedBytecode.object.slice(2), 'hex')),
    sourcesSha256: sources,
    compiler: {
      name: 'solc',
      version: built.metadata.compiler.version,
      evmVersion: settings.evmVersion,
      optimizerRuns: settings.optimizer.runs,
      viaIr: settings.viaIR ?? false,
    },
  };
}

const mode = process.argv[2];
if (mode !== '--write' && mode !== '--check') {
  console.error('usage: artifacts.js --write | --check');
  process.exit(2);
}
const sources = sourcesHash();
const stale = [];
fs.mkdirSync(target, { recursive: true });
for (const name of Object.keys(contracts)) {
  const file = path.join(target, name + '.json');
  const text = JSON.stringify(artifact(name, sources), null, 1) + '\n';
  if (mode === '--write') fs.writeFileSync(file, text);
  else if (!fs.existsSync(file) || fs.readFileSync(file, 'utf8') !== text) stale.push(name);
}
if (stale.length) {
  console.error(`stale artifacts: ${stale.join(', ')}. The sources changed: run scripts/contracts --write and commit the result.`);
  process.exit(1);
}
