"""The page of `pit-join report` in Chromium: what it shows, how it is used, and what cannot happen on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Opened
from http_servers import serving
from support.reports import HOSTILE, full_content, hostile_content

from pit_join.report.page import make_page

SECTIONS = ("", "#lineage", "#monitoring", "#sets", "#audits", "#explanations")
PLACES = (*SECTIONS, "#view=view_003", "#service=service_0", "#on_demand=headwind", "#lineage=model.wide.view_003")
STRANGE = "img, iframe, object, embed, link, base, form:not(#searching), body script:not(#content, #content + script)"
# The least contrast of a text with what is behind it, of all that are shown, with the text.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => { for (; node; node = node.parentElement) {
    const found = rgb(getComputedStyle(node).backgroundColor); if (found[3] === 255) return found; } };
  let least = [21, ""];
  for (const node of document.querySelectorAll("body *:not(svg *, script, style, option)")) {
    if (![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
    if (!node.checkVisibility()) continue;
    const [one, other] = [light(rgb(getComputedStyle(node).color)), light(behind(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < least[0]) least = [ratio, node.textContent.slice(0, 40)];
  }
  return least;
}"""


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_drawn(place: str, small: str, opened: Opened) -> None:
    tab = opened(small + place)
    assert tab.page.locator("main h1").count() == 1
    assert len(tab.page.locator("main").inner_text()) > 100


def test_search_finds_features_as_you_type(small: str, opened: Opened) -> None:
    tab = opened(small)
    names = tab.page.locator("#list .entry .name")
    assert names.count() == 30 + 3 + 1
    tab.page.fill("#search", "view_017_feature_2")
    assert names.all_inner_texts() == ["view_017"]
    assert tab.page.locator("#list mark").all_inner_texts() == ["view_017_feature_2"]
    tab.page.fill("#search", "TEAM 11")  # an owner
    assert names.all_inner_texts() == ["view_011", "view_023"]
    tab.page.fill("#search", "gold")  # a tag
    assert names.all_inner_texts() == ["service_0"]
    tab.page.fill("#search", "nothing like it")
    assert tab.page.locator("#list").inner_text() == "Nothing has all of these words."
    tab.page.fill("#search", ".*")
    assert names.count() == 0


def test_a_search_from_another_section_leads_to_the_catalogue(small: str, opened: Opened) -> None:
    tab = opened(f"{small}#monitoring")
    tab.page.fill("#search", "view_003_feature_1")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#detail h1 >> text=view_003")
    assert tab.page.url.endswith("#view=view_003&feature=view_003_feature_1")


def test_a_click_in_the_lineage_shows_what_belongs_together(small: str, opened: Opened) -> None:
    tab = opened(f"{small}#lineage")
    assert tab.page.locator(".node").count() == 30 + 3 + 3 + 3
    tab.page.click(".node text >> text=view_013")
    tab.page.wait_for_selector(".card >> text=stg_1")
    assert tab.page.url.endswith("#lineage=model.wide.view_013")
    lit = tab.page.locator(".node.lit text").all_text_contents()
    assert sorted(lit) == ["raw_1.table_1", "service_1", "stg_1"]
    assert tab.page.locator(".line.on").count() == 3
    tab.page.click("text=only what belongs to it")
    assert tab.page.locator(".node").count() == 4
    tab.page.click("text=in the catalogue")
    tab.page.wait_for_selector("#detail h1 >> text=view_013")


def test_groups_of_a_large_project_open(wide: str, opened: Opened) -> None:
    tab = opened(f"{wide}#lineage")
    assert tab.page.locator(".node.group").count() == 5 + 1 + 12 + 1
    tab.page.click(".node.group text >> text=team_3 ·")
    assert tab.page.locator(".node.view:not(.group)").count() == 42
    tab.place("lineage=model.wide.view_123")
    assert tab.page.locator(".node").count() == 4
    tab.place("lineage")
    tab.page.click("text=Close all groups")
    assert tab.page.locator(".node.group").count() == 19


@pytest.mark.parametrize(
    ("place", "title"),
    [
        ("#view=view_003&feature=view_003_feature_1", "view_003"),
        ("#service=service_1", "service_1"),
        ("#view=gone", "Not here"),
    ],
)
def test_deep_links(place: str, title: str, small: str, opened: Opened) -> None:
    tab = opened(small + place)
    assert tab.page.locator("#detail h1").inner_text() == title
    if "feature=" in place:
        assert tab.page.locator("tr.chosen code").first.inner_text() == "view_003_feature_1"
    if title != "Not here":
        assert tab.page.title().startswith(title)


def test_back_leads_back(small: str, opened: Opened) -> None:
    tab = opened(small)
    tab.page.click("#list >> text=view_003")
    tab.page.click("#sections >> text=Monitoring")
    tab.page.go_back()
    assert tab.page.locator("#detail h1").inner_text() == "view_003"


def test_monitoring_shows_breaches_and_distributions(small: str, opened: Opened) -> None:
    tab = opened(f"{small}#monitoring")
    assert tab.page.locator(".states tr").nth(1).locator(".badge").inner_text() == "breached"
    assert tab.page.locator(".spark").count() > 50
    shown = tab.page.locator("figure.distribution").count()
    tab.page.click("text=hide distribution >> nth=0")
    assert tab.page.locator("figure.distribution").count() == shown - 1
    tab.page.click(".filters >> text=nulls")
    assert set(tab.page.locator(".states tbody td:nth-child(2)").all_inner_texts()) == {"nulls"}


