// @ts-check
/** The newest values of a figure, and the line that shows them. The first part is pure. */
import { setAttribute, svg } from "./dom.js";

export const SAMPLES = 120; // at one a second: 2 minutes
const WIDTH = 120;
const HEIGHT = 28;
const MARGIN = 2; // px above and below, so that the line is not cut off
const SHAPE = { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" };

/**
 * Return the paths of a line through the newest samples, which ends at the right edge. A sample of null is a gap.
 *
 * @param {(number | null)[]} samples  oldest first @param {number} width @param {number} height
 * @param {number} [most]  samples in the width| null)[]} samples  oldest first @param {number} width @param {number} height
 * @param {number} [most]  samples in the width
 * @returns {{ line: string, area: string }}
 */
export function sparkline(samples, width, height, most = SAMPLES) {
  const known = samples.filter((value) => value !== null);
  const top = Math.max(...known, 0);
  const low = Math.min(...known, 0);
  const step = width / (most - 1);
  const from = width - (samples.length - 1) * step;
  const y = (/** @type {number} */ value) => height - MARGIN - ((value - low) / (top - low || 1)) * (height - 2 * MARGIN);
  let line = "";
  let area = "";
  /** @type {string[]} */
  let piece = [];
  const close = (/** @type {number} */ end) => {
    if (!piece.length) return;
    const start = end - piece.length;
    line += `M${piece.join("L")}`;
    area += `M${round(from + start * step)} ${height}L${piece.join("L")}L${round(from + (end - 1) * step)} ${height}Z`;
    piece = [];
  };
  samples.forEach((value, index) => {
    if (value === null) close(index);
    else piece.push(`${round(from + index * step)} ${round(y(value))}`);
  });
  close(samples.length);
  return { line, area };
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 100) / 100;
}

/**
 * Return the samples with one more, without the oldest if there are too many.
 *
 * @param {(number | null)[]} samples @param {number | null} value
 */
export function withSample(samples, value) {
  return [...samples.slice(1 - SAMPLES), value];
}

/** A small line of the newest values of a figure. It has no text: the figure stands beside it. */
export class Spark {
  #line = svg("path", { class: "spark-line" });
  #area = svg("path", { class: "spark-area" });
  node = svg("svg", SHAPE, this.#area, this.#line);

  /** @param {(number | null)[]} samples */
  show(samples) {
    const { line, area } = sparkline(samples, WIDTH, HEIGHT);
    setAttribute(this.#line, "d", line);
    setAttribute(this.#area, "d", area);
  }
}
