// The catalogue: all at a glance, and each view, service and on-demand feature in detail.

function overview() {
  const features = content.views.reduce((sum, view) => sum + (view.features || []).length, 0);
  const owned = content.views.some((view) => view.owners);
  const monitoring = content.monitoring
    ? series.filter((each) => each.state === "breached").length
    : null;
  const tiles = [
    [content.views.length, "feature views", "#"],
    [features, "features", "#"],
    [content.services.length, "services", "#"],
    [content.on_demand.length, "on-demand", "#"],
    ...(monitoring === null ? [] : [[monitoring, "breaches", "#monitoring", monitoring ? "bad" : "good"]]),
  ];
  return [
    h("h1", { tabindex: "-1" }, content.project),
    h(
      "ul",
      { class: "tiles" },
      tiles.map(([number, text, href, kind]) =>
        h(
          "li",
          { class: kind },
          href === "#"
            ? [h("b", {}, digits.format(number)), text]
            : h("a", { href }, h("b", {}, digits.format(number)), text),
        ),
      ),
    ),
    notes(),
    h(
      "div",
      { class: "roomy" },
      h("h2", {}, "Feature views"),
      content.views.length
        ? table(
            "Feature views",
            [
              "view",
              "entity",
              ["features", "n"],
              ["rows", "n"],
              "newest event",
              "exported as of",
              ...(owned ? ["owner"] : []),
            ],
            content.views
              .slice(0, MOST_LISTED)
              .map((view) =>
                row([
                  h("a", { href: place("view", view.name) }, mono(view.name)),
                  view.entity || muted("every row"),
                  n(digits.format((view.features || []).length)),
                  n(rowsOf(view)),
                  t(newestOf(view)),
                  t(exportedOf(view)),
                  ...(owned ? [(view.owners || []).join(", ")] : []),
                ]),
              ),
          )
        : h("p", { class: "empty" }, "The project declares no feature view yet."),
      content.services.length > 0 && [
        h("h2", {}, "Feature services"),
        table(
          "Feature services",
          ["service", ["features", "n"], "what for", "owner"],
          content.services.map((service) =>
            row([
              h("a", { href: place("service", service.name) }, mono(service.name)),
              n(digits.format(requested(service))),
              service.label || "",
              (service.owners || []).join(", "),
            ]),
          ),
        ),
      ],
    ),
  ];
}

const notes = () => content.notes.map((note) => h("p", { class: "note" }, note));
const requested = (service) =>
  (service.items || []).reduce((sum, item) => sum + (item.on_demand ? 1 : (item.features || []).length), 0);

function rowsOf(view) {
  const { state } = view;
  if (state && state.problem) return badge("warn", "unreadable");
  return state && state.rows !== undefined ? digits.format(state.rows) : muted("not built");
}

const newestOf = (view) => (view.state && view.state.newest ? when(view.state.newest) : muted("–"));

function exportedOf(view) {
  if (view.settings.some(([name, value]) => name === "online" && value === "no")) return muted("offline only");
  return view.state && view.state.exported ? when(view.state.exported) : muted("not exported");
}

const description = (item) => item.description && h("p", { class: "description" }, item.description);
const owned = (item) => (item.owners && item.owners.length ? joined(item.owners) : null);
const within = (slo) =>
  slo && [slo.within, slo.impact && muted(` · ${slo.impact}`), slo.owner && muted(` · ${slo.owner}`)];

function heading(kind, item, ...more) {
  const node = nodes.find((each) => each.id === item.id);
  return [
    h("p", { class: "crumb" }, h("a", { href: "#", class: "back" }, "Catalogue"), muted(" / ", kind)),
    h("h1", { tabindex: "-1" }, mono(item.name), ...more),
    h(
      "p",
      { class: "links" },
      node && h("a", { href: place("lineage", item.id) }, "lineage"),
      docsLink(item.id),
      item.url && outside(item.url, "website"),
      muted(item.path),
      chips(item.tags),
    ),
    description(item),
  ];
}

function viewDetail(view, feature) {
  const used = content.services.filter((service) => (service.items || []).some((item) => readsView(item, view.name)));
  const keys = (view.keys || []).map((key) => [
    mono(key.name),
    muted(` ${key.type}${key.column ? `, column ${key.column}` : ""}`),
  ]);
  const state = view.state || {};
  return [
    heading(
      "feature view",
      view,
      view.version !== undefined &&
        badge(view.latest ? "good" : "plain", view.latest ? `v${view.version}, latest` : `v${view.version}`),
    ),
    state.problem && h("p", { class: "note" }, state.problem, "."),
    facts([
      ["entity", view.entity || "every row"],
      ["keys", keys.length ? joined(keys) : "none"],
      ...view.settings,
      ["freshness SLO", within(view.slo)],
      ["owner", owned(view)],
      ["rows", rowsOf(view)],
      ["newest event (UTC)", newestOf(view)],
      ["exported as of (UTC)", exportedOf(view)],
      ["keys served", state.served === undefined ? null : digits.format(state.served)],
      ["keys", view.keys_hidden && "sensitive: not shown in findings"],
    ]),
    h("h2", {}, "Features ", muted(String((view.features || []).length))),
    table(
      "Features",
      ["feature", "type", "meaning", "default", "state"],
      (view.features || []).map((each) => featureRow(view, each, feature)),
      { class: "features" },
    ),
    h("h2", {}, "Used by"),
    used.length
      ? h(
          "ul",
          { class: "plain" },
          used.map((service) =>
            h(
              "li",
              {},
              h("a", { href: place("service", service.name) }, mono(service.name)),
              muted(" ", service.label || ""),
            ),
          ),
        )
      : h("p", { class: "empty" }, "No feature service reads this view."),
  ];
}

