"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const view = get("view"), error = get("error"), split = get("split"), at = get("at"), gamma = get("gamma");
  // Sides: the input's own pixels, bicubic, the results, the truth.
  const state = { place: 0, bands: 0, left: 0, right: 2, stretch: 0, split: 0.5, zoom: 1, x: 0.5, y: 0.5 };
  const stretches = ["this place", "whole scene"];
  const most = 32;
  let pictures = [], errors = null, asked = 0;

  // Luminance rises along the ramp, so that it can be read without colour.
  const anchors = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129],
    [92, 200, 99], [170, 220, 50], [253, 231, 37]];
  const ramp = Array.from({ length: 256 }, (_, i) => {
    const place = i / 255 * (anchors.length - 1), k = Math.min(Math.floor(place), anchors.length - 2);
    return anchors[k].map((low, c) => Math.round(low + (place - k) * (anchors[k + 1][c] - low)));
  });

  function fill(id, names, chosen) {
    get(id).replaceChildren(...names.map((name, i) => new Option(name, i, false, i === chosen)));
  }

  function load(uri) {
    return new Promise((done, failed) => {
      const image = new Image();
      image.onload = () => done(image);
      image.onerror = () => failed(new Error("an image of the report is damaged"));
      image.src = uri;
    });
  }

  function blank(width, height) {
    return Object.assign(document.createElement("canvas"), { width, height });
  }

  async function levels(uri) {
    const image = await load(uri), canvas = blank(image.width, image.height);
    const brush = canvas.getContext("2d", { willReadFrequently: true });
    brush.drawImage(image, 0, 0);
    return { width: image.width, height: image.height, bytes: brush.getImageData(0, 0, image.width, image.height).data };
  }

  function canvasOf(width, height, colour) {
    const canvas = blank(width, height), brush = canvas.getContext("2d");
    const made = brush.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      const [r, g, b] = colour(i);
      made.data.set([r, g, b, 255], 4 * i);
    }
    brush.putImageData(made, 0, 0);
    return canvas;
  }

  // Pixels that hold no data, or whose error is unknown, are hatched.
  const hatch = (i, width) => ((i % width) + Math.floor(i / width)) % 8 < 2 ? [0, 0, 0] : [160, 160, 160];

  // The levels of an image to those of the screen, between the values that are black and white.
  function shades(limits, ends) {
    const [first, last] = limits, [black, white] = ends, power = 1 / Number(gamma.value);
    return Uint8ClampedArray.from({ length: 256 }, (_, level) => {
      const share = (first + level / 255 * (last - first) - black) / (white - black || 1);
      return Math.round(255 * Math.min(Math.max(share, 0), 1) ** power);
    });
  }

  async function picture(place, side) {
    const shown = data.modes[state.bands].bands, mask = place.masks[side ? 1 : 0];
    // Taken now: another choice may be made while the images are decoded.
    const ends = state.stretch ? shown.map((band) => data.ends[band]) : place.stretches[state.bands];
    const [hidden, ...bands] = await Promise.all([
      mask ? levels(mask) : null, ...shown.map((band) => levels(place.images[side][band])),
    ]);
    const tables = shown.map((band, i) => shades(place.limits[band], ends[i]));
    const [red, green, blue] = shown.length === 3 ? [0, 1, 2] : [0, 0, 0];
    const { width, height } = bands[0];
    return canvasOf(width, height, (i) => hidden && !hidden.bytes[4 * i] ? hatch(i, width)
      : [red, green, blue].map((k) => tables[k][bands[k].bytes[4 * i]]));
  }

  // The result whose errors are shown: the one on the right, else the one on the left, else the first.
  function judged() {
    const results = [state.right, state.left].map((side) => side - 2).filter((i) => i >= 0 && i < data.results);
    return results.length ? results[0] : 0;
  }

  async function show() {
    const turn = ++asked, place = data.places[state.place], result = judged();
    const [left, right, off] = await Promise.all([
      picture(place, state.left), picture(place, state.right), levels(place.errors[result]),
    ]);
    if (turn !== asked) return;
    pictures = [left, right];
    errors = off;
    errors.canvas = canvasOf(off.width, off.height, (i) => off.bytes[4 * i] ? ramp[off.bytes[4 * i]] : hatch(i, off.width));
    get("most").textContent = `${place.most} ${data.unit}`;
    get("off").textContent = data.results > 1 ? `Errors of ${data.names[result + 2]}` : "";
    get("where").textContent = place.words;
    view.setAttribute("aria-label", `${data.names[state.left]} left of the divider, ${data.names[state.right]} right of it, ${place.words}`);
    error.setAttribute("aria-label", `consistency error, ${place.words}`);
    document.body.dataset.ready = String(turn);
    draw();
  }

  // Pixels of the result to those of a canvas.
  function size() {
    return { width: errors.width * data.scale, height: errors.height * data.scale };
  }

  function frame(canvas) {
    const { width, height } = size();
    const pixel = Math.min(canvas.width / width, canvas.height / height) * state.zoom;
    return { pixel, left: canvas.width / 2 - state.x * width * pixel, top: canvas.height / 2 - state.y * height * pixel, width, height };
  }

  function prepared(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const brush = canvas.getContext("2d");
    brush.clearRect(0, 0, width, height);
    return brush;
  }

  function paint(brush, canvas, source) {
    const { pixel, left, top, width, height } = frame(canvas);
    brush.imageSmoothingEnabled = pixel * width < source.width;
    brush.drawImage(source, left, top, width * pixel, height * pixel);
  }

  function plate(brush, text, x, right) {
    const ratio = window.devicePixelRatio || 1;
    brush.font = `${13 * ratio}px system-ui, sans-serif`;
    const width = brush.measureText(text).width + 12 * ratio, start = right ? x - width : x;
    brush.fillStyle = "#000000";
    brush.fillRect(start, 8 * ratio, width, 22 * ratio);
    brush.fillStyle = "#ffffff";
    brush.fillText(text, start + 6 * ratio, 23 * ratio);
  }

  // The columns of the canvas between which the picture lies.
  function edges() {
    const { pixel, left, width } = frame(view);
    return [Math.max(left, 0), Math.min(left + width * pixel, view.width)];
  }

  // A bar of a round length, of at most a quarter of the canvas.
  function bar(brush) {
    const place = data.places[state.place], ratio = window.devicePixelRatio || 1;
    const step = (place.metres || 1 / data.scale) / frame(view).pixel, most = step * Math.min(view.width / 4, 240 * ratio);
    const ten = 10 ** Math.floor(Math.log10(most)), length = ten * [5, 2, 1].find((times) => times * ten <= most);
    const text = !place.metres ? `${Number(length.toPrecision(1))} pixels of the input`
      : length >= 1000 ? `${length / 1000} km` : `${Number(length.toPrecision(1))} m`;
    brush.font = `${13 * ratio}px system-ui, sans-serif`;
    const across = length / step, width = Math.max(across, brush.measureText(text).width) + 16 * ratio;
    const [left, top] = [edges()[0] + 8 * ratio, view.height - 44 * ratio];
    brush.fillStyle = "#000000";
    brush.fillRect(left, top, width, 36 * ratio);
    brush.fillStyle = "#ffffff";
    brush.fillRect(left + 8 * ratio, top + 25 * ratio, across, 4 * ratio);
    brush.fillText(text, left + 8 * ratio, top + 17 * ratio);
  }

  function draw() {
    if (!pictures.length) return;
    const ratio = window.devicePixelRatio || 1, brush = prepared(view), edge = state.split * view.width;
    for (const [source, start, width] of [[pictures[0], 0, edge], [pictures[1], edge, view.width - edge]]) {
      brush.save();
      brush.beginPath();
      brush.rect(start, 0, width, view.height);
      brush.clip();
      paint(brush, view, source);
      brush.restore();
    }
    // Dark and light beside each other, to be seen on any picture.
    brush.fillStyle = "#000000";
    brush.fillRect(edge - 2 * ratio, 0, 4 * ratio, view.height);
    brush.beginPath();
    brush.arc(edge, view.height / 2, 16 * ratio, 0, 2 * Math.PI);
    brush.fill();
    brush.fillStyle = "#ffffff";
    brush.fillRect(edge - ratio, 0, 2 * ratio, view.height);
    brush.font = `${20 * ratio}px sans-serif`;
    brush.textAlign = "center";
    brush.fillText("\u2194", edge, view.height / 2 + 7 * ratio);
    brush.textAlign = "start";
    plate(brush, data.names[state.left], edges()[0] + 8 * ratio, false);
    plate(brush, data.names[state.right], edges()[1] - 8 * ratio, true);
    bar(brush);
    if (error.clientWidth) paint(prepared(error), error, errors.canvas);
    split.value = String(Math.round(100 * state.split));
    split.setAttribute("aria-valuetext", `${split.value} percent`);
  }

  function number(value) {
    return Math.abs(value) >= 1000 ? value.toFixed(2) : value.toPrecision(8);
  }

  // Column and row are of the result, from its upper left corner.
  function tell(col, row) {
    const place = data.places[state.place], { width, height } = size();
    if (col < 0 || row < 0 || col >= width || row >= height) return void (at.textContent = "\u2013");
    const [a, b, c, d, e, f] = place.transform;
    let text = data.located ? `${data.crs} ${number(a * col + b * row + c)}, ${number(d * col + e * row + f)}` : "";
    if (place.corners) {
      const [u, v] = [col / width, row / height], [p, q, r, s] = place.corners;
      const [lon, lat] = [0, 1].map((i) => (1 - v) * ((1 - u) * p[i] + u * q[i]) + v * ((1 - u) * r[i] + u * s[i]));
      text += ` \u00b7 ${Math.abs(lat).toFixed(6)}\u00b0 ${lat < 0 ? "S" : "N"} ${Math.abs(lon).toFixed(6)}\u00b0 ${lon < 0 ? "W" : "E"}`;
    }
    text += `${text ? " \u00b7 " : ""}pixel ${Math.floor(col / data.scale) + place.col}, ${Math.floor(row / data.scale) + place.row} of the input`;
    const level = errors.bytes[4 * (Math.floor(row / data.scale) * errors.width + Math.floor(col / data.scale))];
    const off = ((level - 1) / 254 * place.most).toPrecision(3), unit = data.unit ? ` ${data.unit}` : "";
    at.textContent = `${text} \u00b7 ${level ? `off by ${level === 255 ? "at least " : ""}${off}${unit}` : "error unknown"}`;
  }

  function here(canvas, event) {
    const ratio = window.devicePixelRatio || 1, box = canvas.getBoundingClientRect(), { pixel, left, top } = frame(canvas);
    const x = (event.clientX - box.left) * ratio, y = (event.clientY - box.top) * ratio;
    return { x, y, col: (x - left) / pixel, row: (y - top) / pixel };
  }

  const within = (value, low, high) => Math.min(Math.max(value, low), high);

  function move(dx, dy) {
    state.x = within(state.x + dx, 0, 1);
    state.y = within(state.y + dy, 0, 1);
    draw();
  }

  // The point stays where it is on the screen.
  function zoom(times, canvas, event) {
    const { width, height } = size(), before = event ? here(canvas, event) : null;
    state.zoom = within(state.zoom * times, 1, most);
    if (before) {
      const { pixel } = frame(canvas);
      state.x = within((before.col - (before.x - canvas.width / 2) / pixel) / width, 0, 1);
      state.y = within((before.row - (before.y - canvas.height / 2) / pixel) / height, 0, 1);
    }
    if (state.zoom === 1) state.x = state.y = 0.5;
    draw();
  }

  function divide(share) {
    state.split = within(share, 0, 1);
    draw();
  }

  function centre() {
    const { width, height } = size();
    tell(state.x * width, state.y * height);
  }

  function choose(name, value, count) {
    state[name] = (value + count) % count;
    get(name).value = String(state[name]);
    return show();
  }

  for (const canvas of [view, error]) {
    const fingers = new Map();
    let dividing = false, pinch = 0, tapped = 0;

    const spread = () => {
      const [one, other] = [...fingers.values()];
      return { length: Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY),
        clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2 };
    };

    canvas.addEventListener("pointerdown", (event) => {
      if (!pictures.length) return;
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, event);
      const near = Math.abs(here(canvas, event).x - state.split * canvas.width);
      dividing = canvas === view && fingers.size === 1 && near < 24 * (window.devicePixelRatio || 1);
      pinch = fingers.size === 2 ? spread().length : 0;
      if (fingers.size === 1 && !dividing) {
        if (event.timeStamp - tapped < 300) zoom(2, canvas, event);
        tapped = event.timeStamp;
      }
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!pictures.length) return;
      const spot = here(canvas, event), last = fingers.get(event.pointerId);
      tell(spot.col, spot.row);
      if (!last) return;
      fingers.set(event.pointerId, event);
      if (fingers.size === 2 && pinch) {
        const now = spread();
        zoom(now.length / pinch, canvas, now);
        pinch = now.length;
      } else if (dividing) {
        divide(spot.x / canvas.width);
      } else if (fingers.size === 1) {
        const { pixel, width, height } = frame(canvas), ratio = window.devicePixelRatio || 1;
        move((last.clientX - event.clientX) * ratio / pixel / width, (last.clientY - event.clientY) * ratio / pixel / height);
      }
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        fingers.delete(event.pointerId);
        dividing = false;
        pinch = 0;
      });
    }
    canvas.addEventListener("wheel", (event) => {
      if (!pictures.length) return;
      event.preventDefault();
      zoom(event.deltaY < 0 ? 1.25 : 0.8, canvas, event);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      if (!pictures.length || event.ctrlKey || event.metaKey || event.altKey) return;
      const step = 0.1 / state.zoom;
      const act = {
        ArrowLeft: () => move(-step, 0), ArrowRight: () => move(step, 0), ArrowUp: () => move(0, -step), ArrowDown: () => move(0, step),
        "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), 0: () => zoom(1 / most),
        ",": () => divide(state.split - 0.05), ".": () => divide(state.split + 0.05),
        "[": () => choose("place", state.place - 1, data.places.length), "]": () => choose("place", state.place + 1, data.places.length),
        b: () => choose("bands", state.bands + 1, data.modes.length), s: () => choose("stretch", state.stretch + 1, 2),
      }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
      centre();
    });
  }

  fill("place", data.places.map((place) => place.name), state.place);
  fill("bands", data.modes.map((mode) => mode.name), state.bands);
  fill("left", data.names, state.left);
  fill("right", data.names, state.right);
  fill("stretch", stretches, state.stretch);
  for (const [id, count] of [["place", data.places.length], ["bands", data.modes.length], ["stretch", 2],
    ["left", data.names.length], ["right", data.names.length]]) {
    get(id).addEventListener("change", (event) => choose(id, Number(event.target.value), count));
  }
  split.addEventListener("input", () => divide(Number(split.value) / 100));
  get("in").addEventListener("click", () => zoom(1.5));
  get("out").addEventListener("click", () => zoom(1 / 1.5));
  get("fit").addEventListener("click", () => zoom(1 / most));
  gamma.addEventListener("input", show);
  for (const canvas of [view, error]) new ResizeObserver(draw).observe(canvas);
  const strip = get("ramp").getContext("2d");
  ramp.forEach(([r, g, b], i) => {
    strip.fillStyle = `rgb(${r}, ${g}, ${b})`;
    strip.fillRect(i, 0, 1, 1);
  });
  show();
})();
