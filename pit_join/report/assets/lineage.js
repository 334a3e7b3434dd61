// The lineage: the columns and their order come with the data; here the nodes that are shown are put one below the other.

const { nodes, edges } = content.lineage;
const WIDTH = 178,
  HEIGHT = 26,
  STEP = 33,
  GAP = 52,
  EDGE = 18;
const BIG = 90,
  SMALLEST_GROUP = 6;
const KIND_NAMES = {
  source: "source",
  seed: "seed",
  snapshot: "snapshot",
  model: "model",
  view: "feature view",
  service: "feature service",
};
const parentsOf = nodes.map(() => []),
  childrenOf = nodes.map(() => []);
for (const [from, to] of edges) {
  childrenOf[from].push(to);
  parentsOf[to].push(from);
}
const numberOf = new Map(nodes.map((node, i) => [node.id, i]));
const groups = new Map();
nodes.forEach((node, i) => {
  node.key = [node.rank, node.kind, node.group].join("\n");
  if (!groups.has(node.key)) groups.set(node.key, []);
  groups.get(node.key).push(i);
});
const lineage = { open: new Set(), alone: nodes.length > BIG };

/** All nodes that a walk reaches. */
function reached(start, next) {
  const found = new Set(),
    todo = [start];
  while (todo.length)
    for (const one of next[todo.pop()])
      if (!found.has(one)) {
        found.add(one);
        todo.push(one);
      }
  return found;
}

const isGroup = (node) =>
  nodes.length > BIG && groups.get(node.key).length >= SMALLEST_GROUP && !lineage.open.has(node.key);

/** The boxes to draw, each a node or a closed group of nodes, with their places, and the lines between them. */
function layout(shown, grouped) {
  const boxes = new Map(),
    boxOf = new Map();
  nodes.forEach((node, i) => {
    if (!shown(i)) return;
    const key = grouped && isGroup(node) ? node.key : i;
    if (!boxes.has(key)) boxes.set(key, { key, rank: node.rank, kind: node.kind, members: [] });
    boxes.get(key).members.push(i);
    boxOf.set(i, boxes.get(key));
  });
  const columns = new Map();
  for (const box of boxes.values()) columns.set(box.rank, [...(columns.get(box.rank) || []), box]);
  const tallest = Math.max(1, ...[...columns.values()].map((column) => column.length)) * STEP;
  [...columns.keys()]
    .sort((a, b) => a - b)
    .forEach((rank, x) => {
      const column = columns.get(rank);
      const top = tallest > 1500 ? 0 : (tallest - column.length * STEP) / 2;
      column.forEach((box, y) => Object.assign(box, { x: EDGE + x * (WIDTH + GAP), y: EDGE + top + y * STEP }));
    });
  const lines = new Map();
  for (const [from, to] of edges) {
    const a = boxOf.get(from),
      b = boxOf.get(to);
    if (a && b && a !== b) lines.set(`${a.key}\t${b.key}`, [a, b]);
  }
  return {
    boxes: [...boxes.values()],
    lines: [...lines.values()],
    width: 2 * EDGE + columns.size * (WIDTH + GAP) - GAP,
    height: tallest + 2 * EDGE,
  };
}

const cut = (text, most = 23) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function drawing(chosen, only) {
  const up = chosen === undefined ? new Set() : reached(chosen, parentsOf);
  const down = chosen === undefined ? new Set() : reached(chosen, childrenOf);
  const lit = (i) => i === chosen || up.has(i) || down.has(i);
  const { boxes, lines, width, height } = layout(only ? lit : () => true, !only);
  const any = (box, test) => box.members.some(test);
  const drawnLines = lines.map(([a, b]) => {
    const [x, y, end, last] = [a.x + WIDTH, a.y + HEIGHT / 2, b.x, b.y + HEIGHT / 2];
    const on =
      chosen !== undefined && any(a, lit) && any(b, lit) && !(any(a, (i) => down.has(i)) && any(b, (i) => up.has(i)));
    const middle = (x + end) / 2;
    return svg("path", {
      d: `M${x},${y}C${middle},${y} ${middle},${last} ${end},${last}`,
      class: on ? "line on" : "line",
    });
  });
  const drawnBoxes = boxes.map((box) => {
    const one = nodes[box.members[0]],
      closed = typeof box.key === "string";
    const text = closed
      ? `${one.group.replace(/^models\//, "")} · ${count(box.members.length, KIND_NAMES[one.kind].replace("feature ", ""))}`
      : one.label;
    const state =
      chosen === undefined ? "" : box.members.includes(chosen) ? " chosen" : any(box, lit) ? " lit" : " dim";
    return svg(
      "a",
      {
        href: closed ? "#lineage" : place("lineage", one.id),
        class: `node ${one.kind}${closed ? " group" : ""}${state}`,
        "aria-label": `${KIND_NAMES[one.kind]} ${text}`,
        transform: `translate(${box.x},${box.y})`,
        click:
          closed &&
          ((event) => {
            event.preventDefault();
            lineage.open.add(box.key);
            show();
          }),
      },
      svg("title", {}, text),
      svg("rect", { width: WIDTH, height: HEIGHT, rx: 5 }),
      svg("rect", { class: "edge", width: 4, height: HEIGHT, rx: 2 }),
      svg("text", { x: 13, y: HEIGHT / 2 + 4 }, cut(text)),
    );
  });
  return svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, class: "lineage", role: "group", "aria-label": "Lineage" },
    svg("g", { "aria-hidden": "true" }, drawnLines),
    drawnBoxes,
  );
}

