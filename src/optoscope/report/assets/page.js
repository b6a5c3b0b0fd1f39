/* Draws the charts of a page from the numbers inside it. Texts are only ever set as text. */
(function () {
  "use strict";

  var data = JSON.parse(document.getElementById("optoscope-data").textContent);
  var root = document.documentElement;
  var systemDark = window.matchMedia("(prefers-color-scheme: dark)");
  var MOST_ROWS = 25;
  var COLORS = {
    light: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8a6d00", "#332288", "#5A5A5A", "#882255"],
    dark: ["#62b5e8", "#ff9a5c", "#3fcf9f", "#eaa6cc", "#e0bd3d", "#a79bf0", "#b9b9b9", "#e07bb0"]
  };
  var printing = false;
  var charts = [];

  function make(tag, attributes, text) {
    var element = document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (name) {
      element.setAttribute(name, attributes[name]);
    });
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function isDark() {
    if (printing) return false;
    var chosen = root.getAttribute("data-theme");
    return chosen ? chosen === "dark" : systemDark.matches;
  }

  function paint(name) {
    if (printing) return { "--ink": "#000", "--quiet": "#444", "--line": "#ccc", "--paper": "#fff" }[name];
    return getComputedStyle(root).getPropertyValue(name).trim();
  }

  function number(value) {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return String(value);
    if (value === 0) return "0";
    var size = Math.abs(value);
    if (size >= 1e5 || size < 1e-3) {
      var parts = value.toExponential(2).split("e");
      return String(parseFloat(parts[0])) + "e" + parts[1].replace("+", "");
    }
    return parseFloat(value.toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 6 });
  }

  function withSign(text) { return text.replace(/-/g, "−"); }

  function show(value) { return typeof value === "number" ? withSign(number(value)) : number(value); }

  /* One chart: what is chosen, what that draws, and the elements around it. */
  function Chart(place) {
    this.place = place;
    this.findings = data.findings[place.getAttribute("data-findings")];
    this.spec = this.findings.charts[Number(place.getAttribute("data-chart"))];
    this.axes = this.findings.arrays[this.spec.array].axes;
    this.plot = place.querySelector(".plot");
    this.readout = place.querySelector(".readout");
    this.chosen = {};
    this.hidden = {};
    var own = this;
    this.axes.forEach(function (axis) { own.chosen[axis] = 0; });
    if (this.spec.slider) this.chosen[this.spec.slider] = this.places(this.spec.slider).length - 1;
    this.controls();
    this.keys();
    this.draw();
  }

  Chart.prototype.places = function (axis) { return this.findings.axes[axis].values; };

  /* The numbers of an array along the axis drawn along, at a place of the lines' axis. */
  Chart.prototype.along = function (name, line) {
    var own = this, array = this.findings.arrays[name], stride = 1, start = 0, step = 0;
    for (var i = array.axes.length - 1; i >= 0; i--) {
      var axis = array.axes[i];
      if (axis === own.spec.along) step = stride;
      else start += stride * (axis === own.spec.lines ? line : own.chosen[axis]);
      stride *= own.places(axis).length;
    }
    return own.places(own.spec.along).map(function (_, j) { return array.values[start + j * step]; });
  };

  Chart.prototype.names = function () {
    return this.spec.lines ? this.places(this.spec.lines).map(String) : [this.spec.label];
  };

  Chart.prototype.color = function (index) {
    var name = this.names()[index], dark = isDark();
    var look = data.looks[name];
    if (look) return dark ? look.dark : look.light;
    /* What stands beside optimizers, such as the gradient, is gray: it must not look like one. */
    if (this.names().some(function (other) { return data.looks[other]; })) return paint("--quiet");
    var list = dark ? COLORS.dark : COLORS.light;
    return list[index % list.length];
  };

  Chart.prototype.shown = function () {
    var own = this;
    return this.names().map(function (_, i) { return i; }).filter(function (i) { return !own.hidden[i]; });
  };

  Chart.prototype.controls = function () {
    var own = this, spec = this.spec, box = this.place.querySelector(".controls");
    this.axes.forEach(function (axis) {
      if (axis === spec.along || axis === spec.lines || axis === spec.slider) return;
      var places = own.places(axis);
      if (places.length < 2) return;
      var label = make("label", {}, own.findings.axes[axis].label + " ");
      var select = make("select");
      places.forEach(function (place, i) { select.appendChild(make("option", { value: i }, show(place))); });
      select.addEventListener("change", function () {
        own.chosen[axis] = Number(select.value);
        own.draw();
      });
      label.appendChild(select);
      box.appendChild(label);
    });
    if (spec.slider && this.places(spec.slider).length > 1) this.slider(box);
    if (spec.lines && spec.kind !== "bars") this.legend(box);
    this.saving(this.place.querySelector(".saving"));
    var numbers = this.place.querySelector("details.numbers");
    if (numbers) numbers.addEventListener("toggle", function () { own.table(); });
  };

  Chart.prototype.slider = function (box) {
    var own = this, axis = this.spec.slider, places = this.places(axis);
    var label = make("label", { "class": "slider" }, this.findings.axes[axis].label + " ");
    var range = make("input", { type: "range", min: 0, max: places.length - 1, step: 1, value: places.length - 1 });
    var output = make("output", {}, show(places[places.length - 1]));
    range.setAttribute("aria-valuetext", show(places[places.length - 1]));
    range.addEventListener("input", function () {
      var place = show(places[Number(range.value)]);
      own.chosen[axis] = Number(range.value);
      output.textContent = place;
      range.setAttribute("aria-valuetext", place);
      own.draw();
    });
    label.appendChild(range);
    label.appendChild(output);
    box.appendChild(label);
  };

  Chart.prototype.legend = function (box) {
    var own = this, names = this.names();
    var group = make("div", { "class": "legend", role: "group", "aria-label": "lines" });
    names.forEach(function (name, i) {
      var button = make("button", { type: "button", "aria-pressed": "true" });
      button.appendChild(make("span", { "class": "swatch", "aria-hidden": "true" }));
      button.appendChild(make("span", {}, name));
      button.addEventListener("click", function () {
        own.hidden[i] = !own.hidden[i];
        button.setAttribute("aria-pressed", String(!own.hidden[i]));
        own.draw();
      });
      group.appendChild(button);
    });
    this.buttons = group.children;
    box.appendChild(group);
  };

  Chart.prototype.saving = function (box) {
    if (!box) return;
    var own = this;
    var kinds = { CSV: function () { own.saveNumbers(); } };
    if (this.spec.kind !== "bars") kinds = { PNG: function () { own.savePicture(); }, CSV: kinds.CSV };
    Object.keys(kinds).forEach(function (kind) {
      var button = make("button", { type: "button", title: "Save as " + kind }, kind);
      button.addEventListener("click", kinds[kind]);
      box.appendChild(button);
    });
  };

  /* What is drawn: the places along, and for each shown line its numbers and what goes with them. */
  Chart.prototype.content = function () {
    var own = this, spec = this.spec;
    var lines = this.shown().map(function (i) {
      return {
        index: i,
        name: own.names()[i],
        values: own.along(spec.array, i),
        at: spec.horizontal ? own.along(spec.horizontal, i) : null,
        reference: spec.reference ? own.along(spec.reference, i) : null,
        low: spec.band ? own.along(spec.band[0], i) : null,
        high: spec.band ? own.along(spec.band[1], i) : null
      };
    });
    return { along: this.places(spec.along), lines: lines };
  };

  Chart.prototype.draw = function () {
    var content = this.content();
    if (this.spec.kind === "bars") this.bars(content);
    else this.curves(content);
    this.plot.setAttribute("aria-label", this.describe(content));
    var own = this;
    if (this.buttons) {
      Array.prototype.forEach.call(this.buttons, function (button, i) {
        button.firstChild.style.background = own.color(i);
      });
    }
    this.table();
  };

  Chart.prototype.bars = function (content) {
    var own = this, spec = this.spec;
    this.plot.textContent = "";
    var all = [].concat.apply([], content.lines.map(function (line) { return line.values; }));
    var largest = Math.max.apply(null, all.filter(function (v) { return v !== null; }).concat([1e-300]));
    content.lines.forEach(function (line) {
      content.along.forEach(function (place, j) {
        var row = make("div", { "class": "bar-row", "aria-hidden": "true" });
        var name = String(place) + (spec.lines ? ", " + line.name : "");
        row.appendChild(make("span", { "class": "bar-name" }, name));
        var track = make("span", { "class": "bar-track" });
        var bar = make("span", { "class": "bar" });
        var value = line.values[j];
        bar.style.width = (value > 0 ? Math.max(0.5, 100 * value / largest) : 0) + "%";
        var look = data.looks[String(place)] || data.looks[String(place).replace(/^update of /, "")];
        bar.style.background = look ? (isDark() ? look.dark : look.light) : paint("--quiet");
        track.appendChild(bar);
        row.appendChild(track);
        row.appendChild(make("span", { "class": "bar-value" }, show(value)));
        own.plot.appendChild(row);
      });
    });
    this.plot.appendChild(make("p", { "class": "bar-unit", "aria-hidden": "true" }, spec.label));
  };

  function positive(values) {
    return values.map(function (v) { return v !== null && v > 0 ? v : null; });
  }

  /* Whether no two neighbors are there, so that no line is drawn between any. */
  function apart(values) {
    return !values.some(function (v, i) { return i > 0 && v !== null && values[i - 1] !== null; });
  }

  /* Whether a logarithmic axis shows more: numbers above zero that span a factor of eight. */
  function spans(values) {
    var known = values.filter(function (v) { return v !== null && v > 0; });
    return known.length > 1 && Math.max.apply(null, known) > 8 * Math.min.apply(null, known);
  }

  Chart.prototype.curves = function (content) {
    var spec = this.spec, own = this, along = content.along;
    var named = typeof along[0] === "string";
    var x = named ? along.map(function (_, i) { return i; }) : along;
    var all = [].concat.apply([], content.lines.map(function (line) {
      return line.values.concat(line.reference || []);
    }));
    var log = spec.logarithmic && spans(all);
    var usable = log ? positive : function (values) { return values; };
    var series = [{}], columns = [x], bands = [];
    content.lines.forEach(function (line) {
      var color = own.color(line.index);
      var look = data.looks[line.name] || {};
      var few = line.values.length < 16 || apart(line.values) || spec.kind === "points";
      series.push({
        label: line.name, stroke: color, width: look.learned ? 2.6 : 1.8, spanGaps: Boolean(spec.horizontal),
        dash: look.dash || [], points: { show: few, size: spec.kind === "points" ? 9 : 5, fill: color },
        paths: spec.kind === "points" ? function () { return null; } : undefined, line: line
      });
      columns.push(usable(line.values));
      if (line.reference) {
        series.push({ stroke: color, width: 1.4, dash: [2, 4], points: { show: false } });
        columns.push(usable(line.reference));
      }
      if (line.low) {
        series.push({ stroke: "transparent", points: { show: false } });
        series.push({ stroke: "transparent", points: { show: false } });
        columns.push(usable(line.high), usable(line.low));
        bands.push({ series: [series.length - 2, series.length - 1], fill: color + "26" });
      }
    });
    if (spec.horizontal) {
      columns = joined(content.lines, usable);
    }
    this.series = series;
    this.columns = columns;
    this.place.classList.toggle("empty", !columns.slice(1).some(function (column) {
      return column.some(function (v) { return v !== null && v !== undefined; });
    }));
    this.render(this.options(series, bands, log, named, x));
  };

  /* The points of lines that have places of their own along, on one sorted axis. */
  function joined(lines, usable) {
    var tables = lines.map(function (line) {
      var y = usable(line.values), pairs = [];
      line.at.forEach(function (at, i) { if (at !== null && y[i] !== null) pairs.push([at, y[i]]); });
      pairs.sort(function (a, b) { return a[0] - b[0]; });
      return [pairs.map(function (p) { return p[0]; }), pairs.map(function (p) { return p[1]; })];
    });
    return tables.length ? uPlot.join(tables) : [[]];
  }

  Chart.prototype.options = function (series, bands, log, named, x) {
    var own = this, spec = this.spec;
    var ink = paint("--ink"), quiet = paint("--quiet"), grid = paint("--line");
    var font = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
    var values = this.columns[0];
    var alongLog = spec.along_logarithmic && !named && spans(values.map(function (v) { return Math.abs(v) || null; }));
    var fromZero = alongLog && values.some(function (v) { return v <= 0; });
    var label = spec.horizontal ? this.horizontalLabel() : this.findings.axes[spec.along].label;
    var whole = values.every(Number.isInteger);
    function ticks(u, found, whole) {
      return found.map(function (v) {
        if (v === null) return "";
        if (whole && !Number.isInteger(v)) return "";
        if (whole && named) return v in x ? String(own.places(spec.along)[v]) : "";
        return withSign(number(v));
      });
    }
    function axis(more) {
      return Object.assign({
        stroke: quiet, font: font, labelFont: font, labelSize: 22, labelGap: 2,
        grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 5 }
      }, more);
    }
    var narrow = this.width() < 480;
    return {
      width: this.width(), height: narrow ? 250 : 300, series: series, bands: bands,
      legend: { show: false },
      padding: [10, 14, 0, 0],
      scales: {
        x: { time: false, distr: alongLog ? (fromZero ? 4 : 3) : 1, asinh: 1, range: sides(alongLog) },
        y: { distr: log ? 3 : 1, range: log ? around : beside }
      },
      axes: [
        axis({ label: label, values: function (u, found) { return ticks(u, found, whole); }, size: 30, space: narrow ? 48 : 60, splits: alongLog ? decades : undefined }),
        axis({ label: spec.label, values: function (u, found) { return ticks(u, found, false); }, size: roomFor(font), space: 34, splits: log ? decades : undefined })
      ],
      cursor: { drag: { x: true, y: false }, points: { size: 8 }, y: false },
      hooks: { setCursor: [function (u) { own.tip(u); }] }
    };
  };

  /* Numbers that are all zero would be drawn on an axis up to 100 otherwise. */
  function beside(u, low, high) {
    if (low === null) return [null, null];
    return low === 0 && high === 0 ? [0, 1] : uPlot.rangeNum(low, high, 0.1, true);
  }

  /* A logarithmic axis with a little room at both ends, also where there is nothing to show. */
  function around(u, low, high) {
    return low === null || high === null ? [0.1, 10] : [low / 1.2, high * 1.2];
  }

  /* Where a logarithmic axis has marks: powers of ten, and between them where these are few. */
  function decades(u, index, low, high) {
    var found = low <= 0 ? [0] : [], smallest = low > 0 ? low : 1;
    var first = Math.ceil(Math.log10(smallest) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    var every = Math.max(1, Math.ceil((last - first + 1) / 8));
    var between = last - first < 2 ? [1, 2, 5] : [1];
    for (var power = every > 1 ? first : first - 1; power <= last; power += every) {
      between.forEach(function (factor) {
        var mark = parseFloat((factor * Math.pow(10, power)).toPrecision(3));
        if (mark >= smallest && mark <= high) found.push(mark);
      });
    }
    return found;
  }

  /* The whole data along, with room at the sides where places are few. */
  function sides(logarithmic) {
    return function (u, low, high) {
      if (low === null || high === null) return [0, 1];
      if (low === high) return logarithmic ? [low / 2, high * 2] : [low - 1, high + 1];
      return [low, high];
    };
  }

  function roomFor(font) {
    return function (u, values, index, cycle) {
      var axis = u.axes[index];
      if (cycle > 1) return axis._size;
      var longest = (values || []).reduce(function (a, b) { return b && b.length > a.length ? b : a; }, "");
      u.ctx.font = font;
      return Math.ceil(axis.ticks.size + axis.gap + u.ctx.measureText(longest).width) + 4;
    };
  }

  Chart.prototype.horizontalLabel = function () { return this.spec.horizontal.replace(/_/g, " "); };

  Chart.prototype.width = function () { return printing ? 620 : Math.max(220, this.plot.clientWidth); };

  Chart.prototype.render = function (options) {
    if (this.figure) this.figure.destroy();
    this.plot.textContent = "";
    this.figure = new uPlot(options, this.columns, this.plot);
    this.bubble = make("div", { "class": "tip", "aria-hidden": "true" });
    this.figure.over.appendChild(this.bubble);
    if (this.place.classList.contains("empty")) {
      this.figure.over.appendChild(make("p", { "class": "nothing" }, "nothing to show for this choice"));
    }
  };

  /* The numbers under the cursor: beside it, and for who uses the keyboard in the line below. */
  Chart.prototype.tip = function (u) {
    var own = this, i = u.cursor.idx, rows = [];
    if (i === null || i === undefined || u.cursor.left < 0) {
      this.bubble.classList.remove("visible");
      return;
    }
    var spec = this.spec, at = this.columns[0][i];
    if (typeof this.places(spec.along)[0] === "string") at = this.places(spec.along)[at];
    this.bubble.textContent = "";
    var label = spec.horizontal ? this.horizontalLabel() : this.findings.axes[spec.along].label;
    this.bubble.appendChild(make("strong", {}, label + " " + show(at)));
    this.series.forEach(function (one, column) {
      if (!one.line) return;
      var value = own.columns[column][i];
      /* Lines with places of their own have nothing at another's: then the last one before it. */
      for (var k = i; spec.horizontal && k > 0 && (value === null || value === undefined); k--) {
        value = own.columns[column][k - 1];
      }
      if (value === null || value === undefined) return;
      var reference = one.line.reference ? one.line.reference[i] : null;
      var text = show(value) + (reference !== null && reference !== undefined ? " (dotted " + show(reference) + ")" : "");
      var row = make("div");
      var swatch = make("span", { "class": "swatch" });
      swatch.style.background = own.color(one.line.index);
      row.appendChild(swatch);
      row.appendChild(make("span", {}, one.line.name + " "));
      row.appendChild(make("b", {}, text));
      own.bubble.appendChild(row);
      rows.push(one.line.name + " " + text);
    });
    this.bubble.classList.add("visible");
    var left = u.cursor.left, width = u.over.clientWidth;
    var wide = this.bubble.offsetWidth;
    var beside = left > width / 2 ? left - wide - 14 : left + 14;
    this.bubble.style.left = Math.max(0, Math.min(beside, width - wide)) + "px";
    this.said = label + " " + show(at) + ": " + rows.join(", ");
  };

  Chart.prototype.keys = function () {
    var own = this;
    if (this.spec.kind === "bars") { this.plot.removeAttribute("tabindex"); return; }
    this.plot.addEventListener("keydown", function (event) {
      var u = own.figure, last = own.columns[0].length - 1, i = u.cursor.idx;
      if (i === null || i === undefined) i = -1;
      var to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: last }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      to = Math.max(0, Math.min(last, to));
      u.setCursor({ left: u.valToPos(own.columns[0][to], "x"), top: u.over.clientHeight / 2 });
      own.readout.textContent = own.said || "";
    });
    this.plot.addEventListener("blur", function () {
      own.readout.textContent = "";
      own.figure.setCursor({ left: -10, top: -10 });
    });
  };

  /* The picture in words, as it is seen: each line's ends and its extremes. */
  Chart.prototype.describe = function (content) {
    var spec = this.spec, along = content.along, said = [];
    content.lines.forEach(function (line) {
      var places = line.at || along, known = [];
      line.values.forEach(function (v, i) { if (v !== null && places[i] !== null) known.push([places[i], v]); });
      if (!known.length) { said.push(line.name + ": nothing"); return; }
      if (spec.kind !== "line") {
        said.push((spec.lines ? line.name + ": " : "") + known.slice(0, 12).map(function (pair) {
          return show(pair[1]) + " at " + show(pair[0]);
        }).join(", "));
        return;
      }
      var first = known[0], last = known[known.length - 1];
      var top = known.reduce(function (a, b) { return b[1] > a[1] ? b : a; });
      var low = known.reduce(function (a, b) { return b[1] < a[1] ? b : a; });
      var text = line.name + " goes from " + show(first[1]) + " to " + show(last[1]);
      if (top !== first && top !== last) text += ", highest " + show(top[1]) + " at " + show(top[0]);
      if (low !== first && low !== last) text += ", lowest " + show(low[1]) + " at " + show(low[0]);
      said.push(text);
    });
    var kind = { line: "Line chart", points: "Points", bars: "Bars" }[spec.kind];
    var label = spec.horizontal ? this.horizontalLabel() : this.findings.axes[spec.along].label;
    return kind + ". " + spec.title + ": " + spec.label + " against " + label + this.where() + ". " +
      said.join("; ") + ". Arrow keys move through the numbers.";
  };

  Chart.prototype.where = function () {
    var own = this, spec = this.spec;
    var parts = this.axes.filter(function (axis) {
      return axis !== spec.along && axis !== spec.lines && own.places(axis).length > 1;
    }).map(function (axis) {
      return own.findings.axes[axis].label + " " + show(own.places(axis)[own.chosen[axis]]);
    });
    return parts.length ? ", at " + parts.join(", ") : "";
  };

  Chart.prototype.rows = function () {
    var content = this.content(), spec = this.spec;
    var head = [spec.horizontal ? this.findings.axes[spec.along].label : this.findings.axes[spec.along].label];
    content.lines.forEach(function (line) {
      if (line.at) head.push(line.name + ", " + spec.horizontal.replace(/_/g, " "));
      head.push(line.name);
      if (line.low) head.push(line.name + ", low", line.name + ", high");
      if (line.reference) head.push(line.name + ", dotted");
    });
    var rows = content.along.map(function (place, j) {
      var row = [place];
      content.lines.forEach(function (line) {
        if (line.at) row.push(line.at[j]);
        row.push(line.values[j]);
        if (line.low) row.push(line.low[j], line.high[j]);
        if (line.reference) row.push(line.reference[j]);
      });
      return row;
    });
    return { head: head, rows: rows };
  };

  Chart.prototype.table = function () {
    var details = this.place.querySelector("details.numbers");
    if (!details || !details.open) return;
    var box = details.querySelector(".scroll"), found = this.rows(), rows = found.rows;
    box.textContent = "";
    var total = rows.length;
    if (total > MOST_ROWS) {
      rows = Array.from({ length: MOST_ROWS }, function (_, i) {
        return found.rows[Math.round(i * (total - 1) / (MOST_ROWS - 1))];
      });
    }
    var table = make("table"), head = make("tr");
    table.appendChild(make("caption", {}, this.spec.title + this.where() + "; " + this.spec.label +
      (total > MOST_ROWS ? "; " + MOST_ROWS + " of " + total + " rows, all are in the CSV" : "")));
    found.head.forEach(function (text, i) { head.appendChild(make("th", { scope: "col", "class": i ? "number" : "" }, text)); });
    table.appendChild(make("thead")).appendChild(head);
    var body = table.appendChild(make("tbody"));
    rows.forEach(function (row) {
      var line = body.appendChild(make("tr"));
      row.forEach(function (value, i) {
        line.appendChild(i ? make("td", { "class": "number" }, show(value)) : make("th", { scope: "row" }, show(value)));
      });
    });
    box.appendChild(table);
  };

  function fileName(text, ending) {
    return text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 60) + ending;
  }

  function download(address, name) {
    var link = make("a", { href: address, download: name });
    document.body.appendChild(link);
    link.click();
    link.remove();
  }

  Chart.prototype.saveNumbers = function () {
    var found = this.rows();
    var text = [found.head].concat(found.rows).map(function (row) {
      return row.map(function (value) {
        if (typeof value === "number") return String(value);
        /* A name that begins like a formula must not become one in a spreadsheet. */
        var name = value === null || value === undefined ? "" : String(value).replace(/^[=+\-@\t\r]/, "'$&");
        return '"' + name.replace(/"/g, '""') + '"';
      }).join(",");
    }).join("\r\n") + "\r\n";
    download("data:text/csv;charset=utf-8," + encodeURIComponent(text), fileName(this.spec.title, ".csv"));
  };

  Chart.prototype.savePicture = function () {
    var source = this.figure.ctx.canvas, scale = source.width / this.figure.width, own = this;
    var canvas = make("canvas"), pen = canvas.getContext("2d"), top = 58 * scale;
    canvas.width = source.width;
    canvas.height = source.height + top;
    pen.fillStyle = paint("--paper");
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = paint("--ink");
    pen.font = "600 " + 15 * scale + "px system-ui, sans-serif";
    pen.fillText(this.spec.title + this.where(), 10 * scale, 22 * scale);
    pen.font = 12 * scale + "px system-ui, sans-serif";
    var left = 10 * scale;
    this.shown().forEach(function (i) {
      pen.fillStyle = own.color(i);
      pen.fillRect(left, 38 * scale, 12 * scale, 4 * scale);
      pen.fillStyle = paint("--ink");
      pen.fillText(own.names()[i], left + 17 * scale, 44 * scale);
      left += 34 * scale + pen.measureText(own.names()[i]).width;
    });
    pen.drawImage(source, 0, top);
    download(canvas.toDataURL("image/png"), fileName(this.spec.title, ".png"));
  };

  function redraw() { charts.forEach(function (chart) { chart.draw(); }); }

  function theme() {
    var button = document.getElementById("theme");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", function () {
      root.setAttribute("data-theme", isDark() ? "light" : "dark");
      redraw();
    });
    systemDark.addEventListener("change", redraw);
  }

  function start() {
    Array.prototype.forEach.call(document.querySelectorAll(".chart"), function (place) {
      charts.push(new Chart(place));
    });
    theme();
    var known = root.clientWidth;
    new ResizeObserver(function () {
      if (root.clientWidth === known) return;
      known = root.clientWidth;
      redraw();
    }).observe(root);
    window.addEventListener("beforeprint", function () { printing = true; redraw(); });
    window.addEventListener("afterprint", function () { printing = false; redraw(); });
    root.setAttribute("data-drawn", String(charts.length));
  }

  start();
})();
