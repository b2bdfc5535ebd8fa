// Keeps a page current: when the feed announces a change, the page is fetched again and the parts that differ are replaced.
// Rows never move; ticked boxes, text selections and the focus are left alone, so nothing changes under the pointer.

const REFRESH_MS = 1000;
const UNPROMPTED_MS = 15000;
const RETRY_MOST_MS = 15000;
const PING_MS = 4000;
const SILENT_MS = 12000;
const REFUSED = new Set([4401, 4403]);

const state = document.getElementById("live-state");
const header = document.getElementById("console-status");
const hasOwnParts = document.querySelector("[data-live]:not([data-live=light], [data-live=freeze]), #result_list tbody tr") !== null;
// A page without live parts asks for the header only, so that its light is never an old one.
const source = hasOwnParts ? location.href : header?.dataset.address;

let lastEvent = null;
let heardAt = Date.now();
let retryMs = 1000;
let wanted = false;
let busy = false;
let refreshedAt = 0;
let trouble = null; // why the page could not be fetched again: it is then not current, whatever the socket hears

function show(name, text) {
  if (!state) return;
  state.hidden = false;
  state.dataset.state = name;
  if (state.textContent !== text) state.textContent = text;
}

function showWhetherCurrent() {
  if (trouble) show("lost", trouble);
  else show("live", "live");
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const since = lastEvent === null ? "" : `?since=${lastEvent}`;
  const socket = new WebSocket(`${scheme}://${location.host}/ws/status${since}`);
  const pings = setInterval(() => {
    if (socket.readyState === WebSocket.OPEN) socket.send('{"type": "ping"}');
  }, PING_MS);
  socket.onopen = () => {
    retryMs = 1000;
    if (trouble) refreshSoon();
  };
  socket.onmessage = (message) => {
    const news = JSON.parse(message.data);
    heardAt = Date.now();
    showWhetherCurrent();
    if (news.event_id !== undefined) lastEvent = news.event_id;
    if (news.type !== "hello" && news.type !== "pong") refreshSoon();
  };
  socket.onclose = (event) => {
    clearInterval(pings);
    if (REFUSED.has(event.code)) {
      show("lost", "signed out");
      return;
    }
    show("lost", "reconnecting");
    setTimeout(connect, retryMs * (0.5 + Math.random()));
    retryMs = Math.min(2 * retryMs, RETRY_MOST_MS);
  };
}

// A frozen server closes nothing and sends nothing; a page that has heard nothing must not call itself live.
function watch() {
  const silentMs = Date.now() - heardAt;
  if (silentMs > SILENT_MS && state?.dataset.state !== "lost") {
    show("silent", `no news for ${Math.round(silentMs / 1000)} s`);
  }
}

function refreshSoon() {
  if (wanted) return;
  wanted = true;
  setTimeout(refresh, Math.max(0, refreshedAt + REFRESH_MS - Date.now()));
}

async function refresh() {
  if (document.hidden || busy) {
    setTimeout(refresh, REFRESH_MS);
    return;
  }
  wanted = false;
  busy = true;
  refreshedAt = Date.now();
  try {
    const answer = await fetch(source, { credentials: "same-origin" });
    const text = await answer.text();
    trouble = troubleOf(answer);
    if (trouble) show("lost", trouble);
    else patch(new DOMParser().parseFromString(text, "text/html"));
  } catch {
    trouble = "reconnecting";
    show("lost", trouble);
  } finally {
    busy = false;
  }
}

function troubleOf(answer) {
  if (answer.redirected) return new URL(answer.url).pathname.endsWith("/login/") ? "signed out" : "page has moved: reload";
  if (answer.ok) return null;
  return answer.status === 503 ? "not current: the server cannot answer" : `not current: error ${answer.status}`;
}

function inUse(element) {
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed && selection.containsNode(element, true)) return true;
  return element.contains(document.activeElement);
}

function replace(element, fresh) {
  if (element.innerHTML === fresh.innerHTML || inUse(element)) return;
  const open = new Map([...element.querySelectorAll("details")].map((each, n) => [n, each.open]));
  element.replaceChildren(...document.importNode(fresh, true).childNodes);
  element.className = fresh.className;
  if (open.size === element.querySelectorAll("details").length) {
    element.querySelectorAll("details").forEach((each, n) => { each.open = open.get(n); });
  }
}

function patch(fresh) {
  for (const element of document.querySelectorAll("[data-live]")) {
    const match = fresh.querySelector(`[data-live="${element.dataset.live}"]`);
    if (match) replace(element, match);
  }
  patchRows(fresh);
  document.dispatchEvent(new CustomEvent("console:fresh", { detail: fresh }));
}

function keyOf(row) {
  const mark = row.querySelector("[data-task], [data-row]");
  return mark ? mark.dataset.task ?? mark.dataset.row : row.querySelector("th a, td a")?.getAttribute("href");
}

// A row is known by what it shows: a task, an event, or the page that it leads to. Rows that lead to the same page are left alone.
function rowsByKey(page) {
  const rows = Map.groupBy(page.querySelectorAll("#result_list tbody tr"), keyOf);
  return new Map([...rows].filter(([key, found]) => key && found.length === 1).map(([key, found]) => [key, found[0]]));
}

function patchRows(fresh) {
  const shown = rowsByKey(document);
  const current = rowsByKey(fresh);
  for (const [key, row] of shown) {
    const match = current.get(key);
    if (!match || match.cells.length !== row.cells.length) continue;
    [...row.cells].forEach((cell, n) => {
      if (!cell.classList.contains("action-checkbox")) replace(cell, match.cells[n]);
    });
  }
  announce([...current.keys()].filter((key) => !shown.has(key)).length);
}

function announce(count) {
  const list = document.getElementById("changelist");
  if (!list || count === 0) return;
  let bar = document.getElementById("new-rows");
  if (!bar) {
    bar = document.createElement("a");
    bar.id = "new-rows";
    bar.href = location.href;
    list.before(bar);
  }
  bar.textContent = `${count} new or changed: show`;
}

if (source) {
  connect();
  setInterval(watch, 1000);
  setInterval(refreshSoon, UNPROMPTED_MS);
}
