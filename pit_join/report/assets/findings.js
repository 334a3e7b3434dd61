// Findings: the coverage of training sets, audits, and explanations as a drawn timeline.

function setsSection() {
  return h(
    "div",
    { class: "wide" },
    h("h1", { tabindex: "-1" }, "Training sets"),
    content.sets.map((set) => {
      const statuses = set.statuses || [];
      return h(
        "section",
        { class: "block" },
        h("h2", {}, mono(set.file)),
        facts([
          ["rows", digits.format(set.rows)],
          ["features", digits.format(set.features)],
          ["spine", set.spine],
          ["gap", set.gap],
          ["versions", (set.versions || []).map(([name, version]) => `${name} ${version}`).join(", ")],
        ]),
        h(
          "p",
          { class: "legend" },
          statuses.map(([status, text]) => h("span", { class: `swatch ${status}` }, text)),
        ),
        table(
          `Coverage of ${set.file}`,
          ["view", "coverage", ...statuses.map(([, text]) => [text, "n"])],
          (set.coverage || []).map((each) => {
            const total = each.counts.reduce((sum, number) => sum + number, 0) || 1;
            const other = each.view && each.view !== each.role ? muted(` ${each.view}`) : null;
            return row([
              h("span", {}, mono(each.role || ""), other),
              bars(each.counts.map((number, i) => [statuses[i][0], number / total])),
              ...each.counts.map((number) => n(number ? digits.format(number) : muted("0"))),
            ]);
          }),
        ),
      );
    }),
  );
}

function bars(shares) {
  let x = 0;
  const width = 220;
  return svg(
    "svg",
    {
      width,
      height: 12,
      viewBox: `0 0 ${width} 12`,
      class: "bars",
      role: "img",
      "aria-label": shares.map(([status, share]) => `${status} ${percent(share)}`).join(", "),
    },
    shares.map(([status, share]) => {
      const from = x;
      x += share * width;
      return svg("rect", { x: from, y: 0, width: share * width, height: 12, class: status });
    }),
  );
}

const VERDICTS = { ok: "good", leak: "bad", differs: "warn", "not compared": "plain" };

function auditsSection() {
  return h(
    "div",
    { class: "wide" },
    h("h1", { tabindex: "-1" }, "Audits"),
    content.audits.map((audit) => {
      const columns = audit.columns || [];
      const order = Object.keys(VERDICTS);
      const ranked = [...columns].sort((a, b) => rank(a) - rank(b));
      function rank(one) {
        return ["leak", "differs", "not compared", "ok"].indexOf(one.verdict);
      }
      return h(
        "section",
        { class: "block" },
        h("h2", {}, mono(audit.audited || audit.file)),
        h(
          "ul",
          { class: "tiles" },
          h("li", {}, h("b", {}, digits.format(audit.rows)), "rows"),
          order
            .filter((verdict) => columns.some((one) => one.verdict === verdict))
            .map((verdict) =>
              h(
                "li",
                { class: VERDICTS[verdict] },
                h("b", {}, digits.format(columns.filter((one) => one.verdict === verdict).length)),
                verdict,
              ),
            ),
        ),
        (audit.hints || []).map((hint) => h("p", { class: "note" }, hint)),
        table(
          `Columns of ${audit.audited}`,
          ["verdict", "column", ["differ", "n"], "likely cause, examples"],
          ranked.map((one) =>
            row([
              badge(VERDICTS[one.verdict] || "plain", one.verdict),
              h(
                "span",
                {},
                mono(one.column),
                one.feature !== one.column && h("span", { class: "muted block" }, one.feature),
              ),
              n(one.differing ? digits.format(one.differing) : muted("0")),
              h("div", { class: "words" }, causes(one)),
            ]),
          ),
        ),
        (audit.suspects || []).length > 0 && [
          h("h3", {}, "Columns that the project does not have"),
          table(
            "Suspects",
            ["", "column", "what it seems to hold", ["rows", "n"]],
            audit.suspects.map((one) =>
              row([
                badge(one.leak ? "bad" : "plain", one.leak ? "leak" : "other name"),
                mono(one.column),
                one.text,
                n(`${digits.format(one.explained)} of ${digits.format(one.tried)}`),
              ]),
            ),
          ),
        ],
        facts(
          [
            ["not in the project", (audit.unknown || []).join(", ")],
            ["not in the file", (audit.missing || []).join(", ")],
            ["left out", (audit.left_out || []).map(([name, why]) => `${name}: ${why}`).join("; ")],
          ],
          "facts long",
        ),
      );
    }),
  );
}

