// What the viewer draws over an image: measured sources, the beam, and the scale of colours.

const INK = "#e8edf3";
const PAPER = "rgba(17, 21, 28, 0.8)";
const FAINT = "#9aa7b5";
const SOURCE = "#7fe0ff";
const BAR = { width: 14, height: 180, margin: 12, text: 74 };
const TICKS = 5;

// Each stretch from a part of the range (0 to 1) to a part of the colours, and back.
export const STRETCHES = {
  asinh: { to: (part) => Math.asinh(part / 0.1) / Math.asinh(10), from: (part) => 0.1 * Math.sinh(part * Math.asinh(10)) },
  linear: { to: (part) => part, from: (part) => part },
  log: { to: (part) => Math.log10(1 + 999 * part) / 3, from: (part) => (10 ** (3 * part) - 1) / 999 },
  sqrt: { to: (part) => Math.sqrt(part), from: (part) => part * part },
};

// Circles of all sources, the brightest first, and the names of those that leave each other room.
export function paintSources(context, sources, place) {
  context.font = "12px sans-serif";
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.lineWidth = 1.5;
  const taken = [];
  for (const source of sources) {
    const found = place(source);
    if (!found) continue;
    const [left, top] = found;
    context.strokeStyle = context.fillStyle = source.snr >= 5 ? SOURCE : FAINT;
    context.setLineDash(source.snr >= 5 ? [] : [4, 3]);
    context.beginPath();
    context.arc(left, top, 9, 0, 2 * Math.PI);
    context.stroke();
    context.setLineDash([]);
    if (source.catalog_flux_jy) paintTicks(context, left, top);
    const box = [left + 19, top - 7, left + 21 + context.measureText(source.name).width, top + 7];
    if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) continue;
    taken.push(box);
    context.fillText(source.name, box[0], top);
  }
}

// Four ticks around a circle: a catalogue has the source's flux.
function paintTicks(context, left, top) {
  context.beginPath();
  for (const [x, y] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    context.moveTo(left + 10 * x, top + 10 * y);
    context.lineTo(left + 16 * x, top + 16 * y);
  }
  context.stroke();
}

// The beam in an image's header, in arcsec and degrees from north to east; null where there is none.
export function beamOf(cards) {
  const [major, minor, angle] = ["BMAJ", "BMIN", "BPA"].map((key) => cards.get(key));
  return major > 0 && minor > 0 ? { major: major * 3600, minor: minor * 3600, angle: angle ?? 0 } : null;
}

// The beam in the lower left corner, as large as the image shows it.
export function paintBeam(context, image, scale, height) {
  const beam = beamOf(image.cards);
  if (!beam || !image.wcs) return;
  const px = scale / (image.wcs.cellArcmin * 60);
  const [long, short] = [beam.major, beam.minor].map((size) => Math.max(1.5, (size / 2) * px));
  const side = 2 * long + 16;
  const eastIsLeft = (image.cards.get("CDELT1") ?? -1) < 0 ? 1 : -1;
  context.fillStyle = PAPER;
  context.fillRect(BAR.margin, height - BAR.margin - side, side, side);
  context.fillStyle = INK;
  context.beginPath();
  const turn = (-90 - eastIsLeft * beam.angle) * Math.PI / 180;
  context.ellipse(BAR.margin + side / 2, height - BAR.margin - side / 2, long, short, turn, 0, 2 * Math.PI);
  context.fill();
}

export function short(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  return size >= 1000 || size < 0.01 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

// The scale of colours at the right edge, with values at equal distances.
export function paintBar(context, { width, low, high, colours, stretch, factor, unit }) {
  const [left, top] = [width - BAR.margin - BAR.text - BAR.width, BAR.margin + 26];
  context.fillStyle = PAPER;
  context.fillRect(left - 8, BAR.margin, BAR.text + BAR.width + 8, BAR.height + 40);
  for (let row = 0; row < BAR.height; row += 1) {
    const at = Math.round(255 * (1 - row / (BAR.height - 1)));
    context.fillStyle = `rgb(${colours[at].join(" ")})`;
    context.fillRect(left, top + row, BAR.width, 1);
  }
  context.font = "12px sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "right";
  context.fillStyle = INK;
  context.fillText(unit, width - BAR.margin - 6, BAR.margin + 12);
  context.textAlign = "left";
  for (let tick = 0; tick < TICKS; tick += 1) {
    const part = tick / (TICKS - 1);
    const value = (low + (high - low) * stretch.from(part)) * factor;
    context.fillText(short(value), left + BAR.width + 6, top + (1 - part) * (BAR.height - 1));
  }
}
