// @ts-check
// What a screen reader is told while the page changes: a new round or step, somebody late, the link. Not chatty: at most
// one announcement in some seconds, and only what changed.

import { joined } from "./format.mjs";
import { aged, participantState } from "./participants.mjs";
import { LINKS, STEPS } from "./words.mjs";

const PAUSE_MS = 4000;

/** What is worth an announcement, as parts that are compared one by one.
 * @param {import("./types.mjs").State} state @param {number} nowMs @returns {Record<string, string>} */
export function announcements(state, nowMs) {
  const running = state.watch?.alliance?.running;
  /** @type {Record<string, string>} */
  const told = { link: state.link === "live" ? "The node is connected." : `Node: ${LINKS[state.link]?.[1] ?? state.link}.` };
  if (running) {
    told["step"] = `Round ${running.round}, step ${STEPS[running.step]?.[0] ?? running.step}.`;
    const late = aged(running.participants, nowMs - (state.watch?.now_ms ?? nowMs)).filter((entry) => participantState(entry, running, nowMs) === "late").map((entry) => `seat ${entry.seat}`);
    told["late"] = late.length ? `Late: ${joined(late.slice(0, 5))}${late.length > 5 ? " and others" : ""}.` : "";
  }
  const ended = state.rounds[0];
  if (ended) told["ended"] = `Round ${ended.round} ended: ${ended.outcome === "voided" ? "void" : joined(ended.cohort_outcomes)}.`;
  return told;
}

/** A function that is given each state and writes what changed to the live region.
 * @param {HTMLElement} place @param {() => number} monotonicMs */
export function announcer(place, monotonicMs) {
  /** @type {Record<string, string> | null} */
  let before = null;
  let saidAt = -PAUSE_MS;
  return (/** @type {import("./types.mjs").State} */ state, /** @type {number} */ nowMs) => {
    if (!state.watch) return;
    const now = announcements(state, nowMs);
    const known = before ?? now;
    const news = Object.keys(now).filter((key) => now[key] && now[key] !== known[key]).map((key) => now[key]);
    if (before === null) before = now;
    if (!news.length || monotonicMs() - saidAt < PAUSE_MS) return;
    before = now;
    saidAt = monotonicMs();
    place.textContent = news.join(" ");
  };
}
