"use strict";
// Elements are made from parts, and every text of the project becomes a text node: nothing here parses HTML.

const content = JSON.parse(document.getElementById("content").textContent);
const digits = new Intl.NumberFormat("en", { maximumFractionDigits: 3 });
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const h = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
const mono = (text, attributes = {}) => h("code", attributes, text);

/** The address of a place on this page. */
const place = (kind, name, feature) =>
  `#${kind}=${encodeURIComponent(name)}${feature ? `&feature=${encodeURIComponent(feature)}` : ""}`;

/** A link that leaves the page, to the web or, where that is asked for, to a file beside the page; otherwise only its text. */
function outside(address, text, beside = false) {
  const leads = /^https?:\/\//i.test(address) || (beside && !/^([\w+.-]*:|[\\/]{2})/.test(address));
  return leads ? h("a", { href: address, rel: "noopener noreferrer", class: "outside" }, text) : text;
}

const DOCS_KINDS = ["model", "seed", "source", "snapshot", "exposure", "macro"];

/** A link to dbt docs for a node, if the page knows where they are. */
function docsLink(id) {
  const kind = (id || "").split(".")[0];
  if (!content.docs || !DOCS_KINDS.includes(kind)) return null;
  return outside(`${content.docs}#!/${kind}/${encodeURIComponent(id)}`, "dbt docs", true);
}

const when = (text) => (text ? text.replace("T", " ").replace(/(:00)?(\.\d+)?Z$/, "") : "–");
const count = (number, one, many) => `${digits.format(number)} ${number === 1 ? one : many || `${one}s`}`;
const percent = (share) => `${digits.format(Math.round(1000 * share) / 10)} %`;

function duration(seconds) {
  for (const [size, unit] of [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
  ]) {
    if (Math.abs(seconds) >= size) return `${(seconds / size).toFixed(1)} ${unit}`;
  }
  return `${seconds.toFixed(1)} s`;
}

const muted = (...children) => h("span", { class: "muted" }, ...children);
const chips = (tags) => (tags || []).map((tag) => h("span", { class: "chip" }, tag));
const badge = (kind, text) => h("span", { class: `badge ${kind}` }, text);

/** A list of names and values; pairs without a value are left out. */
function facts(pairs, kind = "facts") {
  const shown = pairs.filter(
    ([, value]) => value !== null && value !== undefined && value !== "" && value.length !== 0,
  );
  return h(
    "dl",
    { class: kind },
    shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

/** A table in a box that scrolls by itself, so that the page never scrolls sideways. */
function table(label, headings, rows, attributes = {}) {
  const head = headings.map((each) => {
    const [text, kind] = Array.isArray(each) ? each : [each, null];
    return h("th", { scope: "col", class: kind }, text);
  });
  return h(
    "div",
    { class: "scroll", role: "region", "aria-label": label, tabindex: "0" },
    h("table", attributes, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows)),
  );
}

/** A cell for a number, and one for a time. */
const n = (value) => h("td", { class: "n" }, value);
const t = (value) => h("td", { class: "t" }, value);
const row = (cells, attributes = {}) =>
  h(
    "tr",
    attributes,
    cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : h("td", {}, cell))),
  );

const joined = (parts, between = ", ") => parts.flatMap((part, i) => (i ? [between, part] : [part]));
