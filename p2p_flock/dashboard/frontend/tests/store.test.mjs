import assert from "node:assert/strict";
import { test } from "node:test";
import { announcements, announcer } from "../../static/announce.mjs";
import { filterLines } from "../../static/view_log.mjs";
import {
  LOG_LINES_MAX, ROUNDS_MAX, SAMPLES_MAX, SILENT_AFTER_MS, chainNowMs, emptyState, mergeLog, mergeRounds, rates, withEvent,
} from "../../static/store.mjs";

const cost = (seconds, bytes) => ({
  cpu_seconds: seconds, memory_bytes: 1, worker_cpu_seconds: null, worker_memory_bytes: null, bytes_sent: bytes, bytes_received: 0,
});
const watch = (now_ms, more = {}) => ({ now_ms, uptime_s: now_ms / 1000, cost: cost(1, 1), warnings: [], alliance: null, ...more });
const line = (sequence, more = {}) => ({ sequence, time: 1000 + sequence, level: "INFO", logger: "a", message: `m${sequence}`, round: 1, fields: null, ...more });

test("chainNowMs: runs on between frames, and stops without news", () => {
  const state = withEvent(emptyState(), "watch", watch(50_000), 1000);
  assert.equal(chainNowMs(state, 3000), 52_000);
  assert.equal(chainNowMs(state, 999_000), 50_000 + SILENT_AFTER_MS);
  assert.equal(chainNowMs(emptyState(), 5), 0);
});

test("withEvent: a node that was started again begins new rates; unknown kinds change nothing", () => {
  let state = withEvent(emptyState(), "watch", watch(50_000), 0);
  state = withEvent(state, "watch", watch(51_000), 0);
  assert.equal(state.samples.length, 2);
  assert.equal(withEvent(state, "watch", watch(52_000, { uptime_s: 1 }), 0).samples.length, 1);
  assert.equal(withEvent(state, "some_new_kind", {}, 0), state);
});

test("withEvent: rounds of another alliance are not mixed in", () => {
  const of = (alliance, round) => watch(1, { alliance: { alliance, rounds: [{ round }], running: null } });
  const state = withEvent(withEvent(emptyState(), "watch", of("a", 7), 0), "watch", of("b", 0), 0);
  assert.deepEqual(state.rounds, [{ round: 0 }]);
});

test("withEvent: between rounds the last one is kept, of this alliance only", () => {
  const of = (name, running) => watch(7, { alliance: { alliance: name, rounds: [], running } });
  let state = withEvent(emptyState(), "watch", of("a", { round: 3 }), 0);
  state = withEvent(state, "watch", of("a", null), 1);
  assert.deepEqual(state.last, { running: { round: 3 }, now_ms: 7 });
  assert.equal(withEvent(state, "watch", of("b", null), 2).last, null);
});

test("mergeRounds: newest first, details stay, bounded", () => {
  const known = mergeRounds([], [{ round: 1, reasons: ["why"], survivors: 3 }, { round: 2 }]);
  assert.deepEqual(mergeRounds(known, [{ round: 1, survivors: 4 }]), [{ round: 2 }, { round: 1, reasons: ["why"], survivors: 4 }]);
  assert.equal(mergeRounds([], Array.from({ length: 999 }, (_, round) => ({ round }))).length, ROUNDS_MAX);
});

test("mergeLog: a stream that begins anew repeats lines, a restarted node counts from 1", () => {
  const known = [line(1), line(2), line(3)];
  assert.deepEqual(mergeLog(known, [line(2), line(3), line(4)]).map((entry) => entry.sequence), [1, 2, 3, 4]);
  assert.deepEqual(mergeLog(known, [line(1, { time: 9000 })]).map((entry) => entry.time), [9000]);
  assert.equal(mergeLog([], Array.from({ length: 3000 }, (_, index) => line(index))).length, LOG_LINES_MAX);
});

test("rates: per second, looks that are too close are taken together, bounded", () => {
  const look = (at_ms, seconds, bytes) => ({ at_ms, uptime_s: 1, cost: cost(seconds, bytes) });
  const [at, daemon, worker, sent] = rates([look(0, 1, 0), look(100, 1, 0), look(2000, 1.5, 4000)]);
  assert.deepEqual([at, daemon, worker, sent], [[2], [0.25], [null], [2000]]);
  let state = emptyState();
  for (let index = 0; index < SAMPLES_MAX + 9; index += 1) state = withEvent(state, "watch", watch(index * 1000), 0);
  assert.equal(state.samples.length, SAMPLES_MAX);
});

test("filterLines: by level, round and text, also in fields", () => {
  const lines = [line(1), line(2, { level: "WARNING", round: 4 }), line(3, { level: "ERROR", fields: { seat: 12 } })];
  const found = (filter) => filterLines(lines, { level: "info", round: "", text: "", ...filter }).map((entry) => entry.sequence);
  assert.deepEqual(found({}), [1, 2, 3]);
  assert.deepEqual(found({ level: "warning" }), [2, 3]);
  assert.deepEqual(found({ round: "4" }), [2]);
  assert.deepEqual(found({ text: "SEAT=12" }), [3]);
});

test("announcer: says what changed, not more often than each four seconds, and nothing twice", () => {
  const place = { textContent: "" };
  let now = 0;
  const announce = announcer(place, () => now);
  const running = (step) => ({ round: 2, step, steps: [], participants: [] });
  const state = (step) => ({ ...emptyState(), link: "live", watch: watch(1, { alliance: { running: running(step), rounds: [] } }) });
  announce(state("train"), 0);
  assert.equal(place.textContent, "", "the page itself is not announced");
  now = 5000;
  announce(state("seal"), 0);
  assert.equal(place.textContent, "Round 2, step Seal.");
  now = 6000;
  announce(state("unmask"), 0);
  assert.equal(place.textContent, "Round 2, step Seal.", "too soon");
  now = 9500;
  announce(state("unmask"), 0);
  assert.equal(place.textContent, "Round 2, step Open.");
  assert.match(announcements({ ...state("train"), link: "stopped" }, 0).link, /node stopped/);
});
