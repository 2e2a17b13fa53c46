"use strict";
(() => {
  const every = 2000; // milliseconds from one look to the next
  const span = 5 * 60 * 1000; // what the charts show
  const quantileSpan = 30 * 1000; // what p50 and p99 are taken over
  const patience = 15 * 1000; // for one answer; it may have to wait for a backend
  const pageSize = 50;

  const byId = (id) => document.getElementById(id);

  /* Words and numbers. What comes from elsewhere is shown by textContent alone, and what could turn the direction of writing
     or not show at all is spelled out. */

  const printable = (text) => String(text ?? "").replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => "\\u{" + c.codePointAt(0).toString(16) + "}");
  const plural = (n, word) => n + " " + word + (n === 1 ? "" : "s");
  const clock = (t) => new Date(t).toLocaleTimeString([], { hour12: false });
  const moment = (text) => printable(text).replace("T", " ").replace(/(\.\d+)?Z$/, " UTC");

  const lasting = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    if (s < 60) return s + " s";
    if (s < 3600) return Math.floor(s / 60) + " min " + (s % 60) + " s";
    if (s < 2 * 86400) return Math.floor(s / 3600) + " h " + Math.floor((s % 3600) / 60) + " min";
    return Math.floor(s / 86400) + " days";
  };

  const scaled = (n, units) => {
    let unit = 0;
    for (; n >= 999.95 && unit < units.length - 1; unit++) n /= 1000;
    return (unit === 0 ? Math.round(n) : n.toFixed(1)) + " " + units[unit];
  };
  const size = (n) => scaled(n, ["B", "kB", "MB", "GB", "TB", "PB"]);
  const flow = (n) => size(n) + "/s";
  const duration = (s) => (s < 1 ? (s * 1000).toPrecision(3) + " ms" : s.toFixed(2) + " s");

  /* Elements. */

  const show = (node, text, className) => {
    if (node.textContent !== text) node.textContent = text;
    if (className !== undefined && node.className !== className) node.className = className;
  };

  const make = (name, className, ...inside) => {
    const node = document.createElement(name);
    if (className) node.className = className;
    node.append(...inside);
    return node;
  };

  const drawn = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };

  // fill makes the rows of a table say what cells say, and leaves alone what says so already: a selection outlives a look.
  const fill = (body, rows, nothing) => {
    if (rows.length === 0) rows = [[{ text: nothing, className: "doubt" }]];
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((cells, i) => {
      const row = body.rows[i] ?? body.insertRow();
      while (row.cells.length > cells.length) row.deleteCell(-1);
      cells.forEach(({ text, className = "", title = "", share }, j) => {
        const cell = row.cells[j] ?? row.insertCell();
        if (share === undefined) show(cell, text, className);
        else track(cell, share, className);
        if (cell.title !== title) cell.title = title;
      });
    });
  };

  // track shows a share of 1 as a bar; the number is told beside it.
  const track = (parent, share, className) => {
    let bar = parent.querySelector(".track");
    if (!bar) {
      bar = make("span", "track", make("i"));
      bar.setAttribute("aria-hidden", "true");
      parent.replaceChildren(bar);
    }
    if (className !== undefined) parent.className = className;
    bar.firstChild.style.width = (100 * Math.min(1, Math.max(0, share))).toFixed(1) + "%";
  };

  /* Charts: up to two lines over the last minutes. With the pointer, or with the arrow keys, one moment can be read. */

  class Chart {
    constructor(figure, names, format) {
      this.plot = figure.querySelector(".plot");
      this.readout = figure.querySelector(".readout");
      this.title = figure.querySelector("figcaption").textContent;
      this.names = names;
      this.format = format;
      this.samples = []; // [time, value of each line or null]
      this.cursor = null; // the index of the sample that is read
      this.svg = drawn("svg", { viewBox: "0 0 300 100", preserveAspectRatio: "none", role: "img" });
      this.top = make("span", "top");
      this.plot.append(this.svg, this.top);
      this.plot.setAttribute("aria-label", this.title + ": chart; arrow keys read one moment");
      this.plot.addEventListener("pointermove", (e) => this.point(e));
      this.plot.addEventListener("pointerleave", () => this.read(null));
      this.plot.addEventListener("blur", () => this.read(null));
      this.plot.addEventListener("keydown", (e) => this.key(e));
    }

    add(time, values) {
      this.samples.push([time, values]);
      while (this.samples.length > 0 && this.samples[0][0] < time - span) {
        this.samples.shift();
        if (this.cursor !== null) this.cursor = Math.max(0, this.cursor - 1);
      }
      this.draw(time);
    }

    draw(now = this.now) {
      this.now = now;
      const known = this.samples.flatMap(([, values]) => values).filter((v) => v !== null);
      const most = Math.max(0, ...known);
      const top = ceiling(most);
      this.width = Math.min(span, Math.max(60 * 1000, now - (this.samples[0]?.[0] ?? now)));
      const x = (time) => (300 * (time - now + this.width)) / this.width;
      const y = (value) => 98 - (96 * value) / top;
      const parts = [drawn("path", { class: "grid", d: "M0 2H300M0 50H300M0 98H300", "vector-effect": "non-scaling-stroke" })];
      this.names.forEach((_, i) => {
        const points = this.samples.map(([time, values]) => (values[i] === null ? null : [x(time), y(values[i])]));
        const kind = i === 0 ? "first" : "second";
        for (const run of runs(points)) {
          const line = run.map(([px, py]) => px.toFixed(1) + " " + py.toFixed(1)).join("L");
          parts.push(drawn("path", { class: "area " + kind, d: "M" + line + "L" + run.at(-1)[0].toFixed(1) + " 98L" + run[0][0].toFixed(1) + " 98Z" }));
          parts.push(drawn("path", { class: "line " + kind, d: "M" + line + (run.length === 1 ? "h.01" : ""), "vector-effect": "non-scaling-stroke" }));
        }
      });
      if (this.cursor !== null) {
        const at = x(this.samples[this.cursor][0]).toFixed(1);
        parts.push(drawn("path", { class: "cursor", d: "M" + at + " 0V100", "vector-effect": "non-scaling-stroke" }));
      }
      this.svg.replaceChildren(...parts);
      show(this.top, known.length > 0 ? this.format(top) : "");
      this.tell(most, known.length > 0);
    }

    // tell says in words what is drawn, or what is under the cursor.
    tell(most, any) {
      const said = (values) => this.names.map((name, i) => (name ? name + " " : "") + (values[i] === null ? "–" : this.format(values[i]))).join(", ");
      const latest = this.samples.at(-1);
      const minutes = Math.ceil(this.width / 60000) + " min";
      const whole = any ? "max " + this.format(most) : "nothing yet";
      this.svg.setAttribute("aria-label", this.title + (latest ? ": now " + said(latest[1]) + "; in the last " + minutes + " " + whole : ""));
      if (this.cursor !== null) {
        const [time, values] = this.samples[this.cursor];
        show(this.readout, clock(time) + " · " + said(values));
        this.readout.setAttribute("aria-live", "polite");
        return;
      }
      this.readout.removeAttribute("aria-live");
      const keys = this.names.length > 1 ? this.names.flatMap((name, i) => [make("span", "key" + (i ? " second" : "")), name]) : [];
      this.readout.replaceChildren(...keys, (keys.length ? " · " : "") + minutes + ", " + whole);
    }

    read(index) {
      if (index === this.cursor) return;
      this.cursor = index;
      this.draw();
    }

    point(event) {
      if (this.samples.length === 0) return;
      const box = this.plot.getBoundingClientRect();
      const time = this.now - this.width + (this.width * (event.clientX - box.left)) / box.width;
      let nearest = 0;
      this.samples.forEach(([at], i) => {
        if (Math.abs(at - time) < Math.abs(this.samples[nearest][0] - time)) nearest = i;
      });
      this.read(nearest);
    }

    key(event) {
      const last = this.samples.length - 1;
      const from = this.cursor ?? last + 1;
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last, Escape: null }[event.key];
      if (to === undefined || last < 0) return;
      event.preventDefault();
      this.read(to === null ? null : Math.min(last, Math.max(0, to)));
    }
  }

  // ceiling is the next of 1, 2, 3, 5, 10, 20 … times a power of ten.
  const ceiling = (value) => {
    if (!(value > 0)) return 1;
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 3, 5, 10].map((n) => n * power).find((n) => n >= value) ?? 10 * power;
  };

  // runs splits points where there is none.
  const runs = (points) => {
    const found = [];
    let open = false;
    for (const point of points) {
      if (point === null) open = false;
      else if (open) found.at(-1).push(point);
      else {
        found.push([point]);
        open = true;
      }
    }
    return found;
  };

  /* Metrics, of which a few families are read. */

  const wanted = new Set(["sallyport_bytes_total", "sallyport_failures_total", "sallyport_handshake_duration_seconds_bucket", "sallyport_handshake_duration_seconds_count"]);

  const parse = (text) => {
    const found = [];
    for (const line of text.split("\n")) {
      const name = line.slice(0, line.search(/[ {]/));
      if (!wanted.has(name)) continue;
      const labels = {};
      for (const [, key, value] of line.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[key] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
      found.push({ name, labels, value: Number(line.slice(line.lastIndexOf(" ") + 1)) });
    }
    return found;
  };

  // counts sums what was parsed over all tunnels. Where the process has no such metrics, it is null.
  const counts = (metrics) => {
    if (metrics.length === 0) return null;
    const c = { in: 0, out: 0, handshakes: 0, buckets: new Map(), failures: new Map() };
    for (const { name, labels, value } of metrics) {
      if (name === "sallyport_bytes_total") c[labels.direction] += value;
      else if (name.endsWith("_count")) c.handshakes += value;
      else if (name.endsWith("_bucket")) c.buckets.set(labels.le, (c.buckets.get(labels.le) ?? 0) + value);
      else c.failures.set(labels.reason, (c.failures.get(labels.reason) ?? 0) + value);
    }
    return c;
  };

  // quantile finds the value below which a share of what was counted since before lies: straight between the bounds of its
  // bucket, as Prometheus does.
  const quantile = (share, before, now) => {
    const buckets = [...now.buckets].map(([le, n]) => [le === "+Inf" ? Infinity : Number(le), n - (before.buckets.get(le) ?? 0)]).sort((a, b) => a[0] - b[0]);
    const all = buckets.at(-1)?.[1] ?? 0;
    if (!(all > 0)) return null;
    let below = [0, 0];
    for (const [bound, n] of buckets) {
      if (n >= share * all) return bound === Infinity ? below[0] : below[0] + ((bound - below[0]) * (share * all - below[1])) / (n - below[1] || 1);
      below = [bound, n];
    }
    return null;
  };

  /* What is asked for. The token is in this variable and nowhere else. */

  let token = "";

  class Unauthorized extends Error {}

  const ask = async (path, ...codes) => {
    const headers = token ? { Authorization: "Bearer " + token } : {};
    const answer = await fetch(path, { headers, cache: "no-store", redirect: "error", referrerPolicy: "no-referrer", signal: AbortSignal.timeout(patience) });
    if (answer.status === 401) throw new Unauthorized();
    if (!codes.includes(answer.status)) throw new Error(path + ": the answer is " + answer.status);
    return answer;
  };

  const askToken = () =>
    new Promise((resolve) => {
      const dialog = byId("ask");
      byId("wrong").hidden = token === "";
      dialog.oncancel = (e) => e.preventDefault(); // there is nothing to see without it
      byId("login").onsubmit = (e) => {
        e.preventDefault(); // nothing is sent, and no URL has it
        token = byId("token").value.trim();
        byId("token").value = "";
        dialog.close();
        resolve();
      };
      dialog.showModal();
      byId("token").focus();
    });

  /* What is shown. */

  const charts = {
    open: new Chart(byId("chart-open"), [""], (n) => String(Math.round(n * 10) / 10)),
    traffic: new Chart(byId("chart-traffic"), ["in", "out"], flow),
    handshake: new Chart(byId("chart-handshake"), ["p50", "p99"], duration),
  };
  const past = []; // [time of the process, counts], the oldest first
  let latest = null; // how many had been accepted when

  const showHead = (status) => {
    const good = status.ok;
    show(byId("verdict"), printable(status.status) + " · " + printable(status.message), "pill " + (good ? "good" : "bad"));
    show(byId("host"), [status.hostname, status.mode && status.mode + " mode"].filter(Boolean).map(printable).join(" · "));
    document.title = (good ? "✓ " : "✗ ") + printable(status.hostname || "Sallyport") + " · Sallyport";
    show(byId("seen"), clock(status.time));
  };

  const showFacts = (status) => {
    const now = Date.parse(status.time);
    const since = (text) => now - Date.parse(text);
    const reload = () => {
      if (status.last_reload.startsWith("0001")) return ["none yet"];
      const ago = lasting(since(status.last_reload)) + " ago";
      return status.last_reload_error ? [ago + ", failed: " + printable(status.last_reload_error), "bad"] : [ago + ", ok", "good"];
    };
    const facts = [
      ["Version", [printable([status.version, status.revision && status.revision.slice(0, 12)].filter(Boolean).join(", "))]],
      ["Built with", [printable(status.compiler)]],
      ["Up", [lasting(since(status.started))]],
      ["Loaded", [status.last_reload_success ? lasting(since(status.last_reload_success)) + " ago" : ""]],
      ["Last reload", reload()],
    ];
    if (status.draining) {
      const { open, deadline } = status.draining;
      facts.push(["Draining", [plural(open, "connection") + " left" + (deadline ? ", cut in " + lasting(Date.parse(deadline) - now) : ""), "doubt"]]);
    }
    const list = byId("facts");
    const told = facts.filter(([, [text]]) => text);
    while (list.children.length > told.length) list.lastChild.remove();
    told.forEach(([name, [text, className = ""]], i) => {
      const group = list.children[i] ?? list.appendChild(make("div", "", make("dt"), make("dd")));
      show(group.firstChild, name);
      show(group.lastChild, text, className);
    });
  };

  // How the target is, and which of several is not up.
  const backend = (t) => {
    const away = (t.targets ?? []).filter((one) => !one.backend_ok)
      .map((one) => `${one.target} ${one.ejected ? "ejected" : "down"}${one.backend_error ? ": " + one.backend_error : ""}`);
    const told = t.backend_error || away.join("; ");
    return t.backend_status + (told ? ": " + told : "");
  };

  const showTunnels = (status) => {
    fill(byId("tunnels"), status.tunnels.map((t) => [
      { text: printable(t.name) },
      { text: printable(t.mode) },
      { text: printable(t.listen_address) },
      { text: printable(t.forward_address) },
      { text: printable(backend(t)), className: "wrap " + (t.backend_ok ? "good" : "bad") },
      { text: String(t.connections?.open ?? ""), className: "number" },
      { text: String(t.connections?.total ?? ""), className: "number" },
    ]), "none");
  };

  const showCertificates = (status) => {
    const day = 86400 * 1000;
    const now = Date.parse(status.time);
    const rows = status.tunnels.flatMap((t) => (t.certificates ?? []).map((c) => ({ tunnel: t.name, left: Date.parse(c.not_after) - now, ...c })));
    const longest = Math.max(90 * day, ...rows.map((c) => Math.min(c.left, 400 * day)));
    fill(byId("certificates"), rows.map((c) => {
      const className = c.left < 7 * day ? "bad" : c.left < 30 * day ? "doubt" : "good";
      return [
        { text: printable(c.tunnel) },
        { text: printable(c.route ? `${c.role} of ${c.route}` : c.role) },
        { text: printable(c.subject), title: printable(c.subject) },
        { text: c.left > 0 ? lasting(c.left) : "expired", className: "number " + className },
        { share: c.left / longest, className },
        { text: moment(c.not_after) },
        { text: printable(c.serial), title: printable(c.serial) },
      ];
    }), "none is in use");
  };

  const showMetrics = (status, metrics) => {
    const time = Date.parse(status.time);
    const { open = 0, total = 0 } = status.connections ?? {};
    show(byId("open"), String(open));
    const pace = latest && time > latest.time ? ", " + (Math.max(0, total - latest.total) / ((time - latest.time) / 1000)).toFixed(1) + "/s" : "";
    show(byId("accepted"), "of " + total + " accepted" + pace);
    latest = { time, total };
    charts.open.add(time, [open]);

    const now = counts(metrics);
    if (!now) {
      for (const id of ["moved", "handshakes", "failures-total"]) show(byId(id), "not told by this process");
      return;
    }
    if (past.length > 0 && now.handshakes < past.at(-1)[1].handshakes) past.length = 0; // it was started anew
    const before = past.at(-1);
    past.push([time, now]);
    while (past[0][0] < time - span) past.shift();

    show(byId("moved"), size(now.in) + " in, " + size(now.out) + " out in all");
    if (before && time > before[0]) {
      const seconds = (time - before[0]) / 1000;
      const [into, out] = [Math.max(0, now.in - before[1].in) / seconds, Math.max(0, now.out - before[1].out) / seconds];
      show(byId("traffic"), flow(into + out));
      charts.traffic.add(time, [into, out]);
    }
    const start = past.find(([at]) => at >= time - quantileSpan)[1];
    const [p50, p99] = [quantile(0.5, start, now), quantile(0.99, start, now)];
    show(byId("handshake"), p50 === null ? "–" : duration(p50));
    show(byId("handshakes"), (p99 === null ? "" : "at p50, " + duration(p99) + " at p99 · ") + now.handshakes + " in all");
    charts.handshake.add(time, [p50, p99]);
    showFailures(past[0][1], now);
  };

  const showFailures = (before, now) => {
    const sum = (values) => [...values].reduce((a, b) => a + b, 0);
    const recent = [...now.failures].map(([reason, n]) => [reason, n - (before.failures.get(reason) ?? 0), n]).filter(([, , n]) => n > 0);
    recent.sort((a, b) => b[1] - a[1] || b[2] - a[2]);
    const most = Math.max(1, ...recent.map(([, n]) => n));
    show(byId("failed"), String(sum(recent.map(([, n]) => n))));
    show(byId("failures-total"), "in 5 min · " + sum(now.failures.values()) + " in all");
    const list = byId("failures");
    const rows = recent.slice(0, 5);
    while (list.children.length > Math.max(1, rows.length)) list.lastChild.remove();
    if (rows.length === 0) {
      list.replaceChildren(make("li", "", make("span", "good", "none since the start")));
      return;
    }
    rows.forEach(([reason, n, all], i) => {
      let row = list.children[i];
      if (!row || row.children.length !== 3) {
        const fresh = make("li", "", make("span"), make("span", "number"), make("span"));
        row ? row.replaceWith(fresh) : list.append(fresh);
        row = fresh;
      }
      show(row.children[0], printable(reason));
      show(row.children[1], n + " · " + all + " in all");
      track(row.children[2], n / most);
    });
  };

  /* The list of connections, a page of it at a time. */

  let pages = [""]; // what each page down to this one comes after
  let next = "";

  const showConnections = (status, page) => {
    const now = Date.parse(status.time);
    next = page.next ?? "";
    const first = (pages.length - 1) * pageSize;
    show(byId("range"), page.connections.length === 0 ? "none open" : first + 1 + " to " + (first + page.connections.length) + " of " + page.total);
    byId("previous").disabled = pages.length === 1;
    byId("next").disabled = next === "";
    fill(byId("list"), page.connections.map((c) => [
      { text: printable(c.id) },
      { text: printable(c.identity) || "–", title: printable(c.identity) },
      { text: printable(c.remote) },
      { text: printable(c.target) || "–" },
      { text: printable(c.state).replace("_", " ") },
      { text: lasting(now - Date.parse(c.since)), className: "number", title: moment(c.since) },
      { text: size(c.bytes_in), className: "number" },
      { text: size(c.bytes_out), className: "number" },
      { text: printable([c.tls_version, c.alpn].filter(Boolean).join(", ")) || "–", title: printable(c.server_name) },
    ]), "none");
  };

  const turn = (change) => {
    change();
    clearTimeout(timer);
    run();
  };
  byId("next").addEventListener("click", () => turn(() => pages.push(next)));
  byId("previous").addEventListener("click", () => turn(() => pages.pop()));

  /* The loop: one look at a time, none while nobody looks. */

  let timer = 0;
  let looking = false;
  let paused = false;
  let again = false; // somebody asked while one was on its way

  const look = async () => {
    const path = "_connections?limit=" + pageSize + (pages.at(-1) ? "&after=" + encodeURIComponent(pages.at(-1)) : "");
    const [status, metrics, page] = await Promise.all([
      ask("_status", 200, 503).then((a) => a.json()),
      ask("metrics", 200, 404).then((a) => (a.status === 200 ? a.text() : "")),
      ask(path, 200).then((a) => a.json()),
    ]);
    showHead(status);
    showFacts(status);
    showTunnels(status);
    showCertificates(status);
    showMetrics(status, parse(metrics));
    showConnections(status, page);
    if (page.connections.length === 0 && pages.length > 1) pages.pop();
  };

  const run = async () => {
    if (looking) {
      again = true;
      return;
    }
    looking = true;
    again = false;
    try {
      await look();
      byId("trouble").hidden = true;
    } catch (error) {
      if (error instanceof Unauthorized) {
        await askToken();
        again = true;
      } else {
        byId("trouble").hidden = false;
        show(byId("trouble"), "No answer: " + printable(error.message) + ". Trying again; what is below may be old.");
        show(byId("verdict"), "unreachable", "pill bad");
      }
    }
    looking = false;
    if (again) run();
    else if (!paused && !document.hidden) timer = setTimeout(run, every);
  };

  byId("pause").addEventListener("click", () => {
    paused = !paused;
    byId("pause").setAttribute("aria-pressed", String(paused));
    clearTimeout(timer);
    if (!paused) run();
  });
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden && !paused) run();
  });
  run();
})();
