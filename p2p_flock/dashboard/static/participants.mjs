// @ts-check
// Who is late, and what is being waited for. Pure; `participantState` and its twin in cli/watching/words.py pass the same
// cases, tests/vectors/participant_states.json.

import { counted, formatSeconds, joined, shortPeer } from "./format.mjs";
import { ITEMS, WAITS, WITHOUT } from "./words.mjs";

/** @typedef {import("./types.mjs").Participant} Participant */
/** @typedef {Pick<import("./types.mjs").Running, "step"> & {steps: {step: string, deadline_ms: number | null}[]}} Steps */
/** @typedef {{text: string, is_late: boolean}} Sentence */

// A connection that is back within this makes nobody late: nodes reconnect at once after a broken stream.
export const UNREACHABLE_S = 3;
const NAMED_MAX = 4; // participants named in a sentence; the table has them all

/** @type {Record<string, string>} */
const STEP_OF_ITEM = { contribution: "train", have: "seal", unmasking: "unmask", commitment: "commit", ballot: "settle" };
const SETTLED = new Set(["here", "on_chain", "needless"]);

/** The first item that is due and not here; shares of a neighbor where none is named. @param {Participant} participant */
export function awaitedItem(participant) {
  const found = Object.entries(participant.items).find(([, receipt]) => receipt === "awaited" || receipt === "partial");
  return found ? found[0] : "bundle";
}

/** When an item is due at last, chain time; null where that is not fixed yet.
 * @param {Steps} running @param {string} item */
export function deadlineOf(running, item) {
  const step = STEP_OF_ITEM[item] ?? running.step;
  return running.steps.find((entry) => entry.step === step)?.deadline_ms ?? null;
}

/** Not connected, and for longer than a reconnect takes. @param {Participant} participant */
function isUnreachable(participant) {
  if (participant.is_own || participant.is_connected) return false;
  return participant.seen_seconds_ago === null || participant.seen_seconds_ago >= UNREACHABLE_S;
}

/** Participants as they are now, not when the frame was sent: whoever was away then is away for longer. A connection that
 * comes back is news at once, so nothing is guessed here.
 * @param {Participant[]} participants @param {number} ageMs of the frame @returns {Participant[]} */
export function aged(participants, ageMs) {
  const seconds = Math.floor(ageMs / 1000);
  return participants.map((entry) => (entry.is_connected || entry.seen_seconds_ago === null ? entry
    : { ...entry, seen_seconds_ago: entry.seen_seconds_ago + seconds }));
}

/** What a participant is called, see the table of cases.
 * @param {Participant} participant @param {Steps} running @param {number} nowMs chain time
 * @returns {import("./types.mjs").ParticipantState} */
export function participantState(participant, running, nowMs) {
  const receipts = Object.values(participant.items);
  if (receipts.includes("missed") || receipts.includes("refused")) return "lost";
  if (participant.is_awaited) {
    const deadline = deadlineOf(running, awaitedItem(participant));
    return isUnreachable(participant) || (deadline !== null && nowMs >= deadline) ? "late" : "awaited";
  }
  if (!participant.is_eligible || receipts.every((receipt) => SETTLED.has(receipt))) return "done";
  return !participant.is_own && !participant.is_connected ? "away" : "working";
}

/** `seat 3 (…4tEzFx, not connected for 8 s)`. @param {Participant} participant */
function named(participant) {
  let link = "connected";
  if (!participant.is_connected) {
    link = participant.seen_seconds_ago === null ? "never seen" : `away for ${formatSeconds(participant.seen_seconds_ago)}`;
  }
  return `seat ${participant.seat} (${shortPeer(participant.peer_id)}, ${link})`;
}

/** `It has until 14:03:22 at the latest, 12 s from now; then the round goes on without it.`
 * @param {number | null} deadline @param {number} nowMs @param {string} item @param {(ms: number) => string} clock
 * @param {boolean} areMany */
function untilText(deadline, nowMs, item, clock, areMany) {
  let then = WITHOUT[item] ?? "the round goes on";
  if (areMany) then = then.replace("without it", "without them").replace("the absent trainer earns", "absent trainers earn");
  if (deadline === null) return `No deadline is fixed for it yet; at the step's end ${then}.`;
  const left = Math.floor((deadline - nowMs) / 1000);
  if (left >= 0) return `${areMany ? "They have" : "It has"} until ${clock(deadline)} at the latest, ${formatSeconds(left)} from now; then ${then}.`;
  return `${areMany ? "Their" : "Its"} time ended at ${clock(deadline)}, ${formatSeconds(-left)} ago; from here on ${then}.`;
}

/** The sentences above the table of participants: who is late, what is waited for, until when, and what happens then.
 * @param {import("./types.mjs").Alliance} alliance @param {number} nowMs chain time
 * @param {(ms: number) => string} clock @returns {Sentence[]} */
export function waitingSentences(alliance, nowMs, clock) {
  const running = alliance.running;
  if (running === null || alliance.activity === "catching_up") return [];
  /** @type {Sentence[]} */
  const told = [];
  const awaited = running.participants.filter((entry) => entry.is_awaited);
  for (const is_late of [true, false]) {
    const these = awaited.filter((entry) => (participantState(entry, running, nowMs) === "late") === is_late);
    if (!these.length) continue;
    const item = awaitedItem(/** @type {Participant} */ (these[0]));
    const [, one = "", many = ""] = ITEMS[item] ?? ["", "something of", "something of"];
    const names = these.slice(0, NAMED_MAX).map(named);
    if (these.length > NAMED_MAX) names.push(`${these.length - NAMED_MAX} more`);
    const start = is_late ? "Late:" : "Waiting for";
    const what = `${start} ${these.length > 1 ? many : one} ${joined(names)}.`;
    told.push({ text: `${what} ${untilText(deadlineOf(running, item), nowMs, item, clock, these.length > 1)}`, is_late });
  }
  if (!awaited.length && WAITS[alliance.activity]) {
    told.push({ text: `Waiting for ${WAITS[alliance.activity]}.`, is_late: false });
  }
  const lost = running.participants.filter((entry) => participantState(entry, running, nowMs) === "lost");
  if (lost.length) {
    const names = joined(lost.slice(0, NAMED_MAX).map((entry) => `seat ${entry.seat}${entry.is_own ? " (you)" : ""}`));
    const more = lost.length > NAMED_MAX ? ` and ${counted(lost.length - NAMED_MAX, "other")}` : "";
    told.push({ text: `The round went on without ${names}${more}.`, is_late: false });
  }
  return told;
}
