// Ages and countdowns are counted here, from the server's clock, so that they never stand still.

let offsetMs = 0;

function readClock(page) {
  const served = page.querySelector("[data-server-time]");
  if (served) offsetMs = Date.parse(served.dataset.serverTime) - Date.now();
}

export function serverNow() {
  return Date.now() + offsetMs;
}

// The two units that matter, as the server writes them (tasks_app.formats.duration).
export function duration(seconds) {
  const two = (n) => String(n).padStart(2, "0");
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function count() {
  for (const element of document.querySelectorAll("time[data-age]")) {
    write(element, duration(Math.max(0, Math.floor((serverNow() - Date.parse(element.dateTime)) / 1000))));
  }
  for (const element of document.querySelectorAll("time[data-due]")) {
    const left = Math.ceil((Date.parse(element.dataset.due) - serverNow()) / 1000);
    write(element, left > 0 ? `in ${left < 60 ? `${left} s` : duration(left)}` : "now");
  }
}

readClock(document);
document.addEventListener("console:fresh", (event) => readClock(event.detail)); // the browser's clock may have been set meanwhile
setInterval(count, 1000);
