// Draws the charts of a page with Apache ECharts, from the data that stands beside each (tasks_app/admin/charts.py).

import * as echarts from "../echarts/echarts.esm.min.js";

const TONES = { ok: "--ok", busy: "--busy", warn: "--warn", bad: "--bad", calm: "--calm", wait: "--calm" };
const PALETTE = ["--busy", "--chart-2", "--ok", "--chart-4", "--warn", "--calm"];
const drawn = new Map();

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function colour(tone, n) {
  return css(TONES[tone] ?? PALETTE[n % PALETTE.length]);
}

function number(value) {
  if (typeof value !== "number") return String(value ?? "–");
  return Math.abs(value) >= 1e5 || (value !== 0 && Math.abs(value) < 1e-3) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

function moment(value) {
  return new Date(value).toISOString().slice(0, 19).replace("T", " ") + "Z";
}

function written(axis, value) {
  if (axis.kind === "time") return moment(value);
  if (axis.kind === "category") return axis.categories[value] ?? value;
  return `${number(value)} ${axis.unit}`.trim();
}

function axisOption(axis, where) {
  const name = axis.unit ? `${axis.label} (${axis.unit})` : axis.label;
  const line = css("--hairline-color");
  return {
    type: axis.kind,
    data: axis.kind === "category" ? axis.categories : undefined,
    min: axis.low ?? undefined,
    max: axis.high ?? undefined,
    minInterval: axis.whole ? (axis.kind === "time" ? 864e5 : 1) : undefined,
    scale: axis.kind === "value" && axis.low === null,
    name,
    nameLocation: "middle",
    nameGap: where === "x" ? 26 : 44,
    nameTextStyle: { color: css("--body-quiet-color") },
    splitNumber: where === "y" ? 4 : undefined, // what a low chart has room for
    axisLabel: { color: css("--body-quiet-color"), hideOverlap: true },
    axisLine: { lineStyle: { color: line } },
    splitLine: { show: axis.kind !== "category" && where === "y", lineStyle: { color: line } },
  };
}

function base(animated) {
  return {
    animation: animated && !matchMedia("(prefers-reduced-motion: reduce)").matches,
    useUTC: true,
    textStyle: { fontFamily: css("--font-family-primary") || "sans-serif" },
    grid: { left: 58, right: 18, top: 30, bottom: 44 },
    // The page's policy lets no style of a text in, so tips are drawn on the canvas.
    tooltip: {
      renderMode: "richText", confine: true, backgroundColor: css("--body-bg"), borderColor: css("--border-color"),
      textStyle: { color: css("--body-fg"), fontSize: 12 },
    },
  };
}

function errorBars(series, n) {
  return {
    type: "custom", name: series.name, silent: true, tooltip: { show: false },
    data: series.points.filter((point) => point.length > 2 && point[2] !== null),
    renderItem(_, api) {
      const [x, y, error] = [api.value(0), api.value(1), api.value(2)];
      const [top, bottom] = [api.coord([x, y + error]), api.coord([x, y - error])];
      const shape = (x1, y1, x2, y2) => ({
        type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: colour(series.tone, n), lineWidth: 1.5 },
      });
      return { type: "group", children: [
        shape(top[0], top[1], bottom[0], bottom[1]),
        shape(top[0] - 3, top[1], top[0] + 3, top[1]),
        shape(bottom[0] - 3, bottom[1], bottom[0] + 3, bottom[1]),
      ] };
    },
  };
}