def test_keys_are_enough(small: str, opened: Opened) -> None:
    tab = opened(small)
    focused = "() => [document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle]"
    tab.page.keyboard.press("Tab")
    assert tab.page.evaluate(focused) == ["Skip to the content", "solid"]
    tab.page.keyboard.press("/")
    tab.page.keyboard.type("view_02")
    tab.page.keyboard.press("ArrowDown")
    tab.page.keyboard.press("ArrowDown")
    assert tab.page.evaluate(focused)[1] == "solid"
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#detail h1")
    assert "#view=view_02" in tab.page.url
    assert tab.page.evaluate("() => document.activeElement.tagName") == "H1"
    tab.page.keyboard.press("/")
    tab.page.keyboard.press("Escape")
    assert tab.page.input_value("#search") == ""
    tab.place("lineage")
    tab.page.locator(".node").nth(5).focus()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector(".card")


def test_colours_follow_the_system_and_the_button(small: str, opened: Opened) -> None:
    ground = "() => getComputedStyle(document.documentElement).backgroundColor"
    light, dark = (opened(small, color_scheme=scheme).page for scheme in ("light", "dark"))
    bright, dim = light.evaluate(ground), dark.evaluate(ground)
    assert min(map(int, re.findall(r"\d+", bright))) > 200
    assert max(map(int, re.findall(r"\d+", dim))) < 60
    dark.click("#theme")
    assert dark.evaluate(ground) == bright
    dark.click("#theme")
    assert dark.evaluate(ground) == dim
    dark.reload()
    assert dark.evaluate("() => document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out(scheme: str, small: str, opened: Opened) -> None:
    tab = opened(small, color_scheme=scheme)
    for place in PLACES:
        tab.place(place)
        ratio, text = tab.page.evaluate(CONTRAST)
        assert ratio >= 4.5, (place, text)


@pytest.mark.parametrize("page", ["small", "hostile", "wide"])
def test_a_phone_scrolls_down_only(page: str, opened: Opened, request: pytest.FixtureRequest) -> None:
    tab = opened(request.getfixturevalue(page), viewport={"width": 390, "height": 844})
    for place in PLACES:
        tab.place(place)
        assert tab.page.evaluate("() => document.documentElement.scrollWidth") == 390, place
    tab.place("")
    assert tab.page.locator("#list").is_visible()
    tab.page.click("#list a >> nth=0")
    assert not tab.page.locator("#list").is_visible()


def test_hostile_texts_do_nothing(hostile: str, opened: Opened) -> None:
    """Each is shown as it is, in every place; `opened` sees requests, errors and dialogs."""
    tab = opened(hostile)
    places = {*PLACES, *tab.page.eval_on_selector_all("#list a", "all => all.map((one) => one.hash)")}
    tab.place("lineage")
    places |= set(tab.page.eval_on_selector_all(".node", "all => all.map((one) => one.getAttribute('href'))"))
    assert len(places) > 30
    shown = ""
    for place in sorted(places):
        tab.place(place)
        shown += tab.page.locator("body").inner_text()
        assert tab.page.evaluate("() => window.pwned") is None, place
        strange = (
            "img, iframe, object, embed, link, base, form:not(#searching), body script:not(#content, #content + script)"
        )
        assert tab.page.locator(strange).count() == 0, place
        attributes = tab.page.eval_on_selector_all("*", "all => all.flatMap((one) => one.getAttributeNames())")
        assert [name for name in attributes if re.match("on|style$", name)] == [], place
        links = tab.page.eval_on_selector_all("a", "all => all.map((one) => one.getAttribute('href'))")
        assert [link for link in links if not re.match(r"#|https?://|\.\./index\.html#!/", link)] == [], place
    for text in HOSTILE[:4]:
        assert text in shown
    assert "\\x1b[31m" in shown
    assert "\\u202egnp.exe" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_the_policy_stops_what_would_get_in(small: str, opened: Opened) -> None:
    tab = opened(small)
    tab.page.evaluate(
        """() => {
          document.body.insertAdjacentHTML("beforeend", "<img src='https://example.com/x' onerror='window.pwned = 1'>");
          const script = document.createElement("script");
          script.textContent = "window.pwned = 2";
          document.body.append(script);
          const style = document.createElement("p");
          style.setAttribute("style", "color: red");
          return fetch("https://example.com/").catch(() => null);
        }"""
    )
    assert tab.page.evaluate("() => window.pwned") is None
    assert len(tab.errors) >= 4
    assert all("Content Security Policy" in error or "violates" in error for error in tab.errors)
    tab.errors.clear()
    tab.requests[:] = [url for url in tab.requests if not url.startswith("https://example.com/")]


def test_a_large_page_answers_within_a_second(wide: str, opened: Opened) -> None:
    timing = "() => performance.getEntriesByType('navigation')[0].domComplete"
    tab = opened(wide)
    for place in ("", "#lineage", "#monitoring", "#view=view_250"):
        times = []
        for _ in range(3):
            tab.go(wide + place)
            times.append(tab.page.evaluate(timing))
        assert min(times) < 1000, place
    typed = """() => {
      const began = performance.now(), box = document.getElementById("search");
      box.value = "view_499_feature_3";
      box.dispatchEvent(new Event("input"));
      return performance.now() - began;
    }"""
    tab.go(wide)
    assert tab.page.evaluate(typed) < 200
    assert tab.page.locator("#list .entry").count() == 1


def test_the_server_asks_for_the_key_as_a_password(browser: object, opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(make_page(hostile_content(full_content(tmp_path, views=3))))
    with serving(tmp_path / "online", "--report", str(path), key="secret") as server:
        url = f"http://127.0.0.1:{server.port}/ui"
        tab = opened(url, http_credentials={"username": "me", "password": "secret"})
        assert tab.page.locator("#list .entry").count() == 5
        assert tab.page.evaluate("() => window.pwned") is None
        assert browser.new_context(http_credentials={"username": "me", "password": "x"}).request.get(url).status == 401
