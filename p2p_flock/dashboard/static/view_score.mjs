// @ts-check
// Is the model getting better: the score of the alliance's model by round, with the local-only score beside it.

import { html, Section, Table } from "./parts.mjs";
import { Chart } from "./chart.mjs";
import { formatScore } from "./format.mjs";
import { curveText, scoreCurve } from "./outcomes.mjs";

/** @param {{rounds: import("./types.mjs").Round[], scoreName: string | null | undefined, localNote: string | null | undefined}} props
 * `localNote`: why there is no local-only score, in the node's words */
export function Score({ rounds, scoreName, localNote }) {
  const curve = scoreCurve(rounds, scoreName);
  const points = curve.points.filter((point) => point.alliance !== null || point.local !== null);
  /** @type {import("./chart.mjs").Line[]} */
  const lines = [{ label: `the alliance's model (${curve.name})`, color: "--line-a" }];
  if (curve.has_local) lines.push({ label: "trained on your own data alone", color: "--line-b", dash: [6, 4] });
  const data = [points.map((point) => point.round), points.map((point) => point.alliance)];
  if (curve.has_local) data.push(points.map((point) => point.local));
  const text = curveText(curve);
  return html`<${Section} id="score" title="Is the model getting better?">
    <p>${text}</p>
    ${points.length
      ? html`<${Chart} description=${`Curve by round. ${text} The table below holds the numbers.`} height=${280} data=${data} lines=${lines} format=${formatScore} />`
      : html`<div class="plot-280 empty">The curve begins with the first round that this node measured.</div>`}
    <p class="note">Measured by your node on your private test data; no other node sees it.${
      curve.has_local ? " The dashed line has had as many trainings, on your data only." : ` There is no local-only score to compare with${localNote ? `: ${localNote}` : " yet"}.`}</p>
    ${points.length ? html`<details><summary>The same as a table</summary><${Table} caption="Score by round" className="plain" columns=${[
      { title: "Round", isNumber: true }, { title: `Alliance's model, ${curve.name}`, isNumber: true }, { title: "Own data alone", isNumber: true },
    ]} rows=${points.map((point) => ({ key: point.round, cells: [point.round, formatScore(point.alliance), formatScore(point.local)] }))} /></details>` : null}
  <//>`;
}
