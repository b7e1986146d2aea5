import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatBytes, formatMoney, formatScore, formatSeconds, joined, shortAlliance, shortOwner, shortPeer,
} from "../../static/format.mjs";

const cases = (name, of, table) => table.forEach(([given, expected]) =>
  test(`${name}: ${JSON.stringify(given)}`, () => assert.equal(of(...[given].flat()), expected)));

cases("formatSeconds", formatSeconds, [
  [-3, "0 s"], [0.4, "0 s"], [59.4, "59 s"], [59.6, "1 min"], [80, "1 min 20 s"], [3600, "1 h"], [7500, "2 h 5 min"],
  [86400 * 3 + 4 * 3600, "3 d 4 h"],
]);
cases("formatBytes", formatBytes, [
  [0, "0 B"], [980, "980 B"], [999.7, "1.0 kB"], [1200, "1.2 kB"], [99_960, "100 kB"], [123_456_789, "123 MB"], [2e15, "2000 TB"],
]);
cases("formatMoney", formatMoney, [
  ["0", "0 FLOCK"], ["1000000000000000000", "1 FLOCK"], ["14533333333333333333", "14.53 FLOCK"],
  ["999999999999999999", "0.99 FLOCK"], ["1", "0.000000000000000001 FLOCK"], ["-2500000000000000000", "−2.5 FLOCK"],
  ["98300000000000000000000", "98\u202f300 FLOCK"], [["999900000000000000", "ETH", 4], "0.9999 ETH"], ["<b>", "? FLOCK"],
]);
cases("formatScore", formatScore, [[null, "–"], [NaN, "–"], [0.88549, "0.885"], [1234.5, "1235"]]);
cases("joined", (...parts) => joined(parts), [["a", "a"], [["a", "b"], "a and b"], [["a", "b", "c"], "a, b and c"]]);

test("identifiers are shortened, not cut to nothing", () => {
  assert.equal(shortPeer("12D3KooWabcdef"), "…abcdef");
  assert.equal(shortOwner("0x" + "12".repeat(20)), "0x1212…1212");
  assert.equal(shortAlliance(`flock:84530:0x${"ab".repeat(20)}:7`), "flock:84530:0xabab…abab:7");
});
