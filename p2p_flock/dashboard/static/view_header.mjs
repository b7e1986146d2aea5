// @ts-check
// The head of the page: which alliance, how far, how the link is, and what needs the operator's attention.

import { Badge, html, Identifier } from "./parts.mjs";
import { counted, formatSeconds, shortAlliance, shortOwner, shortPeer } from "./format.mjs";
import { LINKS } from "./words.mjs";

/** @typedef {import("./types.mjs").State} State */

const SECTIONS = [
  ["round", "Round"], ["participants", "Participants"], ["score", "Score"], ["network", "Network"], ["money", "Money"],
  ["rounds", "Rounds"], ["resources", "Resources"], ["log", "Log"],
];

const WITHOUT_ALLIANCE = new Set(["network", "resources", "log"]);

/** @param {{state: State, ageMs: number, theme: import("./types.mjs").Theme, onTheme: () => void}} props */
export function Header({ state, ageMs, theme, onTheme }) {
  const alliance = state.watch?.alliance;
  return html`<header class="top">
    <div class="title">
      <h1>${alliance ? html`<span class="task">${alliance.task}</span>` : "p2p_flock node"}</h1>
      ${alliance ? html`<p class="progress-text">${roundsText(alliance)}</p>` : null}
      ${alliance ? html`<${Identifier} label="Alliance" short=${shortAlliance(alliance.alliance)} full=${alliance.alliance} />` : null}
    </div>
    <div class="link">
      <${LinkState} state=${state} ageMs=${ageMs} />
      <button type="button" class="quiet" onClick=${onTheme}>Colours: ${theme}</button>
    </div>
  </header>
  <nav class="sections" aria-label="Sections">${SECTIONS.filter(([id]) => alliance || WITHOUT_ALLIANCE.has(String(id))).map(([id, title]) => html`<a key=${id} href=${`#${id}`}>${title}</a>`)}</nav>`;
}

/** @param {import("./types.mjs").Alliance} alliance */
function roundsText(alliance) {
  const { running, counts } = alliance;
  const ended = [
    [counts.adopted, "adopted"], [counts.rejected, "rejected"], [counts.undecided, "undecided"], [counts.voided, "void"],
  ].filter(([count]) => count);
  const told = ended.map(([count, word]) => `${count} ${word}`).join(", ");
  let place = "not begun";
  if (alliance.closed) place = "closed";
  else if (running) place = `round ${running.round}${running.stage === "statistics" ? " (collects the data's statistics)" : ""}`;
  else if (alliance.opened_rounds) place = "between rounds";
  return `${place} · ${alliance.settled_rounds} of ${alliance.round_count} settled${told ? `: ${told}` : ""}`;
}

/** @param {{state: State, ageMs: number}} props */
function LinkState({ state, ageMs }) {
  const [mark, word, tone] = /** @type {[string, string, string]} */ (LINKS[state.link] ?? LINKS["connecting"]);
  const age = state.watch ? `as of ${formatSeconds(ageMs / 1000)} ago` : "";
  return html`<p class="link-state"><${Badge} mark=${mark} word=${word} tone=${tone} /> <span class="note">${age}</span></p>`;
}

/** What the operator should act on: a link that is gone, then the node's own warnings, each with its remedy.
 * @param {{state: State, ageMs: number}} props */
export function Warnings({ state, ageMs }) {
  const told = [];
  const age = formatSeconds(ageMs / 1000);
  const below = state.watch ? ` What stands below is ${age} old.` : "";
  if (state.link === "stopped") {
    told.push(["The node does not answer.", `Start it on its machine with \`p2p-flock node\`; this page goes on by itself.${below}`]);
  } else if (state.link === "reconnecting") told.push(["The link to the node broke.", `Trying again.${below}`]);
  else if (state.link === "silent") {
    told.push(["The node has said nothing for a while.", `It may be stopped or busy: look at its log on its machine.${below}`]);
  } else if (state.link === "busy") {
    told.push(["Eight pages of this node are open already.", `Close one of them; this page goes on by itself.${below}`]);
  }
  told.push(...seatWarnings(state));
  for (const warning of state.watch?.warnings ?? []) {
    const [what, ...remedy] = warning.split("\n");
    told.push([what, remedy.join(" ")]);
  }
  if (!told.length) return null;
  return html`<section class="warnings" aria-label="Warnings"><ul>${told.map(
    ([what, remedy]) => html`<li key=${what}><span class="mark" aria-hidden="true">!</span><p><strong>${what}</strong> ${remedy}</p></li>`,
  )}</ul></section>`;
}

/** A seat that is lost, and why; the figures stand with stake and rewards. @param {State} state */
function seatWarnings(state) {
  const alliance = state.watch?.alliance;
  const told = [];
  if (alliance?.standing === "suspended" && !alliance.closed) {
    told.push(["Your seat is suspended for absence.", "Your node takes it again by itself while it runs."]);
  }
  if (alliance?.standing === "suspected") told.push(["Your seat is suspended for rejected cohorts.", "Check your data, then withdraw and join anew."]);
  if (alliance?.slashed) told.push([`Your stake was slashed: ${alliance.slashed.fault}.`, "See stake and rewards for the evidence."]);
  return told;
}

/** Which node this is. @param {{watch: import("./types.mjs").Watch}} props */
export function Footer({ watch }) {
  return html`<footer>
    <p>Node <${Identifier} label="Peer" short=${shortPeer(watch.peer_id)} full=${watch.peer_id} /> of account <${Identifier} label="Account" short=${shortOwner(watch.address)} full=${watch.address} /></p>
    <p>chain ${watch.chain_id}, block ${watch.block ?? "not seen yet"} · ${counted(watch.connected_peers, "peer")} connected
      · up for ${formatSeconds(watch.uptime_s)}</p>
    <p>This page only shows. Money and membership are moved in a terminal, with <code>p2p-flock</code>.</p>
  </footer>`;
}
