// The image viewer: pan, zoom, stretch, positions in several frames, sources, and blinking of two epochs.

import { readFits } from "./fits.js";
import { STRETCHES, beamOf, paintBar, paintBeam, paintSources, short } from "./overlays.js";

const data = JSON.parse(document.getElementById("viewer-data").textContent);
const canvas = document.getElementById("viewer-canvas");
const context = canvas.getContext("2d");
const element = (name) => document.getElementById(`viewer-${name}`);
const BLINK_MS = 700;
const SAMPLE = 200000;
const BLANK = packed([60, 66, 76]);

// Colours between which a map goes in equal steps; inferno as in matplotlib (BSD licence), at nine places.
const MAPS = {
  inferno: [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164]],
  grey: [[0, 0, 0], [255, 255, 255]],
  inverse: [[255, 255, 255], [0, 0, 0]],
};
let shown = null;
let second = null;
let picture = null;
let secondPicture = null;
let view = { scale: 1, x: 0, y: 0 };
let range = [0, 1];
let blinking = 0;
let showsSecond = false;

function say(text) {
  element("status").textContent = text;
}

async function load(address) {
  const answer = await fetch(address, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(`the file cannot be read (HTTP ${answer.status}): it may not be on this host`);
  return readFits(await answer.arrayBuffer());
}

function limits(image) {
  const step = Math.max(1, Math.floor(image.values.length / SAMPLE));
  const sample = [];
  for (let index = 0; index < image.values.length; index += step) {
    if (Number.isFinite(image.values[index])) sample.push(image.values[index]);
  }
  sample.sort((a, b) => a - b);
  const quantile = (part) => sample[Math.round(part * (sample.length - 1))] ?? 0;
  const wanted = element("range").value;
  if (wanted === "own") return ["low", "high"].map((end) => Number(element(end).value) / factorOf(image));
  if (wanted === "full") return [quantile(0), quantile(1)];
  if (wanted === "99.5") return [quantile(0.005), quantile(0.995)];
  // Half the central 68 % of the pixels: the noise, where sources are few
  const noise = data.noise_jy && image.unit.toLowerCase() === "jy/beam" ? data.noise_jy : (quantile(0.84) - quantile(0.16)) / 2;
  return noise > 0 ? [-3 * noise, (wanted === "deep" ? 10 : 60) * noise] : [quantile(0), quantile(1)];
}

// A colour as ImageData has it in memory, which is little-endian wherever browsers run.
function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function palette(name) {
  const stops = MAPS[name];
  return Array.from({ length: 256 }, (_, n) => {
    const at = (n / 255) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    return stops[low].map((value, k) => Math.round(value + (stops[low + 1][k] - value) * (at - low)));
  });
}

function draw(image, low, high) {
  const made = new OffscreenCanvas(image.width, image.height);
  const pixels = new ImageData(image.width, image.height);
  const colours = palette(element("map").value);
  const stretch = STRETCHES[element("stretch").value].to;
  const steps = Uint32Array.from({ length: 1024 }, (_, n) => packed(colours[Math.round(255 * stretch(n / 1023))]));
  const words = new Uint32Array(pixels.data.buffer);
  for (let y = 0; y < image.height; y += 1) {
    const from = y * image.width;
    const to = (image.height - 1 - y) * image.width;
    for (let x = 0; x < image.width; x += 1) {
      const value = image.values[from + x];
      const part = (value - low) / (high - low || 1);
      words[to + x] = Number.isFinite(value) ? steps[Math.round(1023 * Math.max(0, Math.min(1, part)))] : BLANK;
    }
  }
  made.getContext("2d").putImageData(pixels, 0, 0);
  return made;
}

function showLimits() {
  const ends = { low: range[0], high: range[1] };
  for (const [end, value] of Object.entries(ends)) {
    if (element("range").value !== "own") element(end).value = short(value * factorOf(shown));
  }
  element("unit").textContent = unitOf(shown);
}

function redraw() {
  if (!shown) return;
  const [low, high] = range = limits(shown);
  showLimits();
  picture = draw(shown, low, high);
  secondPicture = second ? draw(second, low, high) : null;
  paint();
}

function paint() {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth, clientHeight } = canvas;
  if (canvas.width !== Math.round(clientWidth * ratio) || canvas.height !== Math.round(clientHeight * ratio)) {
    canvas.width = Math.round(clientWidth * ratio);
    canvas.height = Math.round(clientHeight * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, clientWidth, clientHeight);
  if (!picture) return;
  context.imageSmoothingEnabled = view.scale < 1;
  const now = showsSecond && secondPicture ? secondPicture : picture;
  context.drawImage(now, view.x, view.y, shown.width * view.scale, shown.height * view.scale);
  paintOver();
}

// From a pixel (its centre a whole number, y upwards) to the canvas, and back.
const toCanvas = (x, y) => [view.x + (x + 0.5) * view.scale, view.y + (shown.height - y - 0.5) * view.scale];
const toPixel = (left, top) => [(left - view.x) / view.scale - 0.5, shown.height - (top - view.y) / view.scale - 0.5];

// People read fluxes in mJy.
const inMilli = (image) => image.unit.toLowerCase().startsWith("jy");
const factorOf = (image) => (inMilli(image) ? 1e3 : 1);
const unitOf = (image) => (inMilli(image) ? `m${image.unit}` : image.unit);

function paintOver() {
  const size = { width: canvas.clientWidth, height: canvas.clientHeight };
  if (element("sources").checked && shown.wcs) {
    paintSources(context, data.sources, (source) => {
      const place = shown.wcs.toPixel(source.ra_deg, source.dec_deg);
      return place && toCanvas(...place);
    });
  }
  paintBeam(context, shown, view.scale, size.height);
  const [low, high] = range;
  const colours = palette(element("map").value);
  paintBar(context, { ...size, low, high, colours, stretch: STRETCHES[element("stretch").value], factor: factorOf(shown), unit: unitOf(shown) });
}

function fit() {
  if (!shown) return;
  const scale = Math.min(canvas.clientWidth / shown.width, canvas.clientHeight / shown.height);
  view = { scale, x: (canvas.clientWidth - shown.width * scale) / 2, y: (canvas.clientHeight - shown.height * scale) / 2 };
  paint();
}

function zoom(factor, left = canvas.clientWidth / 2, top = canvas.clientHeight / 2) {
  const scale = Math.max(0.02, Math.min(64, view.scale * factor));
  const by = scale / view.scale;
  view = { scale, x: left - (left - view.x) * by, y: top - (top - view.y) * by };
  paint();
}

function sexagesimal(value, digits) {
  const scale = 10 ** digits;
  const parts = Math.round(Math.abs(value) * 3600 * scale);
  const two = (n) => String(n).padStart(2, "0");
  const seconds = (parts % (60 * scale)) / scale;
  return `${two(Math.floor(parts / (3600 * scale)))}:${two(Math.floor(parts / (60 * scale)) % 60)}:${seconds.toFixed(digits).padStart(digits + 3, "0")}`;
}

// ICRS to Galactic: The Hipparcos and Tycho Catalogues (1997), vol. 1, eq. 1.5.11.
function galactic(raDeg, decDeg) {
  const [ra, dec] = [raDeg, decDeg].map((each) => each * Math.PI / 180);
  const icrs = [Math.cos(dec) * Math.cos(ra), Math.cos(dec) * Math.sin(ra), Math.sin(dec)];
  const [x, y, z] = [
    [-0.0548755604, -0.8734370902, -0.4838350155],
    [0.4941094279, -0.44482963, 0.7469822445],
    [-0.867666149, -0.1980763734, 0.4559837762],
  ].map((row) => row[0] * icrs[0] + row[1] * icrs[1] + row[2] * icrs[2]);
  return [(Math.atan2(y, x) * 180 / Math.PI + 360) % 360, Math.asin(Math.max(-1, Math.min(1, z))) * 180 / Math.PI];
}

function put(name, text) {
  document.getElementById(`read-${name}`).textContent = text;
}

function readAt(left, top) {
  if (!shown) return;
  const [x, y] = toPixel(left, top);
  const [column, row] = [Math.round(x), Math.round(y)];
  const inside = column >= 0 && row >= 0 && column < shown.width && row < shown.height;
  const from = showsSecond && second ? second : shown;
  const value = inside ? from.values[row * shown.width + column] : NaN;
  put("value", Number.isFinite(value) ? `${inMilli(shown) ? (1e3 * value).toFixed(3) : value.toPrecision(4)} ${unitOf(shown)}` : "blank");
  const sky = inside && shown.wcs ? shown.wcs.toSky(x, y) : null;
  put("icrs", sky ? `${sexagesimal(sky[0] / 15, 2)} ${sky[1] < 0 ? "-" : "+"}${sexagesimal(sky[1], 1)}` : "–");
  put("degrees", sky ? `${sky[0].toFixed(5)}°, ${sky[1].toFixed(5)}°` : "–");
  const [longitude, latitude] = sky ? galactic(...sky) : [0, 0];
  put("galactic", sky ? `l ${longitude.toFixed(4)}°, b ${latitude.toFixed(4)}°` : "–");
  const offset = shown.wcs ? [x - shown.wcs.centre[0], y - shown.wcs.centre[1]].map((each) => (each * shown.wcs.cellArcmin).toFixed(2)) : ["–", "–"];
  put("pixel", inside ? `${column + 1}, ${row + 1}; ${offset[0]}′, ${offset[1]}′` : "–");
  const near = sky ? nearest(x, y) : null;
  const catalogue = near?.catalog_flux_jy ? `, ${(near.flux_jy / near.catalog_flux_jy).toFixed(2)} of the catalogue's` : "";
  put("source", near ? `${near.name}: ${(1e3 * near.flux_jy).toFixed(2)} mJy${catalogue}, SNR ${near.snr.toFixed(1)}` : "–");
}

function nearest(x, y) {
  const reach = 12 / view.scale;
  let found = null;
  let least = reach;
  for (const source of data.sources) {
    const place = shown.wcs.toPixel(source.ra_deg, source.dec_deg);
    const apart = place ? Math.hypot(place[0] - x, place[1] - y) : Infinity;
    if (apart < least) [found, least] = [source, apart];
  }
  return found;
}

// Brings an epoch onto the pixels of the image shown, each from the nearest of its own.
function onto(other) {
  const values = new Float32Array(shown.width * shown.height).fill(NaN);
  for (let y = 0; y < shown.height; y += 1) {
    for (let x = 0; x < shown.width; x += 1) {
      const sky = shown.wcs.toSky(x, y);
      const place = sky && other.wcs.toPixel(...sky);
      if (!place) continue;
      const [column, row] = [Math.round(place[0]), Math.round(place[1])];
      if (column >= 0 && row >= 0 && column < other.width && row < other.height) {
        values[y * shown.width + x] = other.values[row * other.width + column];
      }
    }
  }
  return { ...shown, values };
}

function stopBlinking() {
  clearInterval(blinking);
  blinking = 0;
  showsSecond = false;
  element("blink").textContent = "Blink";
  element("blink").setAttribute("aria-pressed", "false");
}

function blink() {
  if (!secondPicture) return;
  if (blinking) {
    stopBlinking();
    say("ready");
  } else {
    const labels = [data.layers[0].label, element("epoch").selectedOptions[0].textContent];
    const turn = () => {
      showsSecond = !showsSecond;
      say(showsSecond ? `second: ${labels[1]}` : "first: this image");
      paint();
    };
    turn();
    blinking = setInterval(turn, BLINK_MS);
    element("blink").textContent = "Stop";
    element("blink").setAttribute("aria-pressed", "true");
  }
  paint();
}

async function showLayer() {
  const layer = data.layers.find((each) => each.kind === element("layer").value);
  if (!layer?.address) {
    shown = picture = null;
    paint();
    say(layer ? `the file of "${layer.label}" is not here: see above` : "this image has no file");
    return;
  }
  say(`reading ${layer.label}…`);
  stopBlinking();
  try {
    const first = shown === null;
    shown = await load(layer.address);
    second = secondPicture = null;
    element("epoch").value = "";
    element("blink").disabled = true;
    redraw();
    if (first) fit();
    const beam = beamOf(shown.cards);
    put("beam", beam ? `${beam.major.toFixed(1)}″ × ${beam.minor.toFixed(1)}″, position angle ${beam.angle.toFixed(0)}°` : "–");
    canvas.dataset.ready = layer.kind;
    say("ready");
  } catch (error) {
    shown = picture = null;
    paint();
    say(`– ${error.message}`);
  }
}

async function showEpoch() {
  stopBlinking();
  second = secondPicture = null;
  element("blink").disabled = true;
  const address = element("epoch").value;
  if (!address || !shown) return paint();
  say("reading the second epoch…");
  try {
    const other = await load(address);
    if (!shown.wcs || !other.wcs) throw new Error("one of the two has coordinates that the viewer does not know");
    second = onto(other);
    redraw();
    element("blink").disabled = false;
    say("ready to blink");
  } catch (error) {
    say(`– ${error.message}`);
  }
}

function options(select, rows) {
  for (const [value, label] of rows) select.add(new Option(label, value));
}

options(element("layer"), data.layers.map((each) => [each.kind, each.label]));
options(element("epoch"), data.epochs.map((each) => [each.address, each.label]));
const wanted = new URLSearchParams(location.search).get("layer");
if (data.layers.some((each) => each.kind === wanted)) element("layer").value = wanted;

element("layer").addEventListener("change", showLayer);
element("epoch").addEventListener("change", showEpoch);
for (const name of ["stretch", "range", "map"]) element(name).addEventListener("change", redraw);
for (const end of ["low", "high"]) {
  element(end).addEventListener("change", () => {
    element("range").value = "own";
    redraw();
  });
}
element("sources").addEventListener("change", paint);
element("blink").addEventListener("click", blink);
element("in").addEventListener("click", () => zoom(1.5));
element("out").addEventListener("click", () => zoom(1 / 1.5));
element("fit").addEventListener("click", fit);
window.addEventListener("resize", () => paint());

let drag = null;
canvas.addEventListener("pointerdown", (event) => {
  drag = [event.clientX, event.clientY];
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointerup", () => { drag = null; });
canvas.addEventListener("pointermove", (event) => {
  const edge = canvas.getBoundingClientRect();
  if (drag) {
    view.x += event.clientX - drag[0];
    view.y += event.clientY - drag[1];
    drag = [event.clientX, event.clientY];
    paint();
  }
  readAt(event.clientX - edge.left, event.clientY - edge.top);
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const edge = canvas.getBoundingClientRect();
  zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, event.clientX - edge.left, event.clientY - edge.top);
}, { passive: false });

const STEPS = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
canvas.addEventListener("keydown", (event) => {
  const step = STEPS[event.key];
  if (step) {
    view.x += step[0];
    view.y += step[1];
    paint();
  } else if (event.key === "+" || event.key === "=") zoom(1.5);
  else if (event.key === "-") zoom(1 / 1.5);
  else if (event.key === "0") fit();
  else if (event.key === "b") blink();
  else return;
  event.preventDefault();
  readAt(canvas.clientWidth / 2, canvas.clientHeight / 2);
});

showLayer();
