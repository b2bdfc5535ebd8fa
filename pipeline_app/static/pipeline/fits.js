// Reads the first plane of a FITS image: header cards, pixels as Float32Array, and the celestial projection.
// FITS standard 4.0; celestial projections: Calabretta & Greisen 2002 (A&A 395, 1077).

const BLOCK = 2880;
const CARD = 80;
const DEG = Math.PI / 180;

function readHeader(bytes) {
  const cards = new Map();
  for (let at = 0; at + CARD <= bytes.length; at += CARD) {
    const card = String.fromCharCode(...bytes.subarray(at, at + CARD));
    const key = card.slice(0, 8).trim();
    if (key === "END") return { cards, end: Math.ceil((at + CARD) / BLOCK) * BLOCK };
    if (card.slice(8, 10) !== "= ") continue;
    const text = card.slice(10);
    const quoted = text.match(/^\s*'((?:[^']|'')*)'/);
    const plain = text.split("/")[0].trim();
    if (quoted) cards.set(key, quoted[1].replaceAll("''", "'").trim());
    else if (plain === "T" || plain === "F") cards.set(key, plain === "T");
    else if (plain !== "") cards.set(key, Number(plain.replace("D", "E")));
  }
  throw new Error("the header of the FITS file has no end");
}

const READERS = {
  "-32": (view, at) => view.getFloat32(at),
  "-64": (view, at) => view.getFloat64(at),
  "16": (view, at) => view.getInt16(at),
  "32": (view, at) => view.getInt32(at),
  "8": (view, at) => view.getUint8(at),
};

export function readFits(buffer) {
  const { cards, end } = readHeader(new Uint8Array(buffer));
  const [width, height, bitpix] = ["NAXIS1", "NAXIS2", "BITPIX"].map((key) => cards.get(key));
  const read = READERS[bitpix];
  if (!cards.get("SIMPLE") || !(width > 0 && height > 0) || !read) throw new Error("this is no FITS image that the viewer can read");
  const step = Math.abs(bitpix) / 8;
  if (buffer.byteLength < end + width * height * step) throw new Error("the FITS file is cut short");
  const [scale, zero] = [cards.get("BSCALE") ?? 1, cards.get("BZERO") ?? 0];
  const view = new DataView(buffer, end);
  const values = new Float32Array(width * height);
  for (let index = 0; index < values.length; index += 1) values[index] = zero + scale * read(view, index * step);
  return { cards, width, height, values, wcs: projection(cards), unit: cards.get("BUNIT") ?? "" };
}

// Returns functions between pixels (from 0) and ICRS degrees, for SIN (also slant) and TAN without a rotation.
function projection(cards) {
  const kind = String(cards.get("CTYPE1") ?? "").slice(-3);
  if (!["SIN", "TAN"].includes(kind)) return null;
  const [ra0, dec0] = [cards.get("CRVAL1") * DEG, cards.get("CRVAL2") * DEG];
  const [x0, y0] = [cards.get("CRPIX1") - 1, cards.get("CRPIX2") - 1];
  const [dx, dy] = [cards.get("CDELT1") * DEG, cards.get("CDELT2") * DEG];
  const [xi, eta] = kind === "SIN" ? [cards.get("PV2_1") ?? 0, cards.get("PV2_2") ?? 0] : [0, 0];
  const [sin0, cos0] = [Math.sin(dec0), Math.cos(dec0)];

  function direction(l, m) {
    if (kind === "TAN") {
      const n = 1 / Math.hypot(1, l, m);
      return [l * n, m * n, n];
    }
    // With w = 1 - n the plane has x = l + xi w, y = m + eta w, and l^2 + m^2 + n^2 = 1 is a quadratic in w.
    const [a, half] = [1 + xi * xi + eta * eta, 1 + xi * l + eta * m];
    const root = half * half - a * (l * l + m * m);
    if (root < 0) return null;
    const w = (half - Math.sqrt(root)) / a;
    return [l - xi * w, m - eta * w, 1 - w];
  }

  return {
    cellArcmin: Math.abs(dy) / DEG * 60,
    centre: [x0, y0],
    toSky(x, y) {
      const found = direction((x - x0) * dx, (y - y0) * dy);
      if (!found) return null;
      const [l, m, n] = found;
      const dec = Math.asin(Math.max(-1, Math.min(1, m * cos0 + n * sin0)));
      const ra = ra0 + Math.atan2(l, n * cos0 - m * sin0);
      return [((ra / DEG) % 360 + 360) % 360, dec / DEG];
    },
    toPixel(raDeg, decDeg) {
      const [turn, dec] = [raDeg * DEG - ra0, decDeg * DEG];
      const l = Math.cos(dec) * Math.sin(turn);
      const m = Math.sin(dec) * cos0 - Math.cos(dec) * sin0 * Math.cos(turn);
      const n = Math.sin(dec) * sin0 + Math.cos(dec) * cos0 * Math.cos(turn);
      if (n <= 0) return null;
      if (kind === "TAN") return [x0 + l / n / dx, y0 + m / n / dy];
      return [x0 + (l + xi * (1 - n)) / dx, y0 + (m + eta * (1 - n)) / dy];
    },
  };
}
