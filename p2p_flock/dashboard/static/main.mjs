// @ts-check
// Joins the parts: opens the session, follows the node, and renders what is known, at each event and once a second.

import { render } from "./vendor/preact.mjs";
import { announcer } from "./announce.mjs";
import { follow, openSession } from "./connection.mjs";
import { aged } from "./participants.mjs";
import { html } from "./parts.mjs";
import { chainNowMs, emptyState, withEvent } from "./store.mjs";
import { Footer, Header, Warnings } from "./view_header.mjs";
import { Log } from "./view_log.mjs";
import { Network } from "./view_mesh.mjs";
import { Money } from "./view_money.mjs";
import { Participants } from "./view_participants.mjs";
import { Resources } from "./view_resources.mjs";
import { Round } from "./view_round.mjs";
import { Rounds } from "./view_rounds.mjs";
import { Score } from "./view_score.mjs";

/** @typedef {import("./types.mjs").State} State */
/** @typedef {import("./types.mjs").Theme} Theme */

/** @type {Theme[]} */
const THEMES = ["auto", "light", "dark"];
const place = /** @type {HTMLElement} */ (document.getElementById("page"));
const announce = announcer(/** @type {HTMLElement} */ (document.getElementById("announcements")), () => performance.now());
let state = emptyState();
let isRefused = false;
let isDrawn = false;
/** @type {Theme} */
let theme = THEMES.find((one) => one === document.documentElement.dataset["theme"]) ?? "auto";

function changeTheme() {
  theme = /** @type {Theme} */ (THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  if (theme === "auto") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  try {
    localStorage.setItem("p2p_flock.theme", theme);
  } catch {
    // storage may be forbidden; then the choice lasts until the page is closed
  }
  draw();
}

/** How to open the page: shown to whoever has no session. @param {{isRefused: boolean}} props */
function Locked({ isRefused }) {
  return html`<main id="content" class="notice">
    <h1>${isRefused ? "This link is not valid any more" : "This page needs the node's link"}</h1>
    <p>${isRefused ? "It belongs to another node, or the node was given a new token since." : "Only whoever can read the node's folder may see what it does."}
      On the machine where the node runs, type</p>
    <p class="command"><code>p2p-flock dashboard</code></p>
    <p>and open the link that it prints. <code>p2p-flock dashboard --open</code> opens it in the browser of that machine.
      Where the node runs on another machine, forward its port first: <code>ssh -L ${location.port || "4180"}:127.0.0.1:${location.port || "4180"} HOST</code></p>
  </main>`;
}

/** @param {{watch: import("./types.mjs").Watch | null}} props */
function NoAlliance({ watch }) {
  return html`<section class="panel notice"><h2>${watch ? "This node is in no alliance yet" : "Waiting for the node"}</h2>
    ${watch ? html`<p>See what there is with <code>p2p-flock alliance list</code>, read the terms with <code>p2p-flock alliance show ID</code>,
      and join with <code>p2p-flock alliance join ID</code>. This page then goes on by itself.</p>` : html`<p>The first frame comes as soon as the node answers.</p>`}
  </section>`;
}

/** The alliance as it is now, see `aged`. Between two rounds the last one stays, as it ended, so that the page does not
 * jump twice a round. @param {State} state @param {number} nowMs
 * @returns {{alliance: import("./types.mjs").Alliance | null, isPast: boolean, roundNowMs: number}} */
function shownAlliance({ watch, last }, nowMs) {
  const alliance = watch?.alliance ?? null;
  if (!watch || !alliance) return { alliance: null, isPast: false, roundNowMs: nowMs };
  const isPast = !alliance.running && !alliance.closed && last !== null && alliance.seats >= alliance.seat_count_min;
  const running = isPast ? last.running : alliance.running;
  const [roundNowMs, askedMs] = isPast ? [last.now_ms, last.now_ms] : [nowMs, watch.now_ms];
  if (!running) return { alliance, isPast, roundNowMs };
  const participants = aged(running.participants, roundNowMs - askedMs);
  return { alliance: { ...alliance, running: { ...running, participants } }, isPast, roundNowMs };
}

/** @param {{state: State}} props */
function Page({ state }) {
  const { watch, rounds } = state;
  const monotonic = performance.now();
  const nowMs = chainNowMs(state, monotonic);
  const { alliance, isPast, roundNowMs } = shownAlliance(state, nowMs);
  const ageMs = monotonic - state.watch_at_ms;
  const scoreName = alliance?.score_name || "score";
  return html`<${Header} state=${state} ageMs=${ageMs} theme=${theme} onTheme=${changeTheme} />
    <main id="content" class=${state.link === "live" ? "" : "stale"}>
      <${Warnings} state=${state} ageMs=${ageMs} />
      ${alliance && watch ? html`
        <${Round} alliance=${alliance} nowMs=${roundNowMs} isPast=${isPast} ended=${rounds[0] ?? null} />
        <div class="columns">
          <div class="column">
            <${Participants} alliance=${alliance} nowMs=${roundNowMs} isPast=${isPast} />
            <${Score} rounds=${rounds} scoreName=${alliance.score_name} localNote=${alliance.local_only_note} />
          </div>
          <div class="column">
            <${Network} mesh=${state.mesh} ownSeat=${alliance.own_seat} ownRole=${alliance.running?.role ?? "none"} />
            <${Money} alliance=${alliance} rounds=${rounds} nowMs=${nowMs} />
          </div>
        </div>
        <${Rounds} rounds=${rounds} scoreName=${scoreName} />` : html`<${NoAlliance} watch=${watch} />
        ${watch ? html`<${Network} mesh=${state.mesh} ownSeat=${null} ownRole="none" />` : null}`}
      ${watch ? html`<${Resources} watch=${watch} samples=${state.samples} /><${Log} lines=${state.log} />` : null}
    </main>
    ${watch ? html`<${Footer} watch=${watch} />` : null}`;
}

function draw() {
  if (!isDrawn) place.textContent = ""; // the words of index.html
  isDrawn = true;
  render(isRefused || state.link === "locked" ? html`<${Locked} isRefused=${isRefused} />` : html`<${Page} state=${state} />`, place);
  document.title = titleText();
  announce(state, chainNowMs(state, performance.now()));
}

function titleText() {
  const alliance = state.watch?.alliance;
  const round = alliance?.running ? `round ${alliance.running.round} · ` : "";
  return `${state.link === "live" ? "" : `${state.link} · `}${round}${alliance?.task ?? "p2p_flock node"}`;
}

let isDue = false;
function drawSoon() {
  if (isDue) return;
  isDue = true;
  setTimeout(() => {
    isDue = false;
    draw();
  }, 50); // first events of all kinds come together
}

async function start() {
  const opened = await openSession();
  if (opened === "refused") {
    isRefused = true;
    draw();
    return;
  }
  draw();
  follow({
    onEvent: (kind, data) => {
      state = withEvent(state, kind, data, performance.now());
      drawSoon();
    },
    onLink: (link) => {
      state = { ...state, link };
      drawSoon();
    },
  });
  setInterval(() => {
    if (state.link !== "locked" && !document.hidden) draw();
  }, 1000);
}

addEventListener("hashchange", () => {
  if (location.hash.startsWith("#token=")) location.reload(); // a fresh link in the same tab
});
void start();