function causes(one) {
  const share = (explained, tried) =>
    muted(` ${tried ? Math.round((100 * explained) / tried) : 0} % of ${digits.format(tried)}`);
  return [
    one.problem && h("span", { class: "block" }, one.problem),
    (one.causes || []).map(([text, explained, tried], i) =>
      h("span", { class: i ? "muted block" : "block" }, i ? "or " : "", text, share(explained, tried)),
    ),
    one.verdict !== "ok" && !one.problem && !(one.causes || []).length && muted("no cause explains it; it may leak"),
    one.precision && h("span", { class: "muted block" }, `precision: ${one.precision}`),
    one.nulls_filled &&
      h(
        "span",
        { class: "muted block" },
        `${count(one.nulls_filled[1], "null")} filled`,
        one.nulls_filled[0] !== null && [" with ", mono(one.nulls_filled[0])],
      ),
    one.sensitive && badge("warn", "sensitive: no values"),
    (one.examples || []).length > 0 &&
      h(
        "ul",
        { class: "examples" },
        one.examples.map((each) =>
          h(
            "li",
            {},
            muted(`row ${digits.format(each.row)}, T = ${when(each.time)}: `),
            mono(each.value),
            muted(", the rule has "),
            mono(each.expected),
          ),
        ),
      ),
  ];
}

function explanationsSection() {
  return h(
    "div",
    { class: "wide" },
    h("h1", { tabindex: "-1" }, "Explanations"),
    content.explanations.map((one) =>
      h(
        "section",
        { class: "block" },
        h(
          "h2",
          {},
          mono(one.view),
          " ",
          one.keys_hidden
            ? badge("warn", "sensitive: no keys")
            : muted(one.keys ? one.keys.map(([key, value]) => `${key}=${value}`).join(", ") : ""),
        ),
        facts([
          ["T (UTC)", when(one.at)],
          ["asked (UTC)", one.asked === one.at ? null : when(one.asked)],
          ["event time of the answer", one.event && when(one.event)],
          [
            "rows of the key",
            one.counts && one.counts.map(([name, number]) => `${digits.format(number)} ${name}`).join(", "),
          ],
          [
            "online",
            one.online &&
              (one.online.said ||
                badge(
                  one.online.equal ? "good" : "bad",
                  `${one.online.equal ? "as the rule" : "differs"}, export ${when(one.online.exported)}`,
                )),
          ],
        ]),
        ((one.online && one.online.why) || []).map((why) => h("p", { class: "note" }, why)),
        (one.rule || []).length > 0 &&
          (one.arguments
            ? h("pre", {}, one.rule.join("\n"))
            : h(
                "ul",
                { class: "rule" },
                one.rule.map((text) => h("li", {}, text)),
              )),
        table(
          "Values",
          ["feature", "value", "status"],
          (one.values || []).map((each) =>
            row([
              mono(each.name),
              each.hidden ? badge("warn", "sensitive") : [mono(each.value), each.default && muted(" (default)")],
              each.status ? badge(each.status === "PRESENT" ? "good" : "plain", each.status) : "",
            ]),
          ),
        ),
        (one.rows || []).length > 0 && timeline(one, one.rows),
        (one.windows || []).map((each) => [
          h("h3", {}, mono(each.feature), muted(` ${each.function}: ${count(each.events, "event")}`)),
          (each.rows || []).length > 0 && timeline(one, each.rows, true),
        ]),
        (one.arguments || []).length > 0 &&
          table(
            "Arguments",
            ["argument", "from", "event time (UTC)", "value", "status"],
            one.arguments.map((each) =>
              row([
                mono(each.name),
                mono(each.source),
                each.event ? when(each.event) : "",
                each.value === null ? badge("warn", "sensitive") : mono(each.value),
                each.status,
              ]),
            ),
          ),
      ),
    ),
  );
}

