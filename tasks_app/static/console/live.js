// Keeps a page current: the feed says that something changed, the page is fetched anew, and what differs is put in place.
// Rows never move and ticks, text selections and focus are left alone, so nothing slips away under the pointer.

const REFRESH_MS = 1000;
const AGES_MS = 15000;
const RETRY_MOST_MS = 15000;
const REFUSED = new Set([4401, 4403]);

const state = document.getElementById("live-state");
const isLive = document.querySelector("[data-live]:not([data-live=light], [data-live=freeze]), #result_list [data-task]") !== null;

let lastEvent = null;
let retryMs = 1000;
let wanted = false;
let busy = false;
let refreshedAt = 0;

function show(name, text) {
  if (!state) return;
  state.hidden = false;
  state.dataset.state = name;
  if (state.textContent !== text) state.textContent = text;
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const since = lastEvent === null ? "" : `?since=${lastEvent}`;
  const socket = new WebSocket(`${scheme}://${location.host}/ws/status${since}`);
  socket.onopen = () => { retryMs = 1000; };
  socket.onmessage = (message) => {
    const told = JSON.parse(message.data);
    if (told.event_id !== undefined) lastEvent = told.event_id;
    if (told.type === "hello") show("live", "live");
    else refreshSoon();
  };
  socket.onclose = (event) => {
    if (REFUSED.has(event.code)) {
      show("lost", "signed out");
      return;
    }
    show("lost", "reconnecting");
    setTimeout(connect, retryMs * (0.5 + Math.random()));
    retryMs = Math.min(2 * retryMs, RETRY_MOST_MS);
  };
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
    const answer = await fetch(location.href, { credentials: "same-origin", redirect: "error" });
    if (answer.ok) patch(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    show("lost", "reconnecting");
  } finally {
    busy = false;
  }
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
}

function rowsByTask(page) {
  const marks = page.querySelectorAll("#result_list [data-task]");
  return new Map([...marks].map((mark) => [mark.dataset.task, mark.closest("tr")]));
}

function patchRows(fresh) {
  const shown = rowsByTask(document);
  const current = rowsByTask(fresh);
  for (const [task, row] of shown) {
    const match = current.get(task);
    if (!match || match.cells.length !== row.cells.length) continue;
    [...row.cells].forEach((cell, n) => {
      if (!cell.classList.contains("action-checkbox")) replace(cell, match.cells[n]);
    });
  }
  announce([...current.keys()].filter((task) => !shown.has(task)).length);
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

// Counts down to the moment by which a stopped attempt has freed its slot.
function count() {
  for (const element of document.querySelectorAll("time[data-due]")) {
    const left = Math.ceil((Date.parse(element.dataset.due) - Date.now()) / 1000);
    const text = left > 0 ? `in ${left} s` : "now";
    if (element.textContent !== text) element.textContent = text;
  }
}

setInterval(count, 1000);

if (isLive) {
  connect();
  setInterval(refreshSoon, AGES_MS);
}
