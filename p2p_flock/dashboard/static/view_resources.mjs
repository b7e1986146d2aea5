// @ts-check
// What the node uses: CPU, memory, bytes; totals, rates now, and small curves since this page was opened.

import { Figures, FoldingSection, html } from "./parts.mjs";
import { Chart } from "./chart.mjs";
import { formatBytes, formatSeconds } from "./format.mjs";
import { rates } from "./store.mjs";

const percent = (/** @type {number} */ share) => `${share >= 0.095 ? Math.round(share * 100) : (share * 100).toFixed(1)} %`;
const perSecond = (/** @type {number} */ rate) => `${formatBytes(rate)}/s`;

/** @param {{watch: import("./types.mjs").Watch, samples: import("./types.mjs").Sample[]}} props */
export function Resources({ watch, samples }) {
  const { cost } = watch;
  const [at = [], daemon = [], worker = [], sent = [], received = []] = rates(samples);
  const now = (/** @type {(number | null)[]} */ values, /** @type {(value: number) => string} */ format) => {
    const last = values[values.length - 1];
    return last === null || last === undefined ? "–" : format(last);
  };
  const memory = (/** @type {number | null} */ bytes) => (bytes === null ? "–" : formatBytes(bytes));
  return html`<${FoldingSection} id="resources" title="What the node uses" note=${`totals since its start ${formatSeconds(watch.uptime_s)} ago`}>
    <${Figures} entries=${[
      ["CPU, daemon", now(daemon, percent), `of one core · ${formatSeconds(cost.cpu_seconds)} in all`],
      ["CPU, training", now(worker, percent), cost.worker_cpu_seconds === null ? "not running" : `of one core · ${formatSeconds(cost.worker_cpu_seconds)} in all`],
      ["Memory, daemon", memory(cost.memory_bytes)],
      ["Memory, training", memory(cost.worker_memory_bytes)],
      ["Sent", formatBytes(cost.bytes_sent), now(sent, perSecond)],
      ["Received", formatBytes(cost.bytes_received), now(received, perSecond)],
    ]} />
    ${at.length > 1 ? html`<${Chart} description="CPU of daemon and training over time; the figures above hold the newest" height=${110} isTime=${true} isFromZero=${true} format=${percent}
        data=${[at, daemon, worker]} lines=${[{ label: "CPU, daemon", color: "--line-a" }, { label: "CPU, training", color: "--line-b", dash: [6, 4] }]} />
      <${Chart} description="Bytes per second over time; the figures above hold the newest" height=${110} isTime=${true} isFromZero=${true} format=${perSecond}
        data=${[at, sent, received]} lines=${[{ label: "sent", color: "--line-a" }, { label: "received", color: "--line-b", dash: [6, 4] }]} />`
      : html`<p class="note plots-coming">Curves begin with the next frames.</p>`}
  <//>`;
}
