// @ts-check
// What this node has at stake and has earned; strikes and rejections with their bounds; penalties with their reasons.

import { Badge, Figures, html, Identifier, Section } from "./parts.mjs";
import { capital, counted, dateTimeText, formatMoney, formatSeconds, shortDigest } from "./format.mjs";

/** @typedef {import("./types.mjs").Alliance} Alliance */

/** Standing: [mark, word, tone, what it means]. @type {Record<string, [string, string, string, string?]>} */
const STANDINGS = {
  none: ["○", "no seat", "plain"],
  joined: ["✓", "seated", "good"],
  leaving: ["–", "leaving", "warn", "the seat goes when the next round opens"],
  suspended: ["!", "suspended", "bad", "for absence"],
  suspected: ["✗", "suspended", "bad", "for rejected cohorts"],
  unbonding: ["–", "left", "warn", "the stake is not free yet"],
  withdrawn: ["–", "left", "plain", "the stake was taken back"],
};

/** @param {{alliance: Alliance, rounds: import("./types.mjs").Round[], nowMs: number}} props */
export function Money({ alliance, rounds, nowMs }) {
  const { holdings } = alliance;
  const [mark, word, tone, meaning] = STANDINGS[alliance.standing] ?? ["?", alliance.standing, "plain"];
  /** @type {[string, unknown, unknown?][]} */
  const figures = [["Seat", html`<${Badge} mark=${mark} word=${word} tone=${tone} />`, meaning]];
  if (holdings) {
    figures.push(["Your stake", formatMoney(holdings.stake)], ["Rewards to claim", formatMoney(holdings.claimable)]);
    if (holdings.earned_total !== undefined) figures.push(["Earned so far", formatMoney(holdings.earned_total), `${formatMoney(holdings.claimed_total ?? "0", "").trim()} claimed`]);
    if (holdings.gas_spent_wei !== undefined) {
      figures.push(["Gas spent", formatMoney(holdings.gas_spent_wei, "ETH", 6), holdings.gas_since_s ? `since ${dateTimeText(holdings.gas_since_s * 1000).slice(0, 10)}` : undefined]);
    }
    figures.push(["In your account", formatMoney(holdings.flock)], ["For transactions", formatMoney(holdings.eth, "ETH", 4)]);
  }
  figures.push(...bounds(alliance));
  return html`<${Section} id="money" title="Stake and rewards" note=${holdings ? `read from the chain ${formatSeconds(nowMs / 1000 - holdings.as_of_s)} ago` : "being read from the chain"}>
    <${Figures} entries=${figures} />
    ${holdings && holdings.claimable !== "0" ? html`<p class="note">Collect rewards in a terminal: <code>p2p-flock wallet claim</code></p>` : null}
    <${Standing} alliance=${alliance} nowMs=${nowMs} />
    <${Penalties} alliance=${alliance} rounds=${rounds} />
    <${PrivacyBudget} privacy=${alliance.privacy} />
  <//>`;
}

/** How near this member is to losing its seat. @param {Alliance} alliance @returns {[string, unknown, unknown?][]} */
function bounds(alliance) {
  /** @type {[string, unknown, unknown?][]} */
  const shown = [];
  if (alliance.strikes !== null) {
    const tone = alliance.strikes ? "warn" : "plain";
    shown.push(["Strikes", html`<span class=${tone}>${alliance.strikes} of 2</span>`, "two in a row suspend the seat; no stake is lost"]);
  }
  if (alliance.rejections !== null && alliance.suspicion_bound > 0) {
    const tone = alliance.rejections ? "warn" : "plain";
    shown.push(["Rejections", html`<span class=${tone}>${alliance.rejections} of ${alliance.suspicion_bound}</span>`,
      "of your cohorts in a row; so many suspend the seat for good; no stake is lost"]);
  }
  return shown;
}

/** What is out of the ordinary about this node's seat, and what to do. @param {{alliance: Alliance, nowMs: number}} props */
function Standing({ alliance, nowMs }) {
  const told = [];
  const [first, second] = alliance.suspended_for;
  if (first !== undefined) {
    told.push(`Suspended: your node was absent in rounds ${first} and ${second ?? "?"}. No stake is lost. ${alliance.closed
      ? "The alliance is closed: withdraw the stake once it is free."
      : "It takes the seat again by itself while it runs, with a fresh mask key; nothing needs to be done."}`);
  }
  const suspected = alliance.suspected_for;
  if (suspected.length) {
    told.push(`Suspected: the cohorts your node trained in were rejected ${counted(suspected.length, "time")} in a row, in rounds ${suspected[0]} to ${suspected[suspected.length - 1]}. No stake is lost. The seat is not taken again: check your data, then withdraw and join anew.`);
  }
  if (alliance.release_at_s !== null) {
    const left = alliance.release_at_s - nowMs / 1000;
    told.push(left > 0 ? `The stake can be withdrawn in ${formatSeconds(left)}, from ${dateTimeText(alliance.release_at_s * 1000)} on.`
      : "The stake can be withdrawn now: `p2p-flock alliance withdraw`.");
  }
  if (!told.length) return null;
  return html`<div class="callout">${told.map((text) => html`<p key=${text.slice(0, 12)}>${text}</p>`)}</div>`;
}

/** Penalties of this member with the reason and the transaction that proves it. @param {{alliance: Alliance, rounds: import("./types.mjs").Round[]}} props */
function Penalties({ alliance, rounds }) {
  const { slashed } = alliance;
  const happened = rounds.flatMap((round) => (round.penalties ?? []).filter((entry) => entry.is_own));
  const entries = happened.map((entry) => ({
    key: `${entry.transaction}${entry.what}${entry.rounds.join()}`, what: entry.text, transaction: entry.transaction, at_s: entry.at_s,
  }));
  if (slashed && !happened.some((entry) => entry.what === "slashed")) {
    const what = `slashed ${formatMoney(slashed.amount)} for ${slashed.fault} in round ${slashed.round}`;
    entries.unshift({ key: slashed.transaction, what, transaction: slashed.transaction, at_s: 0 });
  }
  return html`<h3>Penalties</h3>${entries.length ? html`<ul class="penalties">${entries.map((entry) => html`<li key=${entry.key}>
    <span class="mark bad" aria-hidden="true">! </span>${capital(entry.what)}.${entry.at_s ? html` <span class="note">${dateTimeText(entry.at_s * 1000)}</span>` : null}
    ${entry.transaction ? html` <span class="note">evidence in transaction</span> <${Identifier} label="Transaction" short=${shortDigest(entry.transaction)} full=${entry.transaction} />` : null}</li>`)}</ul>`
    : html`<p class="dim">None.</p>`}`;
}

/** @param {{privacy: import("./types.mjs").Privacy | null}} props */
function PrivacyBudget({ privacy }) {
  if (!privacy) return null;
  const one = (/** @type {number | null} */ epsilon) => (epsilon === null ? "∞" : epsilon.toPrecision(2));
  return html`<h3>Privacy budget</h3><p>ε ${one(privacy.epsilon_spent)} of ${one(privacy.epsilon)} spent at δ ${privacy.delta}: ${privacy.rounds_spent} of at most ${counted(privacy.rounds, "round")} with noise.
    <progress max=${privacy.rounds || 1} value=${privacy.rounds_spent} aria-label="Rounds with noise" /></p>`;
}
