import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { UNREACHABLE_S, aged, participantState, waitingSentences } from "../../static/participants.mjs";

const table = JSON.parse(readFileSync(new URL("../../../../tests/vectors/participant_states.json", import.meta.url), "utf8"));
const clock = () => "12:00:00";

for (const entry of table.cases) {
  test(`participantState: ${entry.name}`, () => {
    const participant = { ...table.default_participant, ...entry.participant };
    const running = { ...table.default_running, ...entry.running };
    assert.equal(participantState(participant, running, entry.now_ms), entry.state);
  });
}

test("participantState: the table's bound is the page's", () => assert.equal(UNREACHABLE_S, table.unreachable_s));

const alliance = (participants, more = {}) => ({
  activity: "collecting", running: { ...table.default_running, participants, ...more },
});
const awaited = { ...table.default_participant, is_awaited: true };

test("waitingSentences: who is late, until when, and what happens then", () => {
  const gone = { ...awaited, seat: 1, is_connected: false, seen_seconds_ago: 9 };
  const told = waitingSentences(alliance([awaited, gone]), 30_000, clock);
  assert.equal(told.length, 2);
  assert.deepEqual(told.map((sentence) => sentence.is_late), [true, false]);
  assert.match(told[0].text, /^Late: the masked update of seat 1 \(…[A-Za-z0-9]{6}, away for 9 s\)\. It has until 12:00:00 at the latest, 10 s from now; then the round goes on without it/);
  assert.match(told[1].text, /^Waiting for the masked update of seat 4/);
});

test("waitingSentences: at most four names, the others counted", () => {
  const many = Array.from({ length: 9 }, (_, seat) => ({ ...awaited, seat }));
  assert.match(waitingSentences(alliance(many), 30_000, clock)[0].text, /seat 3 \([^)]*\) and 5 more\./);
});

test("waitingSentences: after the deadline it says for how long", () => {
  assert.match(waitingSentences(alliance([awaited]), 47_000, clock)[0].text, /Its time ended at 12:00:00, 7 s ago/);
});

test("waitingSentences: nobody is waited for", () => {
  const told = waitingSentences({ ...alliance([]), activity: "awaiting_seal" }, 30_000, clock);
  assert.match(told[0].text, /^Waiting for the seal on chain/);
  assert.deepEqual(waitingSentences({ ...alliance([awaited]), activity: "catching_up" }, 30_000, clock), []);
  assert.deepEqual(waitingSentences({ activity: "awaiting_seats", running: null }, 0, clock), []);
});

test("waitingSentences: whom the round went on without", () => {
  const lost = { ...table.default_participant, items: { contribution: "missed" } };
  assert.match(waitingSentences(alliance([lost]), 60_000, clock).at(-1).text, /went on without seat 4/);
});

test("aged: whoever was away is away for longer, others are left as they are", () => {
  const away = { ...awaited, is_connected: false, seen_seconds_ago: 2 };
  const never = { ...away, seen_seconds_ago: null };
  assert.deepEqual(aged([away, awaited, never], 1900).map((entry) => entry.seen_seconds_ago), [3, 2, null]);
});
