// @ts-check
// What the page knows, as one object that is replaced at every change. Everything in it is bounded.

/** @typedef {import("./types.mjs").State} State */
/** @typedef {import("./types.mjs").Round} Round */

export const LOG_LINES_MAX = 2000; // as many as the node keeps
export const ROUNDS_MAX = 400;
export const SAMPLES_MAX = 300; // ten minutes at one look each two seconds
export const SILENT_AFTER_MS = 12_000; // a frame comes at least each 5 s

/** @returns {State} */
export const emptyState = () => ({
  link: "connecting", watch: null, watch_at_ms: 0, last: null, mesh: null, rounds: [], log: [], samples: [],
});

/** Chain time now as far as it is known: it runs on between frames, but not without news.
 * @param {State} state @param {number} monotonicMs */
export function chainNowMs(state, monotonicMs) {
  if (!state.watch) return 0;
  return state.watch.now_ms + Math.min(SILENT_AFTER_MS, Math.max(0, monotonicMs - state.watch_at_ms));
}

/** Rounds by number, newest first; what is newer is laid over what is known, so that a history's details stay.
 * @param {Round[]} known @param {Round[]} news */
export function mergeRounds(known, news) {
  const byNumber = new Map(known.map((entry) => [entry.round, entry]));
  for (const entry of news) byNumber.set(entry.round, { ...byNumber.get(entry.round), ...entry });
  return [...byNumber.values()].sort((one, other) => other.round - one.round).slice(0, ROUNDS_MAX);
}

/** The state after an event of the stream. Unknown kinds change nothing.
 * @param {State} state @param {string} kind @param {any} data @param {number} monotonicMs @returns {State} */
export function withEvent(state, kind, data, monotonicMs) {
  if (kind === "watch") {
    const former = state.watch;
    const isOther = former !== null && former.alliance?.alliance !== data.alliance?.alliance;
    const isRestarted = former !== null && data.uptime_s < former.uptime_s;
    const samples = isRestarted ? [] : state.samples;
    const sample = { at_ms: data.now_ms, cost: data.cost, uptime_s: data.uptime_s };
    return {
      ...state,
      link: "live",
      watch: data,
      watch_at_ms: monotonicMs,
      last: data.alliance?.running ? { running: data.alliance.running, now_ms: data.now_ms } : isOther ? null : state.last,
      rounds: mergeRounds(isOther ? [] : state.rounds, data.alliance?.rounds ?? []),
      samples: [...samples, sample].slice(-SAMPLES_MAX),
    };
  }
  if (kind === "mesh") return { ...state, mesh: data };
  if (kind === "history") return { ...state, rounds: mergeRounds(state.rounds, data.rounds) };
  if (kind === "log") return { ...state, log: mergeLog(state.log, data.lines) };
  return state;
}

/** Lines by their sequence; a stream that begins anew repeats some, a node that was started again counts from 1.
 * @param {State["log"]} known @param {State["log"]} news */
export function mergeLog(known, news) {
  const first = news[0];
  if (!first) return known;
  const isOther = known.some((line) => line.sequence === first.sequence && line.time !== first.time);
  const kept = isOther ? [] : known.filter((line) => line.sequence < first.sequence);
  return [...kept, ...news].slice(-LOG_LINES_MAX);
}

/** Rates between looks: [seconds since the epoch, share of a core of the daemon, of the worker, bytes/s sent, received].
 * Looks that are closer than 0.9 s are taken together. @param {State["samples"]} samples */
export function rates(samples) {
  /** @type {(number | null)[][]} */
  const columns = [[], [], [], [], []];
  let before = samples[0];
  for (const sample of samples.slice(1)) {
    if (!before) break;
    const seconds = (sample.at_ms - before.at_ms) / 1000;
    if (seconds < 0.9) continue;
    const [now, then] = [sample.cost, before.cost];
    const worker = now.worker_cpu_seconds !== null && then.worker_cpu_seconds !== null
      ? Math.max(0, now.worker_cpu_seconds - then.worker_cpu_seconds) / seconds : null;
    const row = [
      sample.at_ms / 1000,
      Math.max(0, now.cpu_seconds - then.cpu_seconds) / seconds,
      worker,
      Math.max(0, now.bytes_sent - then.bytes_sent) / seconds,
      Math.max(0, now.bytes_received - then.bytes_received) / seconds,
    ];
    row.forEach((value, index) => columns[index]?.push(value));
    before = sample;
  }
  return columns;
}
