// What every page loads: it keeps the page current, counts ages, and draws the charts of a page that has some.

import "./ages.js";
import "./copy.js";
import "./live.js";
import "./keys.js";
import "./pictures.js";

if (document.querySelector("[data-chart]")) import("./charts.js");
if (document.querySelector("[data-log]")) import("./log.js");
if (document.querySelector("[data-continue]")) import("./continue.js");
