// The page: which section is shown follows from the address, so that every place can be linked to.

const byId = (id) => document.getElementById(id);
const main = byId("main"),
  box = byId("search");
const SECTIONS = [
  ["catalogue", "Catalogue", true, ""],
  ["lineage", "Lineage", true, ""],
  ["monitoring", "Monitoring", true, content.monitoring ? series.filter((one) => one.state === "breached").length : ""],
  ["sets", "Training sets", content.sets.length, ""],
  ["audits", "Audits", content.audits.length, ""],
  ["explanations", "Explanations", content.explanations.length, ""],
].filter(([, , shown]) => shown);
const DRAWN = {
  lineage: lineageSection,
  monitoring: monitoringSection,
  sets: setsSection,
  audits: auditsSection,
  explanations: explanationsSection,
};

function here() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const [kind, name] = [...asked][0] || ["", ""];
  return { kind, name, feature: asked.get("feature"), section: Object.hasOwn(DRAWN, kind) ? kind : "catalogue" };
}

function detail(at) {
  const item = entries.find((entry) => entry.kind === at.kind && entry.item.name === at.name);
  const named = at.kind === "view" ? known(at.name) : item && item.item;
  if (!named)
    return at.name
      ? [h("h1", { tabindex: "-1" }, "Not here"), h("p", { class: "empty" }, "The project has no ", mono(at.name), ".")]
      : overview();
  return at.kind === "view"
    ? viewDetail(named, at.feature)
    : at.kind === "service"
      ? serviceDetail(named)
      : onDemandDetail(named);
}

function list(at) {
  const [found, total] = listing(box.value, at);
  const shown = byId("list");
  shown.replaceChildren(...[found].flat().filter(Boolean));
  main.firstChild.classList.toggle("searching", Boolean(box.value));
  byId("said").textContent = box.value ? `${total} found` : "";
}

function catalogueSection(at) {
  if (!byId("list"))
    main.replaceChildren(
      h("div", { class: "split" }, h("nav", { id: "list", "aria-label": "Catalogue" }), h("article", { id: "detail" })),
    );
  main.firstChild.classList.toggle("reading", Boolean(at.name));
  list(at);
  byId("detail").replaceChildren(...detail(at).flat(Infinity).filter(Boolean));
  const chosen = byId("chosen");
  if (chosen) chosen.scrollIntoView({ block: "nearest" });
}

function show() {
  const at = here();
  byId("sections").replaceChildren(
    ...SECTIONS.map(([name, text, , number]) =>
      h(
        "a",
        { href: name === "catalogue" ? "#" : `#${name}`, "aria-current": at.section === name && "page" },
        text,
        number !== "" && number > 0 && badge("bad", String(number)),
      ),
    ),
  );
  if (at.section === "catalogue") catalogueSection(at);
  else main.replaceChildren(DRAWN[at.section](at.name));
  if (at.section === "lineage") scrollToChosen();
  const name =
    at.name && at.section === "catalogue"
      ? `${at.name} · `
      : at.section === "catalogue"
        ? ""
        : `${SECTIONS.find(([each]) => each === at.section)?.[1] || ""} · `;
  document.title = `${name}${content.project}: features`;
}

function go() {
  if (location.hash === "#main") {
    main.focus();
    return;
  }
  show();
  if (byId("chosen") === null) window.scrollTo(0, 0);
  const title = main.querySelector("article h1, .wide > h1");
  // Whoever types into the search stays there.
  if (title && document.activeElement !== box) title.focus({ preventScroll: true });
}

const THEMES = ["auto", "light", "dark"];

function theme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = { auto: "◐", light: "☀", dark: "☾" }[name];
  byId("theme").title = `Colours: ${name === "auto" ? "as the system" : name}`;
  byId("theme").setAttribute("aria-label", `Colours: ${name === "auto" ? "as the system" : name}; press to change`);
}

function stored(name) {
  try {
    // a page from a file may have no storage
    if (name) localStorage.setItem("pit-join-theme", name);
    return localStorage.getItem("pit-join-theme");
  } catch {
    return name || null;
  }
}

byId("project").textContent = content.project;
byId("target").textContent = content.target;
byId("footer").textContent = `Written by pit-join report on ${when(content.made_at)} UTC. All times are UTC.`;
theme(THEMES.includes(stored()) ? stored() : "auto");
byId("theme").addEventListener("click", () => {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  stored(next);
  theme(next);
});
box.addEventListener("input", () => {
  const at = here();
  if (at.section !== "catalogue") location.hash = "#catalogue";
  else list(at);
});
byId("searching").addEventListener("submit", (event) => {
  event.preventDefault();
  const first = firstFound(box.value);
  if (first) location.hash = first;
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    box.focus();
    box.select();
  } else if (event.key === "Escape" && document.activeElement === box) {
    box.value = "";
    box.dispatchEvent(new Event("input"));
  } else if (
    (event.key === "ArrowDown" || event.key === "ArrowUp") &&
    (document.activeElement === box || document.activeElement.closest("#list"))
  ) {
    const links = [...main.querySelectorAll("#list a")];
    const next = links.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    event.preventDefault();
    (links[next] || (next < 0 ? box : links[links.length - 1])).focus();
  }
});
window.addEventListener("hashchange", go);
show();