function featureRow(view, each, chosen) {
  const meaning = [
    each.description && h("span", {}, each.description),
    each.window && h("span", { class: "muted block" }, each.window),
    each.slo && h("span", { class: "muted block" }, "SLO ", within(each.slo)),
    each.owners && h("span", { class: "muted block" }, joined(each.owners)),
    h(
      "span",
      {},
      each.sensitive && badge("warn", "sensitive"),
      each.nearest && badge("plain", `nearest: ${each.nearest}`),
      chips(each.tags),
    ),
  ];
  // Of a check that looks at several places the worst state is enough here.
  const states = [...new Map([...seriesOf(view.name, each.name)].reverse().map((one) => [one.check, one])).values()].reverse();
  return row(
    [
      mono(each.name),
      muted(each.type),
      meaning,
      h("td", { class: "default" }, each.default === undefined ? null : mono(each.default)),
      states.map((one) =>
        h(
          "a",
          { href: place("monitoring", one.check), title: one.text || "" },
          badge(STATE_KIND[one.state], one.state === "ok" ? one.check : `${one.check}: ${one.state}`),
        ),
      ),
    ],
    { id: each.name === chosen ? "chosen" : null, class: each.name === chosen && "chosen" },
  );
}

const known = (name) => viewOf.get(name) || viewOf.get(latest.get(name));
const roles = (service) =>
  new Map((service.items || []).filter((item) => item.view).map((item) => [item.role || item.view, item.view]));
const readsView = (item, name) =>
  item.view === name || (item.arguments || []).some(([, source]) => (known(source.split(":")[0]) || {}).name === name);

function serviceDetail(service) {
  const items = service.items || [];
  const stored = items.filter((item) => item.view);
  const computed = items.filter((item) => item.on_demand);
  return [
    heading("feature service", service),
    facts([
      ["what for", service.label],
      ["owner", owned(service)],
      ["maturity", service.maturity],
      ["named", service.full_names && "view__feature"],
      ["features", digits.format(requested(service))],
    ]),
    h("h2", {}, "Stored features"),
    stored.length
      ? table(
          "Stored features",
          ["view", "role", "features"],
          stored.map((item) =>
            row([
              h("a", { href: place("view", item.view) }, mono(item.view)),
              [item.role && mono(item.role), (item.keys || []).map(([key, column]) => muted(` ${key} = ${column}`))],
              h(
                "span",
                { class: "names" },
                (item.features || []).map((name) => h("a", { href: place("view", item.view, name) }, mono(name))),
              ),
            ]),
          ),
        )
      : h("p", { class: "empty" }, "None."),
    computed.length > 0 && [
      h("h2", {}, "On-demand features"),
      table(
        "On-demand features",
        ["feature", "macro", "arguments"],
        computed.map((item) =>
          row([
            mono(item.name),
            h("a", { href: place("on_demand", item.on_demand) }, mono(item.on_demand)),
            argumentsOf(item, service),
          ]),
        ),
      ),
    ],
  ];
}

function argumentsOf(item, service) {
  const named = roles(service);
  return h(
    "ul",
    { class: "plain" },
    item.arguments.map(([name, source]) => {
      const [owner, feature] = source.split(":");
      const view = named.get(owner) || (known(owner) || {}).name;
      const from = feature && view ? h("a", { href: place("view", view, feature) }, mono(source)) : mono(source);
      return h("li", {}, mono(name), muted(" ← "), from, !feature && muted(" (field of the request)"));
    }),
  );
}

function onDemandDetail(feature) {
  const used = content.services.filter((service) =>
    (service.items || []).some((item) => item.on_demand === feature.name),
  );
  return [
    heading("on-demand feature", feature),
    facts([
      ["returns", mono(feature.returns)],
      ["default", feature.default && mono(feature.default)],
      ["owner", owned(feature)],
    ]),
    h("h2", {}, "Arguments"),
    table(
      "Arguments",
      ["argument", "type"],
      (feature.arguments || []).map(([name, type]) => row([mono(name), muted(type)])),
    ),
    h("h2", {}, "Used by"),
    used.length
      ? used.map((service) => [
          h("h3", {}, h("a", { href: place("service", service.name) }, mono(service.name))),
          service.items
            .filter((item) => item.on_demand === feature.name)
            .map((item) => [h("p", {}, "as ", mono(item.name)), argumentsOf(item, service)]),
        ])
      : h("p", { class: "empty" }, "No feature service asks for it."),
  ];
}
