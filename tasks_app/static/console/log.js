// Shows the end of an attempt's log: search, colours by severity, earlier lines, and new ones while the attempt runs.

const FIRST_LINES = 500;
const MOST_LINES = 20000;
const POLL_MS = 2000;
const SEVERITIES = [[/\b(SEVERE|ERROR|CRITICAL|FATAL|Traceback)\b/, "severe"], [/\b(WARN|WARNING)\b/, "warn"]];

const section = document.querySelector("[data-log]");
const output = section.querySelector("pre");
const note = section.querySelector(".log-note");
const search = section.querySelector("input[type=search]");
const severeOnly = section.querySelector("input[name=severe]");
const follow = section.querySelector("input[name=follow]");
const choice = section.querySelector("select");
const earlier = section.querySelector("button");
const download = section.querySelector("a[download]");

let lines = [];
let wanted = FIRST_LINES;

function address() {
  return `${section.dataset.log}/attempts/${choice.value}/log`;
}

function severity(line) {
  return SEVERITIES.find(([pattern]) => pattern.test(line))?.[1] ?? "";
}

function render() {
  const text = search.value.toLowerCase();
  const shown = lines.filter((line) => line.toLowerCase().includes(text) && (!severeOnly.checked || severity(line)));
  output.replaceChildren(...shown.map((line) => {
    const element = document.createElement("span");
    element.className = severity(line);
    element.textContent = `${line}\n`;
    return element;
  }));
  if (follow.checked) output.scrollTop = output.scrollHeight;
  const found = shown.length === lines.length ? "" : `${shown.length} of `;
  note.textContent = `${found}${lines.length} line${lines.length === 1 ? "" : "s"}${section.dataset.kept ? `, kept by the database: ${section.dataset.kept}` : ""}`;
}

async function load() {
  const answer = await fetch(`${address()}?tail=${wanted}`, { credentials: "same-origin" });
  if (!answer.ok) {
    lines = [];
    render();
    note.textContent = answer.status === 404 ? (await answer.json()).detail : `the log cannot be read (${answer.status})`;
    return;
  }
  section.dataset.kept = answer.headers.get("X-Absurd-Log-Reason") ?? "";
  const text = (await answer.text()).replace(/\n$/, "");
  const fresh = text ? text.split("\n") : [];
  if (fresh.length && fresh.length === lines.length && fresh.at(-1) === lines.at(-1)) return;
  lines = fresh;
  earlier.hidden = lines.length < wanted || wanted >= MOST_LINES;
  render();
}

function choose() {
  [lines, wanted] = [[], FIRST_LINES];
  download.href = address();
  load();
}

function isAtEnd() {
  return output.scrollHeight - output.scrollTop - output.clientHeight < 40;
}

function isRunning() {
  return choice.selectedOptions[0]?.dataset.running === "yes";
}

// Who scrolls up reads; who scrolls to the end follows.
output.addEventListener("wheel", () => setTimeout(() => { follow.checked = isAtEnd(); }, 100), { passive: true });
output.addEventListener("keyup", () => { follow.checked = isAtEnd(); });
follow.addEventListener("change", () => { if (follow.checked) load().then(render); });
search.addEventListener("input", render);
severeOnly.addEventListener("change", render);
choice.addEventListener("change", choose);
earlier.addEventListener("click", () => { wanted = Math.min(4 * wanted, MOST_LINES); load(); });
setInterval(() => { if (!document.hidden && follow.checked && isRunning()) load(); }, POLL_MS);
document.addEventListener("console:fresh", ({ detail: fresh }) => {
  const current = fresh.querySelector("[data-log] select");
  if (!current || current.innerHTML === choice.innerHTML || document.activeElement === choice) return;
  const [before, newest] = [choice.value, current.value];
  const followed = before === choice.options[0]?.value;
  choice.replaceChildren(...document.importNode(current, true).childNodes);
  choice.value = followed ? newest : before;
  if (choice.value !== before) choose(); else load();
});
choose();
