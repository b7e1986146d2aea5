// @ts-check
// Every participant of the running round: role, state, last seen, what it has given; on top who is late.

import { Badge, html, Identifier, Section, Table } from "./parts.mjs";
import { Component } from "./vendor/preact.mjs";
import { clockText, formatSeconds, shortOwner, shortPeer } from "./format.mjs";
import { awaitedItem, participantState, waitingSentences } from "./participants.mjs";
import { ITEMS, PARTICIPANT_STATES, RECEIPTS } from "./words.mjs";

/** @typedef {import("./types.mjs").Participant} Participant */
/** @typedef {import("./types.mjs").Running} Running */

const SHOWN_FIRST = 12;
const ORDER = Object.keys(PARTICIPANT_STATES); // late first

/** @extends {Component<{alliance: import("./types.mjs").Alliance, nowMs: number, isPast: boolean}, {isAll: boolean}>} */
export class Participants extends Component {
  state = { isAll: false };
  render() {
    const { alliance, nowMs, isPast } = this.props;
    const { running } = alliance;
    if (!running || !running.participants.length) {
      return html`<${Section} id="participants" title="Participants"><p class="empty">${
        running ? "Roles are drawn when the public random value is here." : "No round runs, so nobody is waited for."}</p><//>`;
    }
    const states = new Map(running.participants.map((entry) => [entry.seat, participantState(entry, running, nowMs)]));
    const ordered = [...running.participants].sort((one, other) => one.seat - other.seat);
    if (ordered.length > SHOWN_FIRST) ordered.sort((one, other) => rank(states, one) - rank(states, other));
    const shown = this.state.isAll ? ordered : ordered.slice(0, SHOWN_FIRST);
    return html`<${Section} id="participants" title="Participants" className=${isPast ? "past" : ""} note=${isPast ? `of round ${running.round}, as it ended` : countText(states)}>
      ${isPast ? html`<div class="waiting">Roles are drawn anew when the next round begins.</div>` : html`<${Waiting} alliance=${alliance} nowMs=${nowMs} />`}
      <${Cohorts} running=${running} />
      <${Table} caption=${`Participants of round ${running.round}, as this node sees them`} className="cards participants" columns=${COLUMNS}
        rows=${shown.map((entry) => row(entry, running, nowMs, isPast))} />
      ${shown.length < ordered.length
        ? html`<button type="button" onClick=${() => this.setState({ isAll: true })}>Show all ${ordered.length}</button>` : null}
      ${running.participant_count > ordered.length
        ? html`<p class="note">${running.participant_count - ordered.length} more take part; nothing is being waited for from them.</p>` : null}
    <//>`;
  }
}

const COLUMNS = [
  { title: "Seat", isNumber: true }, { title: "Participant" }, { title: "Role" }, { title: "State" }, { title: "Last seen" }, { title: "Has given" },
];

/** @param {Map<number, string>} states @param {Participant} entry */
const rank = (states, entry) => ORDER.indexOf(states.get(entry.seat) ?? "working");

/** `1 late, 2 waited for, 4 done`. @param {Map<number, string>} states */
function countText(states) {
  const all = [...states.values()];
  return ORDER.map((state) => [all.filter((entry) => entry === state).length, state])
    .filter(([count]) => count)
    .map(([count, state]) => `${count} ${PARTICIPANT_STATES[String(state)]?.[1]}`)
    .join(", ");
}

const AT_WORK = new Set(["starting", "training", "publishing", "fetching_bundles", "judging"]);

/** Who is late, what is waited for, until when, and what happens then. @param {{alliance: import("./types.mjs").Alliance, nowMs: number}} props */
function Waiting({ alliance, nowMs }) {
  const told = waitingSentences(alliance, nowMs, clockText);
  if (!told.length) return html`<div class="waiting dim">Nobody is waited for${AT_WORK.has(alliance.activity) ? ": your node is at work" : " now"}.</div>`;
  return html`<div class="waiting">${told.map(
    ({ text, is_late }) => html`<p key=${text.slice(0, 12)} class=${is_late ? "late" : ""}>${
      is_late ? html`<span class="mark" aria-hidden="true">! </span>` : null}${text}</p>`,
  )}</div>`;
}