const WINNERS = ["chosen", "older than the ttl", "deleted"];

/** Each row of a history in its lane: from its event to when it is known, or leaves the window; T is the upright line. */
function timeline(one, rows, windowed) {
  const at = Date.parse(one.at),
    asked = Date.parse(one.asked),
    lane = 22,
    top = 34,
    left = 12,
    right = 430,
    width = 1100;
  const drawn = rows
    .filter((each) => each.event)
    .map((each) => {
      const event = Date.parse(each.event),
        known = each.known_from ? Date.parse(each.known_from) : event;
      return { each, event, known, until: each.until ? Date.parse(each.until) : null };
    })
    .filter(({ event, known }) => Number.isFinite(event) && Number.isFinite(known));
  if (!drawn.length || !Number.isFinite(at) || !Number.isFinite(asked))
    return h("p", { class: "empty" }, "No row has a time that can be drawn.");
  const span = windowed && drawn[0].until ? drawn[0].until - drawn[0].event : one.ttl ? 1000 * one.ttl : null;
  const times = drawn
    .flatMap(({ event, known }) => [event, known])
    .concat(at, asked, windowed && span ? asked - span : []);
  let first = Math.min(...times),
    last = Math.max(...times);
  const margin = (last - first || 3.6e6) * 0.04;
  first -= margin;
  last += margin;
  const x = (time) =>
    left + ((Math.min(Math.max(time, first), last) - first) / (last - first)) * (width - left - right);
  const height = top + drawn.length * lane + 26,
    dated = (time) => when(new Date(time).toISOString().replace(/\.\d+/, ""));
  const upright = (time, kind, text) => [
    svg("line", { x1: x(time), x2: x(time), y1: top - 8, y2: height - 18, class: kind }),
    svg("text", { x: x(time), y: top - 14, class: `tick ${kind}`, "text-anchor": "middle" }, text),
  ];
  const lanes = drawn.map(({ each, event, known }, i) => {
    const y = top + i * lane + lane / 2,
      won = WINNERS.includes(each.verdict) || each.verdict === "counted";
    return svg(
      "g",
      { class: won ? "lane won" : "lane" },
      svg("title", {}, `${when(each.event)}, known from ${when(each.known_from)}: ${each.verdict}`),
      won && svg("rect", { x: 2, y: y - lane / 2 + 1, width: width - 4, height: lane - 2, rx: 4, class: "wonlane" }),
      svg("line", { x1: x(event), x2: x(known), y1: y, y2: y, class: "wait" }),
      svg("circle", { cx: x(event), cy: y, r: 4, class: "event" }),
      known !== event && svg("path", { d: `M${x(known)},${y - 5}l5,5l-5,5l-5,-5z`, class: "known" }),
      svg("text", { x: width - right + 16, y: y + 4 }, cut(each.verdict, 28)),
      svg(
        "text",
        { x: width - right + 226, y: y + 4, class: "values" },
        cut((each.values || []).filter((value) => value !== null).join(", "), 26),
      ),
    );
  });
  return h(
    "figure",
    { class: "timeline" },
    h(
      "figcaption",
      {},
      h("span", { class: "dot event" }, "event time"),
      h("span", { class: "dot known" }, "known from"),
      span && h("span", { class: "swatch band" }, windowed ? "window" : "ttl"),
    ),
    h(
      "div",
      { class: "scroll" },
      svg(
        "svg",
        {
          width,
          height,
          viewBox: `0 0 ${width} ${height}`,
          role: "img",
          "aria-label": `Timeline of ${count(drawn.length, "row")} around T`,
        },
        span &&
          svg("rect", {
            x: x(asked - span),
            y: top - 8,
            width: Math.max(1, x(asked) - x(asked - span)),
            height: height - top - 10,
            class: "band",
          }),
        svg("text", { x: left, y: height - 4, class: "end" }, dated(first)),
        svg("text", { x: width - right, y: height - 4, "text-anchor": "end", class: "end" }, dated(last)),
        lanes,
        asked !== at && upright(asked, "asked", "asked"),
        upright(at, "T", `T  ${when(one.at)}`),
      ),
    ),
  );
}
