// Puts the pages together: who is logged in, which page is shown, and the news for it.

import { get, post } from "/api.js";
import { show } from "/dom.js";
import { EventsPage } from "/events.js";
import { ExplainPage } from "/explain.js";
import { moment } from "/format.js";
import { loginPage } from "/login.js";
import { Overview } from "/overview.js";
import { PolicyPage } from "/policy.js";
import { RoutesPage } from "/routes.js";
import { SitePage } from "/site.js";
import { begin, forget, state, stop } from "/state.js";

const header = document.getElementById("header");
const main = document.getElementById("main");
const stale = document.getElementById("stale");
const announcer = document.getElementById("announcer");
const themeButton = document.getElementById("theme");

let page = null;
let entered = false;

// --- Which page ----------------------------------------------------------------------------

function pageOf(hash) {
  const [path, query] = hash.replace(/^#/, "").split("?");
  const site = path.match(/^\/site\/(.+)$/);
  if (site) return [new SitePage(decodeURIComponent(site[1])), "overview"];
  if (path === "/routes") return [new RoutesPage(new URLSearchParams(query).get("search") ?? "", render), "routes"];
  if (path === "/explain") return [new ExplainPage(new URLSearchParams(query), render), "explain"];
  if (path === "/policy") return [new PolicyPage(render), "policy"];
  if (path === "/events") return [new EventsPage(render), "events"];
  return [new Overview(render), "overview"];
}

function turn() {
  if (!entered || location.hash === "#main") return;
  page?.destroy();
  let name;
  [page, name] = pageOf(location.hash);
  for (const link of header.querySelectorAll("nav a")) {
    if (link.dataset.page === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.replaceChildren();
  render();
  window.scrollTo(0, 0);
}

function render() {
  if (!entered) return;
  stale.hidden = state.staleSince === null;
  if (state.staleSince !== null) stale.textContent = `No news from the router since ${moment(state.staleSince, true)}. Trying again …`;
  if (!state.status || !page) {
    main.setAttribute("aria-busy", "true");
    return;
  }
  main.removeAttribute("aria-busy");
  show(main, ...page.render());
  const down = state.status.sites.filter((site) => site.state === "down").length;
  document.title = `${down ? `(${down} down) ` : ""}${page.title()} · PoleVPN router`;
}

// --- Who is logged in ----------------------------------------------------------------------

function enter() {
  entered = true;
  header.hidden = false;
  main.replaceChildren();
  begin({ changed: render, announced: (sentences) => { if (sentences.length) announcer.textContent = sentences.slice(0, 5).join(", "); }, ended: () => leave("The session is over: log in again.") });
  turn();
}

function leave(why) {
  entered = false;
  stop();
  forget();
  page?.destroy();
  page = null;
  header.hidden = true;
  stale.hidden = true;
  document.title = "PoleVPN router";
  main.removeAttribute("aria-busy");
  main.replaceChildren(loginPage(enter, why));
}

document.getElementById("logout").onclick = async () => {
  // What is still being asked would be refused when the session is over.
  stop();
  page?.destroy();
  page = null;
  await post("logout").catch(() => null);
  leave("");
};

// --- Light and dark ------------------------------------------------------------------------

function otherTheme() {
  return document.documentElement.dataset.theme === "dark" ? "light" : "dark";
}

function labelTheme() {
  const other = otherTheme();
  themeButton.textContent = other === "light" ? "☀" : "☾";
  themeButton.setAttribute("aria-label", `Change to the ${other} theme`);
  themeButton.title = `Change to the ${other} theme`;
  page?.redraw();
}

themeButton.onclick = () => {
  const other = otherTheme();
  document.documentElement.dataset.theme = other;
  try {
    localStorage.setItem("theme", other);
  } catch {
    // Then it lasts as long as the page.
  }
  labelTheme();
};
// The system's, which theme.js has followed by then, unless one was chosen.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", labelTheme);

// --- Begin ---------------------------------------------------------------------------------

window.addEventListener("hashchange", turn);
let settling = null;
window.addEventListener("resize", () => {
  clearTimeout(settling);
  settling = setTimeout(render, 100);
});
labelTheme();
try {
  const { logged_in: loggedIn } = await get("session");
  if (loggedIn) enter();
  else leave("");
} catch (problem) {
  leave(problem.message);
}
