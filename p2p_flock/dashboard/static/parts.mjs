// @ts-check
// Small parts that every section uses. Texts go through preact's text nodes only: what peers send is never markup.

import htm from "./vendor/htm.mjs";
import { Component, h } from "./vendor/preact.mjs";
import { dateTimeText, formatSeconds } from "./format.mjs";

export const html = htm.bind(h);

/** @typedef {{title: string, isNumber?: boolean, className?: string}} Column */
/** @typedef {{key: string | number, cells: unknown[], className?: string}} Row */

/** A section with its heading; `id` is what the navigation jumps to.
 * @param {{id: string, title: string, note?: unknown, className?: string, children?: unknown}} props */
export function Section({ id, title, note, className, children }) {
  return html`<section id=${id} class=${`panel ${className ?? ""}`} aria-labelledby=${`${id}-title`}>
    <div class="panel-head"><h2 id=${`${id}-title`}>${title}</h2>${note ? html`<p class="note">${note}</p>` : null}</div>
    ${children}
  </section>`;
}

/** @type {MediaQueryList | null} */
let found = null;
const narrow = () => (found ??= matchMedia("(max-width: 699px)")); // not when loaded: there is no screen in the tests of words
/** Whether the screen is one on which everything stands in one narrow column. */
export const isPhone = () => narrow().matches;

/** A section that is folded away on a phone until it is asked for; its content is made when it is open.
 * @extends {Component<{id: string, title: string, note?: unknown, className?: string, children?: unknown}, {isOpen: boolean}>} */
export class FoldingSection extends Component {
  state = { isOpen: location.hash === `#${this.props.id}` };

  open = () => {
    if (location.hash === `#${this.props.id}`) this.setState({ isOpen: true });
  };

  redraw = () => this.forceUpdate();

  componentDidMount() {
    addEventListener("hashchange", this.open); // the navigation jumps here
    narrow().addEventListener("change", this.redraw);
  }

  componentWillUnmount() {
    removeEventListener("hashchange", this.open);
    narrow().removeEventListener("change", this.redraw);
  }

  render() {
    const { id, title, note, className, children } = this.props;
    if (!isPhone()) return html`<${Section} id=${id} title=${title} note=${note} className=${className}>${children}<//>`;
    const { isOpen } = this.state;
    return html`<section id=${id} class=${`panel folding ${className ?? ""}`} aria-labelledby=${`${id}-title`}>
      <details open=${isOpen} onToggle=${(/** @type {Event} */ event) => this.setState({ isOpen: /** @type {HTMLDetailsElement} */ (event.target).open })}>
        <summary><h2 id=${`${id}-title`}>${title}</h2></summary>
        ${isOpen ? html`${note ? html`<p class="note">${note}</p>` : null}${children}` : null}
      </details>
    </section>`;
  }
}

/** One line for each cohort; more than six are folded under their sum. @param {{lines: string[], sum: string}} props */
export function CohortLines({ lines, sum }) {
  if (lines.length < 2) return html`${lines[0] ?? sum}`;
  const told = lines.map((line, cohort) => html`<div key=${cohort} class="cohort-line">${line} <span class="dim">in cohort ${cohort}</span></div>`);
  return lines.length > 6 ? html`<details><summary>${sum}</summary>${told}</details>` : html`${told}`;
}

/** A state as mark and word: never by colour alone. @param {{mark: string, word: string, tone: string, title?: string}} props */
export function Badge({ mark, word, tone, title }) {
  return html`<span class=${`badge tone-${tone}`} title=${title}><span class="mark" aria-hidden="true">${mark}</span>${word}</span>`;
}

/** An identifier: short, whole when pressed, so that it can be read out and copied.
 * @extends {Component<{label: string, short: string, full: string}, {isWhole: boolean}>} */
export class Identifier extends Component {
  state = { isWhole: false };
  render() {
    const { label, short, full } = this.props;
    const { isWhole } = this.state;
    return html`<button type="button" class="identifier" aria-expanded=${isWhole} title=${full}
      aria-label=${`${label} ${isWhole ? full : short}, ${isWhole ? "shorten" : "show whole"}`}
      onClick=${() => this.setState({ isWhole: !isWhole })}>${isWhole ? full : short}</button>`;
  }
}

/** `5 s ago` with the time of day behind it. @param {{ms: number, nowMs: number}} props both Unix time */
export function Ago({ ms, nowMs }) {
  const text = dateTimeText(ms);
  return html`<time dateTime=${new Date(ms).toISOString()} title=${text}>${formatSeconds((nowMs - ms) / 1000)} ago</time>`;
}

/** A table that becomes a list of cards on a phone; the roles keep it a table for screen readers there.
 * @param {{caption: string, columns: Column[], rows: Row[], className?: string, isCaptionShown?: boolean}} props */
export function Table({ caption, columns, rows, className, isCaptionShown }) {
  return html`<table role="table" class=${className}>
    <caption class=${isCaptionShown ? "" : "unseen"}>${caption}</caption>
    <thead role="rowgroup"><tr role="row">${columns.map(
      (column) => html`<th role="columnheader" scope="col" class=${classOf(column)} key=${column.title}>${column.title}</th>`,
    )}</tr></thead>
    <tbody role="rowgroup">${rows.map(
      (row) => html`<tr role="row" key=${row.key} class=${row.className}>${row.cells.map((cell, index) => {
        const column = /** @type {Column} */ (columns[index]);
        return html`<td role="cell" data-label=${column.title} class=${classOf(column)} key=${column.title}><div class="cell">${cell}</div></td>`;
      })}</tr>`,
    )}</tbody>
  </table>`;
}

/** @param {Column} column */
const classOf = (column) => `${column.isNumber ? "number " : ""}${column.className ?? ""}`;

/** Names and values, for a handful of figures. @param {{entries: [string, unknown, unknown?][]}} props */
export function Figures({ entries }) {
  return html`<dl class="figures">${entries.map(
    ([name, value, note]) => html`<div key=${name}><dt>${name}</dt><dd>${value}${note ? html` <span class="note">${note}</span>` : null}</dd></div>`,
  )}</dl>`;
}