function xySeries(chart, series, n) {
  const type = { line: "line", area: "line", bar: "bar", point: "scatter" }[series.mark];
  const lines = n === 0 ? chart.thresholds.map((each) => ({
    [each.axis === "x" ? "xAxis" : "yAxis"]: each.value, label: { formatter: each.label, color: css("--warn"), position: "insideEndTop" },
  })) : [];
  return {
    type,
    name: series.name,
    stack: series.stack || undefined,
    step: false,
    showSymbol: series.points.length < 60,
    symbolSize: series.mark === "point" ? 7 : 4,
    areaStyle: series.mark === "area" ? { opacity: 0.25 } : undefined,
    itemStyle: { color: colour(series.tone, n) },
    lineStyle: { color: colour(series.tone, n), width: 2 },
    barMaxWidth: 18,
    data: series.points.map(([x, y], at) => ({ value: [x, y], label_: series.labels[at], link: series.links[at], error: series.points[at][2] })),
    markLine: lines.length ? { silent: true, symbol: "none", lineStyle: { color: css("--warn"), type: "dashed" }, data: lines } : undefined,
  };
}

// One line, whose arrows lead to what does not fit: a second line would cover the chart.
function legend(names) {
  const quiet = css("--body-quiet-color");
  const arrows = { pageIconColor: css("--body-fg"), pageIconInactiveColor: quiet, pageTextStyle: { color: quiet } };
  return { type: "scroll", top: 0, textStyle: { color: css("--body-fg") }, data: names, ...arrows };
}

function xyOption(chart, animated) {
  const option = base(animated);
  option.tooltip.trigger = chart.series.some((each) => each.mark === "point") ? "item" : "axis";
  const line = (each) => {
    const error = each.data.error === undefined || each.data.error === null ? "" : ` ± ${number(each.data.error)}`;
    return `${each.seriesName}: ${number(each.value[1])}${error} ${chart.y.unit}`.trim();
  };
  option.tooltip.formatter = (found) => {
    const points = Array.isArray(found) ? found : [found];
    return [points[0].data?.label_, written(chart.x, points[0].value[0]), ...points.map(line)].filter(Boolean).join("\n");
  };
  if (chart.series.length > 1) option.legend = legend(chart.series.map((each) => each.name));
  option.xAxis = axisOption(chart.x, "x");
  option.yAxis = axisOption(chart.y, "y");
  option.series = [
    ...chart.series.map((each, n) => xySeries(chart, each, n)),
    ...chart.series.map((each, n) => [each, n]).filter(([each]) => each.points.some((point) => point.length > 2)).map(([each, n]) => errorBars(each, n)),
  ];
  return option;
}

