// Monitoring: the last state of each check and feature, how it came there, and how its distribution has moved.

const series = content.monitoring ? expanded(content.monitoring) : [];
const runs = content.monitoring ? content.monitoring.runs : [];
const STATE_KIND = { breached: "bad", over: "warn", "not judged": "plain", ok: "good" };
const RANK = { breached: 3, over: 2, "not judged": 1, ok: 0 };
const byFeature = new Map(),
  byView = new Map();
for (const one of series) {
  const key = `${one.view}\n${one.feature}`;
  byFeature.set(key, [...(byFeature.get(key) || []), one]);
  if (!byView.has(one.view) || RANK[one.state] > RANK[byView.get(one.view)]) byView.set(one.view, one.state);
}

/** The series as objects: the page holds them as columns of numbers. */
function expanded({ names, columns, rest }) {
  const text = (name, i) => names[columns[name][i]];
  return columns.check.map((_, i) => {
    const { breached = [], ...more } = rest[i] || {};
    const flat = columns.history[i];
    const history = [];
    for (let j = 0; j < flat.length; j += 2) history.push([flat[j], flat[j + 1], breached.includes(flat[j])]);
    const [check, place, state, view, feature] = ["check", "place", "state", "view", "feature"].map((name) => text(name, i));
    return { check, place, state, view, feature, value: columns.value[i], bound: columns.bound[i], history, ...more };
  });
}

const seriesOf = (view, feature) => byFeature.get(`${view}\n${feature}`) || [];
const worst = (view) => byView.get(view) || "";
const monitoring = {
  shown: 120,
  breaches: false,
  open: new Set(series.filter((one) => one.state === "breached" && one.shares).slice(0, 2)),
};

/** The number of the last run in which a series was. */
const judged = (one) => one.history[one.history.length - 1][0];

function measured(check, value) {
  if (value === undefined || value === null) return muted("–");
  if (check === "freshness") return duration(value);
  if (check === "nulls" || check === "defaults") return percent(value);
  return digits.format(value);
}

/** The values over the runs as a line, with the bound dashed and breaches as dots. */
function sparkline(one) {
  const width = 132,
    height = 26,
    pad = 3;
  const points = one.history.filter(([, value]) => value !== null);
  if (!points.length) return muted("no values");
  const values = points.map(([, value]) => value);
  const bound =
    one.bound !== undefined && one.bound !== null && one.bound <= 4 * Math.max(...values, 1e-12) ? one.bound : null;
  const low = Math.min(0, ...values),
    high = Math.max(...values, bound || 0) || 1;
  const x = (run) => pad + (runs.length > 1 ? run / (runs.length - 1) : 1) * (width - 2 * pad);
  const y = (value) => height - pad - ((value - low) / (high - low || 1)) * (height - 2 * pad);
  const at = ([run, value]) => `${x(run).toFixed(1)},${y(value).toFixed(1)}`;
  const last = points[points.length - 1];
  return svg(
    "svg",
    {
      width,
      height,
      viewBox: `0 0 ${width} ${height}`,
      class: "spark",
      role: "img",
      "aria-label": `${count(points.length, "run")}, last value ${digits.format(last[1])}`,
    },
    bound !== null && svg("line", { x1: 0, x2: width, y1: y(bound), y2: y(bound), class: "bound" }),
    points.length > 1 && svg("polyline", { points: points.map(at).join(" "), class: "values" }),
    points
      .filter((point) => point[2] || point === last)
      .map((point) =>
        svg("circle", {
          cx: x(point[0]),
          cy: y(point[1]),
          r: point === last ? 2.6 : 1.8,
          class: point[2] ? "bad" : "last",
        }),
      ),
  );
}

/** Two bars for each bin: the baseline, and now. */
function distribution(shares) {
  const step = 34,
    high = 96,
    width = Math.max(300, shares.length * step + 70),
    most = Math.max(...shares.flatMap(([, a, b]) => [a, b])) || 1;
  const bar = (x, share, kind) =>
    svg("rect", {
      x,
      y: high - (share / most) * (high - 14) + 4,
      width: 12,
      height: Math.max(0.5, (share / most) * (high - 14)),
      class: kind,
    });
  return h(
    "figure",
    { class: "distribution" },
    h("figcaption", {}, h("span", { class: "swatch was" }, "baseline"), h("span", { class: "swatch now" }, "now")),
    h(
      "div",
      { class: "scroll" },
      svg(
        "svg",
        {
          width,
          height: high + 56,
          viewBox: `0 0 ${width} ${high + 56}`,
          role: "img",
          "aria-label": "Distribution of the baseline and now",
        },
        svg("line", { x1: 0, x2: width, y1: high + 4.5, y2: high + 4.5, class: "axis" }),
        shares.map(([label, was, now], i) =>
          svg(
            "g",
            { transform: `translate(${8 + i * step},0)` },
            svg("title", {}, `${label}: ${percent(was)}, now ${percent(now)}`),
            bar(2, was, "was"),
            bar(16, now, "now"),
            svg("text", { x: 15, y: high + 16, transform: `rotate(38 15 ${high + 16})` }, cut(label, 13)),
          ),
        ),
      ),
    ),
  );
}

