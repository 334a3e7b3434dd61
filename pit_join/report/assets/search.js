// The list of all that there is, and how it is found as you type.

const viewOf = new Map(content.views.map((view) => [view.name, view]));
const latest = new Map(
  content.views
    .filter((view) => view.latest)
    .map((view) => [view.name.slice(0, -`.v${view.version}`.length), view.name]),
);
const KINDS = { view: "Feature views", service: "Feature services", on_demand: "On-demand features" };
const MOST_LISTED = 600;

const entries = [
  ...content.views.map((item) => ({ kind: "view", item, features: item.features || [] })),
  ...content.services.map((item) => ({ kind: "service", item, features: [] })),
  ...content.on_demand.map((item) => ({ kind: "on_demand", item, features: [] })),
];
const lowered = (...texts) => texts.flat().filter(Boolean).join(" ").toLowerCase();
const slo = (item) => (item.slo ? [item.slo.owner, item.slo.impact] : []);
for (const entry of entries) {
  const { item } = entry;
  entry.words = lowered(item.name, item.label, item.description, item.tags, item.owners, item.entity, slo(item));
  entry.found = entry.features.map((each) => lowered(each.name, each.description, each.tags, each.owners, slo(each)));
}

/** The entries that hold every word, each with those of its features that do. */
function search(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return entries.map((entry) => ({ entry, features: [] }));
  const result = [];
  for (const entry of entries) {
    const features = entry.features.filter(
      (_, i) =>
        words.every((word) => entry.found[i].includes(word) || entry.words.includes(word)) &&
        words.some((word) => entry.found[i].includes(word)),
    );
    const itself = words.every((word) => entry.words.includes(word));
    if (itself || features.length)
      result.push({ entry, features, named: words.some((w) => entry.item.name.toLowerCase().includes(w)) });
  }
  return result.sort((a, b) => b.named - a.named);
}

/** The address of what stands first in the list: of a feature, unless its view was meant. */
function firstFound(query) {
  const found = search(query);
  const first = Object.keys(KINDS).flatMap((kind) => found.filter(({ entry }) => entry.kind === kind))[0];
  const feature = first && !first.named && first.features[0];
  return first && place(first.entry.kind, first.entry.item.name, feature && feature.name);
}

/** A text in which the words of the search are marked. */
function marked(text, query) {
  const words = query
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (!words.length) return [text];
  return text.split(new RegExp(`(${words.join("|")})`, "i")).map((part, i) => (i % 2 ? h("mark", {}, part) : part));
}

function listing(query, current) {
  const found = search(query);
  const total = found.length;
  const groups = Object.entries(KINDS).map(([kind, title]) => {
    const these = found.filter(({ entry }) => entry.kind === kind).slice(0, MOST_LISTED);
    return (
      these.length &&
      h(
        "section",
        {},
        h("h2", {}, title, " ", muted(String(these.length))),
        h(
          "ul",
          {},
          these.map(({ entry, features }) => listed(entry, features, query, current)),
        ),
      )
    );
  });
  return [total ? groups : h("p", { class: "empty" }, "Nothing has all of these words."), total];
}

function listed(entry, features, query, current) {
  const { kind, item } = entry;
  const here = current.kind === kind && current.name === item.name;
  const side = kind === "view" ? item.entity || "every row" : kind === "service" ? item.label || "" : item.returns;
  const state = kind === "view" ? worst(item.name) : "";
  return h(
    "li",
    {},
    h(
      "a",
      {
        href: place(kind, item.name),
        class: state === "breached" ? "entry alarm" : "entry",
        title: state === "breached" ? "a check is breached" : null,
        "aria-current": here && "true",
      },
      h("span", { class: "name" }, marked(item.name, query)),
      h("span", { class: "side" }, side),
    ),
    features.length > 0 &&
      h(
        "ul",
        { class: "hits" },
        features
          .slice(0, 5)
          .map((each) => h("li", {}, h("a", { href: place(kind, item.name, each.name) }, marked(each.name, query)))),
        features.length > 5 && h("li", { class: "muted" }, `and ${features.length - 5} more`),
      ),
  );
}