function heatOption(chart, animated) {
  const option = base(animated);
  option.grid = { left: 70, right: 84, top: 12, bottom: 44 };
  option.tooltip.formatter = ({ value }) => `${written(chart.x, value[0])}, ${written(chart.y, value[1])}: ${number(value[2])} ${chart.unit}`.trim();
  option.xAxis = { ...axisOption(chart.x, "x"), splitArea: { show: false } };
  option.yAxis = { ...axisOption(chart.y, "y"), nameGap: 50 };
  option.visualMap = {
    min: chart.low, max: chart.high, calculable: false, orient: "vertical", right: 4, top: "center", itemHeight: 90,
    text: [`${number(chart.high)} ${chart.unit}`.trim(), number(chart.low)], textStyle: { color: css("--body-quiet-color") },
    inRange: { color: ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"] },
  };
  option.series = [{ type: "heatmap", data: chart.cells.filter((cell) => cell[2] !== null) }];
  return option;
}

function hoursOf({ low, high }) {
  const apart = high - low <= 4 ? 0.5 : high - low <= 10 ? 1 : 2;
  const first = Math.ceil(low / apart);
  return Array.from({ length: Math.floor(high / apart) - first + 1 }, (_, n) => (first + n) * apart);
}

function lanesOption(chart, animated) {
  const option = base(animated);
  option.grid = { left: 12, right: 32, top: 8, bottom: 4, containLabel: true }; // the last label needs half its width
  option.tooltip.formatter = ({ data }) => `${data.interval.label}\n${moment(data.interval.start)}\n${moment(data.interval.end)}`;
  const ends = { low: chart.low ? Date.parse(chart.low) : null, high: chart.high ? Date.parse(chart.high) : null };
  option.xAxis = [{ ...axisOption({ kind: "time", label: "", unit: "", ...ends }, "x"), splitLine: { show: true, lineStyle: { color: css("--hairline-color") } } }];
  if (chart.above) {
    option.grid.top = 44;
    option.xAxis.push({
      ...axisOption({ kind: "value", label: chart.above.label, unit: "h", low: chart.above.low, high: chart.above.high }, "x"), position: "top", axisTick: { customValues: hoursOf(chart.above) },
      axisLabel: { color: css("--body-quiet-color"), hideOverlap: true, customValues: hoursOf(chart.above), formatter: (hours) => `${String(Math.floor(hours) % 24).padStart(2, "0")}:${String(Math.round((hours % 1) * 60)).padStart(2, "0")}` },
    });
  }
  option.yAxis = { type: "category", data: chart.lanes, inverse: true, axisLabel: { color: css("--body-fg"), width: 150, overflow: "truncate" }, axisTick: { show: false }, axisLine: { show: false } };
  option.series = [{
    type: "custom",
    encode: { x: [1, 2], y: 0 },
    data: chart.intervals.map((each) => ({ value: [each.lane, Date.parse(each.start), Date.parse(each.end)], interval: each, link: each.link })),
    renderItem(params, api) {
      const each = chart.intervals[params.dataIndex];
      const [x1, y] = api.coord([api.value(1), api.value(0)]);
      const [x2] = api.coord([api.value(2), api.value(0)]);
      const height = Math.min(20, api.size([0, 1])[1] * 0.64);
      const frame = params.coordSys;
      const shape = echarts.graphic.clipRectByRect({ x: x1, y: y - height / 2, width: Math.max(3, x2 - x1), height }, frame);
      return shape && { type: "rect", shape: { ...shape, r: 3 }, style: { fill: colour(each.tone || "calm", 0), opacity: each.tone === "wait" ? 0.35 : 1 } };
    },
  }];
  return option;
}

const OPTIONS = { xy: xyOption, heat: heatOption, lanes: lanesOption };

function draw(figure, text, animated) {
  const canvas = figure.querySelector(".chart-canvas");
  const chart = JSON.parse(text);
  if (chart.kind === "lanes") canvas.style.height = `${(chart.above ? 96 : 60) + 30 * chart.lanes.length}px`;
  const instance = echarts.getInstanceByDom(canvas) ?? echarts.init(canvas);
  instance.resize();
  instance.setOption(OPTIONS[chart.kind](chart, animated), { notMerge: true });
  instance.off("click");
  instance.on("click", ({ data }) => { if (data?.link) location.href = data.link; });
  canvas.dataset.drawn = "yes";
  drawn.set(figure.dataset.chart, text);
}

function drawAll(animated) {
  for (const figure of document.querySelectorAll("[data-chart]")) {
    const data = figure.querySelector("script[type='application/json']");
    if (data) draw(figure, drawn.get(figure.dataset.chart) ?? data.textContent, animated);
  }
}

// A fresh copy of the page may hold newer data; the figure itself stays, so a tip under the pointer does too.
document.addEventListener("console:fresh", ({ detail: fresh }) => {
  for (const figure of document.querySelectorAll("[data-chart]")) {
    const data = fresh.querySelector(`[data-chart="${figure.dataset.chart}"] script[type='application/json']`);
    if (data && !figure.querySelector(".chart-canvas")) figure.replaceChildren(...document.importNode(data.parentElement, true).childNodes);
    if (data && drawn.get(figure.dataset.chart) !== data.textContent) draw(figure, data.textContent, false);
  }
});
addEventListener("resize", () => {
  for (const canvas of document.querySelectorAll(".chart-canvas")) echarts.getInstanceByDom(canvas)?.resize();
});
new MutationObserver(() => drawAll(false)).observe(document.documentElement, { attributeFilter: ["data-theme"] });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(false));

drawAll(true);
