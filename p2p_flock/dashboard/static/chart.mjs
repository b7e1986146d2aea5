// @ts-check
// A line chart by uPlot. The library is loaded when the first chart is shown, after the first paint. Colours come from
// the style sheet; a chart is drawn anew when the theme or the width changes.

import { Component } from "./vendor/preact.mjs";
import { html } from "./parts.mjs";

/** @typedef {{label: string, color: string, dash?: number[]}} Line color: name of a custom property */
/** @typedef {{description: string, height: number, data: (number | null)[][], lines: Line[], isTime?: boolean,
 *   format: (value: number) => string, isFromZero?: boolean}} ChartProps */

/** @type {Promise<typeof import("./vendor/uplot.mjs").default | null> | null} */
let library = null;
const forget = () => {
  library = null; // the node went before it was sent: asked for again with the next frame
  return null;
};
const load = () => (library ??= import("./vendor/uplot.mjs").then((module) => module.default, forget));

/** @extends {Component<ChartProps>} */
export class Chart extends Component {
  /** @type {HTMLElement | null} */ place = null;
  /** @type {import("./vendor/uplot.mjs").default | null} */ plot = null;
  /** @type {ResizeObserver | null} */ sizes = null;
  dark = matchMedia("(prefers-color-scheme: dark)");
  themes = new MutationObserver(() => this.redraw());
  isLoading = false;
  redraw = () => void this.draw();

  componentDidMount() {
    this.sizes = new ResizeObserver(() => this.fit());
    if (this.place) this.sizes.observe(this.place);
    this.themes.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    this.dark.addEventListener("change", this.redraw);
    this.redraw();
  }

  componentWillUnmount() {
    this.sizes?.disconnect();
    this.themes.disconnect();
    this.dark.removeEventListener("change", this.redraw);
    this.plot?.destroy();
    this.plot = null;
    this.place = null;
  }

  /** Redrawn only where the points are others: the page renders each second. @param {ChartProps} before */
  componentDidUpdate(before) {
    if (!this.plot) {
      this.redraw();
      return;
    }
    if (JSON.stringify(before.data) === JSON.stringify(this.props.data)) return;
    if (before.lines.length === this.props.lines.length) this.plot.setData(/** @type {any} */ (this.props.data));
    else this.redraw();
  }

  fit() {
    const width = this.place?.clientWidth ?? 0;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({ width, height: this.props.height });
  }

  async draw() {
    if (this.isLoading) return;
    this.isLoading = true;
    const Plot = await load();
    this.isLoading = false;
    const place = this.place;
    if (!place || !Plot) return;
    this.plot?.destroy();
    const style = getComputedStyle(place);
    const color = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    const { lines, height, isTime, isFromZero, format, data } = this.props;
    const axis = {
      stroke: color("--dim"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: `12px ${style.fontFamily}`,
    };
    this.plot = new Plot({
      width: place.clientWidth || 300,
      height,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { time: isTime ?? false }, y: { range: isFromZero ? { min: { mode: 1, hard: 0, soft: 0, pad: 0 }, max: { pad: 0.1 } } : undefined } },
      series: [{}, ...lines.map((line) => ({
        label: line.label, stroke: color(line.color), width: 2, dash: line.dash, spanGaps: true, points: { show: !isTime, size: 6 },
      }))],
      axes: [
        { ...axis, size: 28, space: isTime ? 80 : 40, incrs: isTime ? undefined : [1, 2, 5, 10, 20, 50, 100, 200, 500],
          values: isTime ? [[1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1]] : undefined },
        { ...axis, size: 64, space: 28, values: (/** @type {unknown} */ _, /** @type {number[]} */ values) => values.map(format) },
      ],
    }, /** @type {any} */ (data), place);
  }

  render() {
    const { lines, description, height } = this.props;
    return html`<figure class="chart">
      <figcaption>${lines.map((line) => html`<span key=${line.label} class="key"><svg width="26" height="8" aria-hidden="true"><line x1="0" y1="4" x2="26" y2="4"
        class=${`stroke${line.color}`} stroke-width="2" stroke-dasharray=${line.dash?.join(" ")} /></svg>${line.label}</span>`)}</figcaption>
      <div class=${`plot plot-${height}`} role="img" aria-label=${description} ref=${(/** @type {HTMLElement | null} */ place) => (this.place = place)} />
    </figure>`;
  }
}
