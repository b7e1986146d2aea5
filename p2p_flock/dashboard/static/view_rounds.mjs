// @ts-check
// The rounds that ended: what came out, why, what this node did in them, and what it earned.

import { Component } from "./vendor/preact.mjs";
import { Badge, CohortLines, html, Identifier, isPhone, Section, Table } from "./parts.mjs";
import { dateTimeText, formatChange, formatMoney, formatScore, formatSeconds, shortDigest } from "./format.mjs";
import { explainRound, outcomeOf, survivorsTexts, votesTexts } from "./outcomes.mjs";
import { OUTCOMES } from "./words.mjs";

/** @typedef {import("./types.mjs").Round} Round */

const SHOWN_FIRST = 6;
const SHOWN_FIRST_PHONE = 3;
const SHOWN_MORE = 24;
const COLUMNS = [
  { title: "Round", isNumber: true }, { title: "Outcome", className: "wide" }, { title: "Survivors", isNumber: true },
  { title: "For : against" }, { title: "You" }, { title: "Your measurement" }, { title: "Your reward", isNumber: true },
  { title: "Took", isNumber: true }, { title: "Transactions" },
];

/** @extends {Component<{rounds: Round[], scoreName: string}, {shown: number}>} */
export class Rounds extends Component {
  state = { shown: isPhone() ? SHOWN_FIRST_PHONE : SHOWN_FIRST };
  render() {
    const { rounds, scoreName } = this.props;
    const { shown } = this.state;
    return html`<${Section} id="rounds" title="Rounds that ended" note=${rounds.length ? "newest first" : null}>
      ${rounds.length ? html`<${Table} caption="Rounds that ended, newest first" className="cards rounds" columns=${COLUMNS}
        rows=${rounds.slice(0, shown).map((round) => row(round, scoreName))} />` : html`<p class="empty">No round has ended yet.</p>`}
      ${shown < rounds.length ? html`<button type="button" onClick=${() => this.setState({ shown: shown + SHOWN_MORE })}>
        Show ${Math.min(SHOWN_MORE, rounds.length - shown)} more of ${rounds.length}</button>` : null}
    <//>`;
  }
}

/** @param {Round} round @param {string} scoreName */
function row(round, scoreName) {
  const outcome = outcomeOf(round);
  const [mark, word, tone] = /** @type {[string, string, string]} */ (OUTCOMES[outcome]);
  const told = explainRound(round);
  const [these, all] = [round.cohort_outcomes.filter((one) => one === outcome).length, round.cohort_outcomes.length];
  const part = these && these < all ? `, ${these} of ${all} cohorts` : "";
  return {
    key: round.round,
    className: `outcome-${outcome}`,
    cells: [
      round.round,
      html`<${Badge} mark=${mark} word=${word + part} tone=${tone} />${told.map((text) => html`<p class="why" key=${text}>${text}</p>`)}`,
      html`<${CohortLines} lines=${survivorsTexts(round)} sum=${`${round.survivors} of ${round.trainers}`} />`,
      html`<${CohortLines} lines=${votesTexts(round)} sum=${round.votes_for.length ? `${round.votes_for.length} cohorts` : "–"} />`,
      round.role ?? html`<span class="dim">no part</span>`,
      html`<${Measured} round=${round} scoreName=${scoreName} />`,
      html`<${Reward} round=${round} />`,
      html`<span title=${round.ended_at_s ? `ended ${dateTimeText(round.ended_at_s * 1000)}` : undefined}>${round.seconds === null ? "–" : formatSeconds(round.seconds)}</span>`,
      html`<${Transactions} round=${round} />`,
    ],
  };
}

/** @param {{round: Round, scoreName: string}} props */
function Measured({ round, scoreName }) {
  const judged = round.judgement;
  const lines = [];
  if (judged) {
    for (const [cohort, loss] of Object.entries(judged.losses_after)) {
      const name = Object.keys(judged.losses_after).length > 1 ? `cohort ${cohort} ` : "";
      lines.push(`${name}loss ${formatChange(judged.loss_before, loss)}`);
      const score = judged.scores_after[cohort];
      if (score !== null && score !== undefined) lines.push(`${name}${scoreName} ${formatChange(judged.score_before, score)}`);
    }
  } else if (typeof round.own_score === "number") lines.push(`${scoreName} ${formatScore(round.own_score)}`);
  return lines.length ? html`${lines.map((line) => html`<div key=${line}>${line}</div>`)}` : html`<span class="dim">–</span>`;
}

/** @param {{round: Round}} props */
function Reward({ round }) {
  if (!round.money) return html`<span class="dim">–</span>`;
  const { trainer, validator, refunds, total, is_claimed } = round.money;
  const parts = [["as trainer", trainer], ["as validator", validator], ["gas refunded", refunds]]
    .filter(([, wei]) => wei !== "0").map(([name, wei]) => `${name} ${formatMoney(wei ?? "0")}`);
  return html`<span title=${parts.join(", ")}>${formatMoney(total)}</span>${is_claimed === null ? null : html`<div class="note">${is_claimed ? "claimed" : "claimable"}</div>`}`;
}

/** @param {{round: Round}} props */
function Transactions({ round }) {
  const list = round.transactions ?? [];
  if (!list.length) return html`<span class="dim">–</span>`;
  const more = round.transactions_left_out ?? 0;
  return html`<details class="transactions"><summary>${list.length + more}<span class="unseen"> transactions of round ${round.round}</span></summary>
    <ul>${list.map((entry) => html`<li key=${entry.transaction + entry.what}>${entry.what}${entry.is_own ? " (yours)" : ""} <${Identifier}
      label="Transaction" short=${shortDigest(entry.transaction)} full=${entry.transaction} /></li>`)}</ul>${
    more ? html`<p class="note">and ${more} more</p>` : null}</details>`;
}