/** How far each cohort is, as far as this node sees. @param {{running: Running}} props */
function Cohorts({ running }) {
  const known = running.cohorts.filter((cohort) => cohort.survivors !== null || cohort.held !== null);
  if (!known.length) return null;
  return html`<ul class="cohorts">${known.map((cohort) => {
    const name = running.cohorts.length > 1 ? `Cohort ${cohort.cohort}` : "The cohort";
    const { trainers, held, survivors, answered, threshold } = cohort;
    if (survivors === null) {
      return html`<li key=${cohort.cohort}>${name}: <b>${held} of ${trainers}</b> masked updates are here and checked
        <progress max=${trainers} value=${held ?? 0} aria-label=${`${name}: masked updates here`} /></li>`;
    }
    return html`<li key=${cohort.cohort}>${name}: <b>${survivors} of ${trainers}</b> trainers are in${answered === null ? null
      : html`; <b>${answered} of ${survivors}</b> answers are here, ${threshold} open the sum
        <progress max=${survivors || 1} value=${answered} aria-label=${`${name}: answers here`} />`}</li>`;
  })}</ul>`;
}

const OVER = ["·", "round over", "dim", "the round is over"];

/** @param {Participant} entry @param {Running} running @param {number} nowMs @param {boolean} isPast */
function row(entry, running, nowMs, isPast) {
  const told = participantState(entry, running, nowMs);
  const state = isPast && told !== "lost" ? "over" : told;
  const [mark, word, tone, meaning] = PARTICIPANT_STATES[state] ?? OVER;
  const who = html`<span class="who">${entry.is_own ? html`<strong class="you">you</strong> ` : null}<${Identifier} label="Peer"
    short=${shortPeer(entry.peer_id)} full=${entry.peer_id} /> <${Identifier} label="Owner" short=${shortOwner(entry.owner)} full=${entry.owner} /></span>`;
  const role = entry.cohort !== null && running.cohorts.length > 1 ? `${entry.role}, cohort ${entry.cohort}` : entry.role;
  return {
    key: entry.seat,
    className: `state-${state}${entry.is_own ? " own" : ""}`,
    cells: [
      entry.seat, who, role,
      html`<${Badge} mark=${mark} word=${word} tone=${tone} title=${meaning} />`,
      lastSeen(entry),
      html`<${Items} entry=${entry} isLate=${state === "late"} />`,
    ],
  };
}

/** @param {Participant} entry */
function lastSeen(entry) {
  if (entry.is_own) return html`<span class="dim">this node</span>`;
  const seen = entry.seen_seconds_ago;
  const ago = seen === null ? "never" : seen < 1 ? "just now" : `${formatSeconds(seen)} ago`;
  return entry.is_connected ? html`${seen === null ? "connected" : ago}` : html`<span class="warn">${ago}, away</span>`;
}

/** What is known to have come from a participant. @param {{entry: Participant, isLate: boolean}} props */
function Items({ entry, isLate }) {
  if (!entry.is_eligible) return html`<span class="dim">sits out: its mask key is spent</span>`;
  const late = isLate ? awaitedItem(entry) : "";
  return html`<ul class="items">${Object.entries(entry.items).map(([item, receipt]) => {
    const [mark, word, tone] = RECEIPTS[receipt] ?? ["?", receipt, "dim"];
    const name = ITEMS[item]?.[0] ?? item;
    const own = entry.is_own && receipt === "here" ? "sent" : entry.is_own && receipt === "awaited" ? "in the making" : word;
    return html`<li key=${item} class=${`tone-${item === late ? "bad" : tone}`} title=${`${name}: ${own}`}><span
      class="mark" aria-hidden="true">${item === late ? "!" : mark}</span> ${name}<span class=${LOUD.has(receipt) ? "" : "unseen"}> ${own}</span></li>`;
  })}</ul>`;
}

const LOUD = new Set(["partial", "refused", "missed"]); // the others are told by their mark, and to screen readers in words