function monitoringSection(check) {
  if (!content.monitoring) {
    return h(
      "div",
      { class: "wide" },
      h("h1", { tabindex: "-1" }, "Monitoring"),
      h("p", { class: "empty" }, "No results are kept yet. ", mono("pit-join monitor"), " keeps those of each run."),
    );
  }
  const counts = (state) => series.filter((one) => one.state === state).length;
  const checks = [...new Set(series.map((one) => one.check))];
  const chosen = checks.includes(check) ? check : "";
  const these = series.filter(
    (one) => (!chosen || one.check === chosen) && (!monitoring.breaches || one.state === "breached"),
  );
  const filter = (name, text) =>
    h("a", { href: name ? place("monitoring", name) : "#monitoring", "aria-current": chosen === name && "true" }, text);
  return h(
    "div",
    { class: "wide" },
    h("h1", { tabindex: "-1" }, "Monitoring"),
    h(
      "ul",
      { class: "tiles" },
      Object.entries(STATE_KIND)
        .filter(([state]) => counts(state) || state === "breached" || state === "ok")
        .map(([state, kind]) =>
          h(
            "li",
            { class: counts(state) ? kind : "" },
            h("b", {}, digits.format(counts(state))),
            state === "over" ? "over, no alarm yet" : state,
          ),
        ),
    ),
    h(
      "div",
      { class: "bar" },
      h(
        "div",
        { class: "filters" },
        filter("", "all checks"),
        checks.map((name) => filter(name, name)),
      ),
      h(
        "div",
        { class: "tools" },
        h(
          "label",
          {},
          h("input", {
            type: "checkbox",
            checked: monitoring.breaches,
            change: (event) => {
              monitoring.breaches = event.target.checked;
              show();
            },
          }),
          " breaches only",
        ),
        muted(`${count(runs.length, "run")}, last ${when(runs[runs.length - 1])} UTC`),
      ),
    ),
    these.length
      ? table(
          "States",
          ["state", "check", "feature", ["value", "n"], ["bound", "n"], "over the runs", "what it means"],
          these.slice(0, monitoring.shown).flatMap(stateRows),
          { class: "states" },
        )
      : h("p", { class: "empty" }, "Nothing to show."),
    these.length > monitoring.shown &&
      h(
        "button",
        {
          type: "button",
          click: () => {
            monitoring.shown += 500;
            show();
          },
        },
        `Show more of ${digits.format(these.length)}`,
      ),
  );
}

function stateRows(one) {
  const open = monitoring.open.has(one);
  const toggle = () => {
    if (!monitoring.open.delete(one)) monitoring.open.add(one);
    show();
  };
  const view = known(one.view);
  const name = [mono(one.role ? `${one.role} (${one.view})` : one.view), ":", mono(one.feature)];
  const words = [
    one.text && h("span", {}, one.text),
    (one.impact || one.owner) &&
      h("span", { class: "muted block" }, [one.impact, one.owner].filter(Boolean).join(" · ")),
    judged(one) < runs.length - 1 && h("span", { class: "muted block" }, `in no run after ${when(runs[judged(one)])}`),
  ];
  const bars =
    one.shares &&
    h(
      "button",
      { type: "button", class: "small", "aria-expanded": String(open), click: toggle },
      open ? "hide distribution" : "distribution",
    );
  const first = row(
    [
      badge(STATE_KIND[one.state], one.state),
      [one.check, one.place && muted(` ${one.place}`)],
      [view ? h("a", { href: place("view", view.name, one.feature) }, name) : name, bars],
      n(measured(one.check, one.value)),
      n(measured(one.check, one.bound)),
      sparkline(one),
      h("div", { class: "words" }, words),
    ],
    { class: one.state === "breached" && "breached" },
  );
  return open && one.shares
    ? [first, h("tr", { class: "more" }, h("td", { colspan: "7" }, distribution(one.shares)))]
    : [first];
}
