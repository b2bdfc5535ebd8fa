// What somebody has typed into a form is kept in this tab when the login has ended meanwhile, and put back once they are
// logged in again. Nothing is sent for them but the question of a list, which asks again for the confirmation.

const KEY = "console-draft";
const KEPT_MS = 3600000;
const NOT_KEPT = new Set(["csrfmiddlewaretoken", "confirmed", "look", "token", "typed", "expected"]);
const OF_LISTS = new Set(["action", "select_across", "index", "_selected_action", "next"]);
const VISIBLE = "input:not([type=hidden], [type=submit], [type=button]), textarea, select";
const NOTICE = "The login had ended, so nothing was done. What you had typed is here again: check it, and confirm.";
const who = document.querySelector("#user-tools strong")?.textContent ?? "";
// A page that stands between a form and its answer.
const interrupts = document.body.classList.contains("login") || document.querySelector("[data-interrupts]") !== null;
let touched = null;

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
}

const write = (draft) => sessionStorage.setItem(KEY, JSON.stringify(draft));
const forget = () => sessionStorage.removeItem(KEY);
const pathOf = (form) => new URL(form.getAttribute("action") || location.href, location.href).pathname;
const isKept = (form) => form.closest("#content") !== null && form.method === "post" && form.id !== "changelist-form"
  && form.querySelector(VISIBLE) !== null && form.querySelector("[type=password], [type=file]") === null;

function keep(form) {
  const fields = [...new FormData(form)].filter(([name]) => !NOT_KEPT.has(name));
  write({ who, at: Date.now(), path: pathOf(form), asks: form.classList.contains("confirm"), fields });
}

function fill(form, fields) {
  const given = Map.groupBy(fields, ([name]) => name);
  for (const element of form.elements) {
    const values = (given.get(element.name) ?? []).map(([, value]) => value);
    if (element.type === "checkbox" || element.type === "radio") element.checked = values.includes(element.value);
    else if (element.type === "select-multiple") for (const each of element.options) each.selected = values.includes(each.value);
    // The mark of what was shown stays with what was typed: a change by another person is refused.
    else if (values.length && (element.type !== "hidden" || element.name === "seen")) [element.value] = values;
  }
  for (let part = form.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
  for (const part of form.querySelectorAll("details")) part.open = true;
  const notice = document.createElement("p");
  notice.className = "warningnote";
  notice.setAttribute("role", "status");
  notice.textContent = NOTICE;
  form.before(notice);
}

// The confirmation of a list's operation is no page with an address: its question is asked again.
function askAgain(draft) {
  const form = document.createElement("form");
  form.method = "post";
  form.hidden = true;
  const token = document.querySelector("[name=csrfmiddlewaretoken]");
  for (const [name, value] of [["csrfmiddlewaretoken", token?.value], ...draft.fields.filter(([each]) => OF_LISTS.has(each))]) {
    form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  }
  document.body.append(form);
  write({ ...draft, asked: true });
  form.submit();
}

function putBack(draft) {
  const form = [...document.forms].find((each) => isKept(each) && pathOf(each) === draft.path);
  const asks = draft.asks && !draft.asked && location.pathname === draft.path && draft.fields.some(([name]) => name === "action");
  if (form) {
    forget();
    fill(form, draft.fields);
  } else if (asks) askAgain(draft);
  else if (draft.asked) forget();
}

const draft = read();
if (draft && interrupts) write({ ...draft, interrupted: true });
else if (draft && (!draft.interrupted || draft.who !== who || Date.now() - draft.at > KEPT_MS)) forget();
else if (draft) putBack(draft);

if (!interrupts) {
  document.addEventListener("input", (event) => { touched = event.target.form ?? touched; });
  document.addEventListener("submit", (event) => { touched = event.target; });
  window.addEventListener("pagehide", () => { if (touched && isKept(touched)) keep(touched); });
}