function lineageSection(id) {
  const chosen = numberOf.get(id);
  const only = chosen !== undefined && lineage.alone;
  const big = nodes.length > BIG;
  const tools = [
    chosen !== undefined &&
      h(
        "label",
        {},
        h("input", {
          type: "checkbox",
          checked: lineage.alone,
          change: (event) => {
            lineage.alone = event.target.checked;
            show();
          },
        }),
        " only what belongs to it",
      ),
    big &&
      !only &&
      h(
        "button",
        {
          type: "button",
          click: () => {
            lineage.open = new Set(lineage.open.size ? [] : groups.keys());
            show();
          },
        },
        lineage.open.size ? "Close all groups" : "Open all groups",
      ),
    chosen !== undefined && h("a", { href: "#lineage" }, "show all"),
  ];
  const legend = [...new Set(nodes.map((node) => node.kind))].map((kind) =>
    h("span", { class: `key ${kind}` }, KIND_NAMES[kind] || kind),
  );
  return h(
    "div",
    { class: "wide" },
    h("h1", { tabindex: "-1" }, "Lineage"),
    nodes.length === 0 &&
      h("p", { class: "empty" }, "There is nothing to draw: the project declares no feature view yet."),
    h("div", { class: "bar" }, h("div", { class: "legend" }, legend), h("div", { class: "tools" }, tools)),
    h(
      "div",
      { class: chosen === undefined ? "graph" : "graph with" },
      h("div", { class: "scroll canvas", id: "canvas" }, drawing(chosen, only)),
      chosen !== undefined && nodeDetail(chosen),
    ),
  );
}

function nodeDetail(number) {
  const node = nodes[number];
  const own = node.view ? viewOf.get(node.view) : content.services.find((service) => service.id === node.id);
  const list = (title, next) => {
    const direct = next[number],
      all = reached(number, next).size;
    return (
      direct.length > 0 && [
        h("h3", {}, title, " ", muted(all > direct.length ? `${direct.length} of ${all}` : String(all))),
        h(
          "ul",
          { class: "plain" },
          direct
            .slice(0, 60)
            .map((one) => h("li", {}, h("a", { href: place("lineage", nodes[one].id) }, mono(nodes[one].label)))),
        ),
      ]
    );
  };
  return h(
    "aside",
    { class: "card", "aria-label": "Chosen" },
    h("p", { class: "crumb muted" }, KIND_NAMES[node.kind] || node.kind),
    h("h2", {}, mono(node.label)),
    h(
      "p",
      { class: "links" },
      node.view && h("a", { href: place("view", node.view) }, "in the catalogue"),
      node.service && h("a", { href: place("service", node.service) }, "in the catalogue"),
      docsLink(node.id),
    ),
    description(own || node),
    node.path && h("p", { class: "muted path" }, node.path),
    list("Reads", parentsOf),
    list("Read by", childrenOf),
  );
}

/** Bring the chosen node into the drawing's window. */
function scrollToChosen() {
  const canvas = document.getElementById("canvas"),
    node = canvas && canvas.querySelector(".node.chosen");
  if (!node) return;
  const box = node.getBoundingClientRect(),
    window = canvas.getBoundingClientRect();
  canvas.scrollLeft += box.left - window.left - (window.width - box.width) / 2;
  canvas.scrollTop += box.top - window.top - window.height / 2;
}
