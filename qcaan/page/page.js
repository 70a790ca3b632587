// @ts-check
/**
 * A page on which one turns the circuit of a trained model, and watches it draw.
 *
 * Conventions are those of qcaan: qubit 0 is the lowest bit of an index, the bits of each basis
 * stand side by side in a code, and angles are in radians. Images are channels-last inside.
 */

/**
 * A layer of gates: `qubits` of each gate, and the place of its first angle (-1: it has none).
 * @typedef {{gate: string, qubits: number[][], first: number}} Layer
 *
 * A layer of the generator. A linear one has the shape [inputs, outputs]; an upsampling one is a
 * transposed convolution of 4x4 taps with stride 2 and padding 1, [height, width, inputs, outputs].
 * @typedef {{kind: "linear"|"upsampling", weight: string, bias: string, shape: number[],
 *   relu: boolean}} GeneratorLayer
 *
 * @typedef {{nQubits: number, zQubits: number, bases: string[], layers: Layer[],
 *   nParams: number}} Circuit
 *
 * What the exporter says of a model. `circuit` is null where only a bank of samples is shipped.
 * `labelBits` bits of a code stand for the label, one of `labels`, by its number there. `classes`
 * can be written: they are the labels or, of a model without, what a classifier reads.
 * @typedef {{labels: number[], labelBits: number, classes: number[], dim: number,
 *   circuit: Circuit|null, priors: Record<string, string>, dither: number, spread: number,
 *   noiseDims: number, latentDim: number, imageShape: number[], generator: GeneratorLayer[],
 *   epochs: {number: number, picture: string}[]}} Model
 *
 * Something the generator draws from: bits, or a row of the bank for a prior over real numbers.
 * @typedef {{bits: Uint8Array, row: number}} Code
 *
 * @typedef {"circuit"|"codes"|"bank"} PriorName
 */

// ---- the model ----------------------------------------------------------------------------------

/** @type {Model} */
const model = JSON.parse(element("model").textContent || "");
const tensors = readTensors(element("weights").textContent || "");
const circuit = model.circuit;
const [channels, height, width] = model.imageShape;
const [minClip, clipQubits] = [1e-6, 12];

/**
 * Read tensors in the format of safetensors from base64.
 * @param {string} base64
 * @returns {Map<string, {shape: number[], values: Float32Array|Uint8Array}>}
 */
function readTensors(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const start = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  const found = new Map();
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    const data = bytes.slice(start + from, start + to);
    const values = dtype === "U8" ? data
      : dtype === "F32" ? new Float32Array(data.buffer)
      : Float32Array.from(new Uint16Array(data.buffer), halfToNumber);
    found.set(name, { shape, values });
  }
  return found;
}

/** @param {number} half a float16 as its 16 bits */
function halfToNumber(half) {
  const [sign, exponent, fraction] = [half & 0x8000 ? -1 : 1, (half >> 10) & 31, half & 1023];
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

/** @param {string} name */
function floats(name) {
  const tensor = tensors.get(name);
  if (!(tensor?.values instanceof Float32Array)) throw new Error(`the page lacks ${name}`);
  return tensor.values;
}

/**
 * Rows of bits that are packed eight to a byte, the first one highest.
 * @param {string} name
 * @returns {{length: number, row: (place: number) => Uint8Array}}
 */
function packedRows(name) {
  const tensor = tensors.get(name);
  if (!(tensor?.values instanceof Uint8Array)) return { length: 0, row: () => new Uint8Array() };
  const { values, shape: [length, size] } = tensor;
  const row = (/** @type {number} */ place) =>
    Uint8Array.from({ length: model.dim },
      (_, bit) => (values[place * size + (bit >> 3)] >> (7 - (bit & 7))) & 1);
  return { length, row };
}

// ---- the circuit --------------------------------------------------------------------------------

/**
 * Return the distribution of the measured bitstrings, 2^n of them.
 * @param {ArrayLike<number>} theta angles, those of basis t last
 * @param {string} basis z, o or t
 */
function probabilities(theta, basis) {
  if (!circuit) throw new Error("this page has no circuit");
  const { nQubits, zQubits, layers, nParams } = circuit;
  if (theta.length !== nParams) throw new Error(`theta must have ${nParams} angles`);
  const state = { re: new Float64Array(1 << nQubits), im: new Float64Array(1 << nQubits) };
  state.re[0] = 1;
  for (const { gate, qubits, first } of layers) {
    qubits.forEach((on, k) => apply(state, gate, on, first < 0 ? 0 : theta[first + k]));
  }
  for (let qubit = zQubits; qubit < nQubits && basis !== "z"; qubit++) {
    apply(state, "rx", [qubit], basis === "o" ? Math.PI / 2 : theta[nParams - nQubits + qubit]);
  }
  return state.re.map((re, x) => re * re + state.im[x] * state.im[x]);
}

/**
 * Apply a gate in place.
 * @param {{re: Float64Array, im: Float64Array}} state
 * @param {string} gate
 * @param {number[]} qubits
 * @param {number} angle
 */
function apply({ re, im }, gate, [first, second = first], angle) {
  const [cos, sin] = [Math.cos(angle / 2), Math.sin(angle / 2)];
  const [one, both] = [1 << first, (1 << first) | (1 << second)];
  for (let x = 0; x < re.length; x++) {
    const [a, b] = [re[x], im[x]];
    if (gate === "rz" || gate === "rzz") {
      const odd = ((x >> first) ^ (second === first ? 0 : x >> second)) & 1;
      const turn = odd ? sin : -sin;
      [re[x], im[x]] = [cos * a - turn * b, cos * b + turn * a];
    } else if (gate === "cz") {
      if ((x & both) === both) [re[x], im[x]] = [-a, -b];
    } else if (gate === "cx") {
      const y = x | (1 << second);
      if (x & one && x !== y) [re[x], im[x], re[y], im[y]] = [re[y], im[y], a, b];
    } else if (!(x & one)) { // gates that mix x with a partner
      const y = x ^ both;
      const [c, d] = [re[y], im[y]];
      if (gate === "h") {
        const s = Math.SQRT1_2;
        [re[x], im[x], re[y], im[y]] = [s * (a + c), s * (b + d), s * (a - c), s * (b - d)];
      } else if (gate === "ry") {
        [re[x], im[x]] = [cos * a - sin * c, cos * b - sin * d];
        [re[y], im[y]] = [sin * a + cos * c, sin * b + cos * d];
      } else { // rx and rxx
        [re[x], im[x]] = [cos * a + sin * d, cos * b - sin * c];
        [re[y], im[y]] = [cos * c + sin * b, cos * d - sin * a];
      }
    }
  }
}

/**
 * Return KL(target || found) in nats.
 * @param {ArrayLike<number>} target
 * @param {ArrayLike<number>} found
 */
function kl(target, found) {
  const clip = minClip * Math.min(1, 2 ** clipQubits / target.length);
  return sum(target, (p, x) => (p > 0 ? p * Math.log(p / Math.max(found[x], clip)) : 0));
}

/**
 * Return the product of the marginals of a distribution.
 * @param {ArrayLike<number>} target
 */
function productOfMarginals(target) {
  let product = [1];
  for (let bit = 1; bit < target.length; bit *= 2) {
    const one = sum(target, (p, x) => (x & bit ? p : 0));
    product = [...product.map((p) => p * (1 - one)), ...product.map((p) => p * one)];
  }
  return product;
}

/**
 * @template T
 * @param {ArrayLike<T>} values
 * @param {(value: T, place: number) => number} term
 */
function sum(values, term) {
  let total = 0;
  for (let k = 0; k < values.length; k++) total += term(values[k], k);
  return total;
}

// ---- the generator ------------------------------------------------------------------------------

/**
 * Draw an image [height, width, channels] in [-1, 1].
 * @param {Float32Array} latents
 */
function generate(latents) {
  let values = latents;
  for (const layer of model.generator) {
    values = layer.kind === "linear" ? linear(values, layer) : upsampled(values, layer);
    if (layer.relu) values = values.map((value) => Math.max(value, 0));
  }
  return values.map(Math.tanh);
}

/**
 * @param {Float32Array} input
 * @param {GeneratorLayer} layer
 */
function linear(input, { weight, bias }) {
  const [weights, output] = [floats(weight), floats(bias).slice()];
  input.forEach((value, k) => {
    for (let j = 0; j < output.length; j++) output[j] += value * weights[k * output.length + j];
  });
  return output;
}

/**
 * @param {Float32Array} input
 * @param {GeneratorLayer} layer
 */
function upsampled(input, { weight, bias, shape: [, , inputs, outputs] }) {
  const [weights, biases] = [floats(weight), floats(bias)];
  const side = Math.sqrt(input.length / inputs);
  const output = new Float32Array(4 * side * side * outputs);
  for (let y = 0; y < 2 * side; y++) {
    for (let x = 0; x < 2 * side; x++) {
      const to = (y * 2 * side + x) * outputs;
      output.set(biases, to);
      // the two taps that reach a row, and those that reach a column
      for (let i = (y + 1) & 1; i < 4; i += 2) {
        const row = (y + 1 - i) / 2;
        if (row < 0 || row >= side) continue;
        for (let j = (x + 1) & 1; j < 4; j += 2) {
          const column = (x + 1 - j) / 2;
          if (column < 0 || column >= side) continue;
          const from = (row * side + column) * inputs;
          for (let k = 0; k < inputs; k++) {
            const value = input[from + k];
            if (value === 0) continue; // about half of them, behind a ReLU
            const tap = ((i * 4 + j) * inputs + k) * outputs;
            for (let o = 0; o < outputs; o++) output[to + o] += value * weights[tap + o];
          }
        }
      }
    }
  }
  return output;
}

/**
 * Return the generator's input for a code, with noise of a seed.
 * @param {Code} code
 * @param {number} dither factor on the noise of training
 * @param {number} seed
 */
function embed({ bits, row }, dither, seed) {
  if (tensors.has("latents")) {
    return floats("latents").slice(row * model.latentDim, (row + 1) * model.latentDim);
  }
  const normal = normals(seed);
  const spread = dither * model.dither;
  return Float32Array.from({ length: model.latentDim },
    (_, k) => k < model.labelBits ? 2 * bits[k] - 1 // a label has no noise
      : k < bits.length ? 2 * bits[k] - 1 + spread * normal() : normal());
}

/**
 * Return a source of uniform numbers in [0, 1) (mulberry32).
 * @param {number} seed
 */
function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Return a source of standard normal numbers.
 * @param {number} seed
 */
function normals(seed) {
  const uniform = uniforms(seed);
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

// ---- samples of the prior -----------------------------------------------------------------------

const nFree = circuit ? circuit.nQubits - model.labelBits : 0;
const codes = packedRows("codes"); // those of the training images: the histogram prior
const bank = packedRows("bank");
const bankLabels = tensors.get("bank.labels")?.values;

/** Distributions of the bits of the training images in each basis. */
const targets = circuit ? circuit.bases.map((_, b) => {
  const size = 1 << circuit.nQubits;
  return floats("target").subarray(b * size, (b + 1) * size);
}) : [];
const klOfProduct = sum(targets, (target) => kl(target, productOfMarginals(target)));

/** @type {Float64Array[]} distributions of the circuit in each basis, at the angles of the state */
let found = [];

/**
 * Return the probability of each label, in the first basis; without labels, [1].
 * @param {ArrayLike<number>} distribution
 */
function labelShares(distribution) {
  const shares = new Array(Math.max(model.labels.length, 1)).fill(0);
  for (let x = 0; x < distribution.length; x++) {
    const place = x & ((1 << model.labelBits) - 1);
    if (place < shares.length) shares[place] += distribution[x];
  }
  return shares;
}

/**
 * Return the place that a uniform number falls on.
 * @param {ArrayLike<number>} weights not negative, and not all 0
 * @param {number} uniform in [0, 1)
 */
function pick(weights, uniform) {
  let left = uniform * sum(weights, (weight) => weight);
  let last = 0;
  for (let k = 0; k < weights.length; k++) {
    if (weights[k] > 0) last = k;
    if ((left -= weights[k]) < 0) return k;
  }
  return last;
}

/**
 * Draw a code from a prior.
 * @param {PriorName} prior
 * @param {() => number} uniform
 * @param {number} place number of the class; -1 for any. A model without labels cannot be asked:
 *   its samples are chosen from the bank.
 * @returns {Code}
 */
function drawCode(prior, uniform, place = -1) {
  const chosenFromBank = place >= 0 && !model.labels.length;
  if (prior === "circuit" && circuit && !chosenFromBank) {
    const shares = labelShares(found[0]);
    const label = place < 0 ? pick(shares, uniform()) : place;
    const bits = bitsOf(label, model.labelBits);
    for (const distribution of found) {
      bits.push(...bitsOf(pick(givenLabel(distribution, label), uniform()), nFree));
    }
    return { bits: Uint8Array.from(bits), row: -1 };
  }
  const rows = prior === "codes" && !chosenFromBank ? codes : bank;
  const length = rows.length || (bankLabels?.length ?? 0);
  const asked = (/** @type {number} */ row) =>
    place < 0 || (rows === codes ? labelOf(rows.row(row)) : bankLabels?.[row]) === place;
  let row = Math.floor(uniform() * length);
  for (let tries = 0; tries < 1000 && !asked(row); tries++) row = Math.floor(uniform() * length);
  return { bits: rows.row(row), row };
}

/**
 * @param {number} index
 * @param {number} n
 */
function bitsOf(index, n) {
  return Array.from({ length: n }, (_, k) => (index >> k) & 1);
}

/**
 * Return the probabilities, not normalised, of the other qubits beside one label.
 * @param {ArrayLike<number>} distribution
 * @param {number} label
 */
function givenLabel(distribution, label) {
  const values = new Float64Array(distribution.length >> model.labelBits);
  for (let x = 0; x < values.length; x++) values[x] = distribution[(x << model.labelBits) | label];
  return values;
}

/** @param {ArrayLike<number>} bits */
function labelOf(bits) {
  let place = 0;
  for (let k = 0; k < model.labelBits; k++) place |= bits[k] << k;
  return place;
}

/**
 * Return the index of a code's bits in one basis, without those of the label.
 * @param {Uint8Array} bits
 * @param {number} b
 */
function indexIn(bits, b) {
  const start = model.labelBits + b * nFree;
  return sum(bits.subarray(start, start + nFree), (bit, k) => bit << k);
}

// ---- what the page shows, and its address ----------------------------------------------------------

const starts = {
  trained: circuit ? floats("theta.trained") : new Float32Array(),
  product: circuit ? floats("theta.product") : new Float32Array(),
  uniform: circuit ? floats("theta.uniform") : new Float32Array(),
};

/** @type {{code: Code, dither: number, seed: number, prior: PriorName, theta: Float64Array}} */
const state = {
  code: { bits: new Uint8Array(model.dim), row: 0 },
  dither: model.spread,
  seed: 1,
  prior: circuit ? "circuit" : "bank",
  theta: Float64Array.from(starts.trained),
};
let gate = 0; // number of the chosen angle
let nShots = 0;
/** @type {Float64Array[]} numbers of shots of each string in each basis, label included */
let counts = [];

/** Write the state into the page's address, so that a link shows the same digit. */
function writeHash() {
  const { code, dither, seed, prior, theta } = state;
  const values = new URLSearchParams({ seed: `${seed}`, dither: `${dither}`, prior });
  if (tensors.has("latents")) values.set("row", `${code.row}`);
  else values.set("bits", code.bits.join(""));
  if (theta.some((angle, k) => angle !== starts.trained[k])) {
    const turned = Int16Array.from(theta, (angle) => Math.round((wrapped(angle) / Math.PI) * 32767));
    const bytes = String.fromCharCode(...new Uint8Array(turned.buffer));
    values.set("angles", btoa(bytes).replaceAll("+", "-").replaceAll("/", "_"));
  }
  history.replaceState(null, "", `#${values}`);
}

let hashTimer = 0;

/** Write the address soon: browsers refuse to change it some hundred times in a minute. */
function remember() {
  if (hashTimer) return;
  hashTimer = setTimeout(() => {
    hashTimer = 0;
    writeHash();
  }, 400);
}

/** Take the state from the page's address; what is malformed is left as it is. */
function readHash() {
  const values = new URLSearchParams(location.hash.slice(1));
  const bits = values.get("bits") ?? "";
  if (bits.length === model.dim && /^[01]*$/.test(bits)) {
    state.code = { bits: Uint8Array.from(bits, Number), row: -1 };
  }
  const row = Number(values.get("row"));
  if (Number.isInteger(row) && row >= 0 && row < (bankLabels?.length ?? 0)) state.code.row = row;
  const dither = Number(values.get("dither") ?? NaN);
  if (dither >= 0 && dither <= 2) state.dither = dither;
  const seed = Number(values.get("seed"));
  if (Number.isInteger(seed) && seed > 0 && seed < 2 ** 32) state.seed = seed;
  const prior = /** @type {PriorName} */ (values.get("prior"));
  if (Object.hasOwn(model.priors, prior ?? "")) state.prior = prior;
  try {
    const packed = atob((values.get("angles") ?? "").replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const turned = new Int16Array(bytes.buffer);
    if (turned.length === state.theta.length && turned.length) {
      state.theta = Float64Array.from(turned, (value) => (value / 32767) * Math.PI);
    }
  } catch {
    // not base64, or an odd number of bytes
  }
}

/** @param {number} angle */
function wrapped(angle) {
  return angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));
}

// ---- views: the digit and its qubits ------------------------------------------------------------

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
function element(id) {
  const here = document.getElementById(id);
  if (!here) throw new Error(`the page lacks #${id}`);
  return here;
}

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string>} attributes
 * @param {...(Node|string)} children
 */
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** @param {string} id */
function input(id) {
  return /** @type {HTMLInputElement} */ (element(id));
}

/**
 * Draw an image [height, width, channels] into a canvas at a place.
 * @param {string|HTMLCanvasElement} canvas
 * @param {Float32Array} image
 */
function paint(canvas, image, x = 0, y = 0) {
  const node = typeof canvas === "string" ? element(canvas) : canvas;
  const context = /** @type {HTMLCanvasElement} */ (node).getContext("2d");
  const pixels = new ImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    for (let c = 0; c < 3; c++) {
      pixels.data[4 * k + c] = 127.5 * (1 + image[k * channels + Math.min(c, channels - 1)]);
    }
    pixels.data[4 * k + 3] = 255;
  }
  context?.putImageData(pixels, x, y);
}

/** @type {HTMLButtonElement[]} */
const toggles = [];

function buildDigit() {
  const canvas = /** @type {HTMLCanvasElement} */ (element("digit"));
  [canvas.width, canvas.height] = [width, height];
  model.labels.forEach((label, place) => {
    const radio = make("input", { type: "radio", name: "label", value: `${place}` });
    radio.addEventListener("change", () => {
      if (tensors.has("latents")) measure(place);
      else setBits(Uint8Array.from([...bitsOf(place, model.labelBits),
        ...state.code.bits.subarray(model.labelBits)]));
    });
    element("labels").append(make("label", {}, radio, ` ${label}`));
  });
  model.classes.forEach((name, place) => {
    const draw = make("button", { type: "button" }, `Draw a ${name}`);
    holdable(draw, () => measure(place));
    element("draws").append(draw);
  });
  element("labels").hidden = !model.labels.length;
  const nRow = circuit ? nFree : Math.min(model.dim - model.labelBits, 16);
  for (let k = model.labelBits; k < model.dim && !tensors.has("latents"); k++) {
    const [b, qubit] = [Math.floor((k - model.labelBits) / nRow), (k - model.labelBits) % nRow];
    const toggle = make("button", { type: "button", class: "bit", "aria-pressed": "false" });
    toggle.addEventListener("click", () => {
      setBits(state.code.bits.map((bit, place) => (place === k ? 1 - bit : bit)));
    });
    if (qubit === 0) {
      const basis = circuit ? `Bits in basis ${circuit.bases[b]}` : `Bits from ${k - model.labelBits}`;
      element("bits").append(make("div", { class: "row", role: "group", "aria-label": basis },
        make("span", { class: "tag" }, circuit ? circuit.bases[b] : "")));
    }
    const name = circuit ? `qubit ${qubit}, basis ${circuit.bases[b]}` : `bit ${k - model.labelBits}`;
    toggle.setAttribute("aria-label", name);
    element("bits").lastElementChild?.append(toggle);
    toggles.push(toggle);
  }
  input("dither").addEventListener("input", () => {
    state.dither = Number(input("dither").value);
    showDigit();
  });
  element("dither-row").hidden = tensors.has("latents") || !model.dither;
  element("noise").addEventListener("click", () => {
    state.seed = 1 + Math.floor(random() * (2 ** 32 - 1));
    showDigit();
  });
  element("noise").hidden = tensors.has("latents") || !(model.dither || model.noiseDims);
  for (const [name, title] of Object.entries(model.priors)) {
    element("prior").append(make("option", { value: name }, title));
  }
  element("prior").addEventListener("change", () => {
    state.prior = /** @type {PriorName} */ (input("prior").value);
    remember();
    refreshGrid();
  });
  holdable(/** @type {HTMLButtonElement} */ (element("measure")), () => measure(-1));
}

/** @param {Uint8Array} bits */
function setBits(bits) {
  state.code = { bits, row: -1 };
  showDigit();
}

function showDigit() {
  const { code, dither, seed, prior } = state;
  paint("digit", generate(embed(code, dither, seed)));
  toggles.forEach((toggle, k) => {
    const bit = code.bits[model.labelBits + k];
    toggle.setAttribute("aria-pressed", `${bit === 1}`);
    toggle.dataset.bit = `${bit}`;
  });
  const place = tensors.has("latents") ? Number(bankLabels?.[code.row] ?? 0) : labelOf(code.bits);
  document.querySelectorAll("#labels input").forEach((radio) => {
    const { value } = /** @type {HTMLInputElement} */ (radio);
    /** @type {HTMLInputElement} */ (radio).checked = Number(value) === place;
  });
  input("dither").value = `${dither}`;
  element("dither-value").textContent = dither.toFixed(2);
  input("prior").value = prior;
  showHistograms();
  remember();
}

// ---- views: measuring ---------------------------------------------------------------------------

let random = uniforms(state.seed);

/**
 * Do something at a press, and again and again while the button is held.
 * @param {HTMLButtonElement} button
 * @param {() => void} action
 */
function holdable(button, action) {
  let timer = 0;
  let held = false;
  const stop = () => clearTimeout(timer);
  const again = (/** @type {number} */ wait) => {
    timer = setTimeout(() => {
      held = true;
      action();
      again(80);
    }, wait);
  };
  button.addEventListener("pointerdown", () => {
    held = false;
    again(400);
  });
  for (const end of ["pointerup", "pointerleave", "pointercancel", "blur"]) {
    button.addEventListener(end, stop);
  }
  button.addEventListener("click", () => {
    if (!held) action(); // the stream has drawn enough
    held = false;
  });
}

/**
 * Measure a shot, and draw it.
 * @param {number} place number of the label that is asked for; -1 for any
 */
function measure(place) {
  state.code = drawCode(state.prior, random, place);
  state.seed = 1 + Math.floor(random() * (2 ** 32 - 1));
  nShots += 1;
  if (circuit) {
    circuit.bases.forEach((_, b) => {
      counts[b][(indexIn(state.code.bits, b) << model.labelBits) | labelOf(state.code.bits)] += 1;
    });
  }
  showShots();
  showDigit();
  fall();
}

function resetShots() {
  nShots = 0;
  counts = targets.map((target) => new Float64Array(target.length));
  showShots();
}

function showShots() {
  element("shots").textContent = `${nShots} shot${nShots === 1 ? "" : "s"} measured`;
}

let gridSeed = 1;
let gridDone = 16;

function buildGrid() {
  const canvas = /** @type {HTMLCanvasElement} */ (element("grid"));
  [canvas.width, canvas.height] = [8 * width, 2 * height];
  element("refresh").addEventListener("click", () => {
    gridSeed = Math.floor(random() * 2 ** 32);
    refreshGrid();
  });
}

/** Draw the grid anew, one image a frame: equal uniform numbers show what the angles change. */
function refreshGrid() {
  const idle = gridDone >= 16;
  gridDone = 0;
  if (idle) requestAnimationFrame(nextInGrid);
}

function nextInGrid() {
  const uniform = uniforms(gridSeed + 7919 * gridDone);
  const latents = embed(drawCode(state.prior, uniform), model.spread, gridSeed + gridDone);
  paint("grid", generate(latents), (gridDone % 8) * width, Math.floor(gridDone / 8) * height);
  gridDone += 1;
  if (gridDone < 16) requestAnimationFrame(nextInGrid);
}

// ---- views: the circuit -------------------------------------------------------------------------

const rotations = ["rx", "ry", "rz", "rxx", "rzz"];
/** @type {HTMLButtonElement[]} the knob of each angle */
const knobs = [];
/** @type {string[]} */
const knobNames = [];

function buildCircuit() {
  element("circuit-view").hidden = !circuit;
  element("no-circuit").hidden = Boolean(circuit);
  if (!circuit) return;
  const { nQubits, zQubits, layers, bases, nParams } = circuit;
  const diagram = element("diagram");
  diagram.style.setProperty("--qubits", `${nQubits}`);
  const wires = Array.from({ length: nQubits }, (_, qubit) => qubitName(qubit));
  diagram.append(make("div", { class: "layer names", "aria-hidden": "true" },
    make("span", { class: "tag" }), ...wires.map((name) => make("span", { class: "wire" }, name))));
  layers.forEach((layer, number) => diagram.append(layerView(layer, `layer ${number + 1}`)));
  if (bases.includes("t")) {
    const first = nParams - nQubits + zQubits;
    const qubits = Array.from({ length: nQubits - zQubits }, (_, k) => [zQubits + k]);
    diagram.append(layerView({ gate: "rx", qubits, first }, "basis t"));
  }
  input("angle").addEventListener("input", () => turn(gate, Number(input("angle").value)));
  for (const name of /** @type {const} */ (["trained", "product", "uniform"])) {
    element(name).addEventListener("click", () => setTheta(Float64Array.from(starts[name])));
  }
  element("random").addEventListener("click", () => {
    setTheta(Float64Array.from(state.theta, () => Math.PI * (2 * random() - 1)));
  });
  input("mixture").addEventListener("input", () => {
    const share = Number(input("mixture").value);
    setTheta(Float64Array.from(starts.product,
      (angle, k) => angle + share * wrapped(starts.trained[k] - angle)));
  });
}

/** @param {number} qubit */
function qubitName(qubit) {
  return qubit < model.labelBits ? `label ${qubit}` : `qubit ${qubit - model.labelBits}`;
}

/**
 * Return the view of a layer: a knob for each angle, a sign for each gate without one.
 * @param {Layer} layer
 * @param {string} title
 */
function layerView({ gate: name, qubits, first }, title) {
  const gateName = name.toUpperCase();
  const view = make("div", { class: "layer", role: "group", "aria-label": `${title}: ${gateName}` },
    make("span", { class: "tag", "aria-hidden": "true" }, gateName));
  qubits.forEach((on, k) => {
    const where = on.map(qubitName).join(" and ");
    const node = first < 0
      ? make("span", { class: "gate", role: "img", "aria-label": `${gateName}, ${where}` },
        name === "cx" ? "⊕" : name === "cz" ? "●" : "H")
      : knob(first + k, `${gateName}, ${where}, ${title}`, k === 0);
    // pairs stand below the diagonal: the row is the second qubit, the column the first one
    const [row, column] = on.length === 2 ? [Math.max(...on), Math.min(...on)] : [on[0], 0];
    node.style.gridArea = `${row + 2} / ${column + 1}`;
    view.append(node);
  });
  if (first >= 0) view.addEventListener("keydown", walk);
  return view;
}

/**
 * Return the knob of an angle: chosen by focus, turned by the slider below or by dragging.
 * @param {number} place
 * @param {string} name
 * @param {boolean} tabbable
 */
function knob(place, name, tabbable) {
  const button = make("button", { type: "button", class: "knob", tabindex: tabbable ? "0" : "-1" });
  [knobs[place], knobNames[place]] = [button, name];
  button.addEventListener("focus", () => choose(place));
  button.addEventListener("pointerdown", (event) => {
    button.focus();
    button.setPointerCapture(event.pointerId);
  });
  button.addEventListener("pointermove", (event) => {
    if (event.buttons) turn(place, state.theta[place] - event.movementY / 40);
  });
  return button;
}

/**
 * Move between the knobs of a layer by the arrow keys; tab goes from layer to layer.
 * @param {KeyboardEvent} event
 */
function walk(event) {
  const view = /** @type {HTMLElement} */ (event.currentTarget);
  const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
  const step = steps[/** @type {keyof typeof steps} */ (event.key)];
  const own = /** @type {HTMLElement[]} */ ([...view.querySelectorAll(".knob")]);
  const next = step && own[own.indexOf(/** @type {HTMLElement} */ (event.target)) + step];
  if (!next) return;
  event.preventDefault();
  own.forEach((node) => { node.tabIndex = node === next ? 0 : -1; });
  next.focus();
}

/** @param {number} place */
function choose(place) {
  knobs[gate]?.removeAttribute("aria-current");
  gate = place;
  knobs[gate]?.setAttribute("aria-current", "true");
  element("angle-name").textContent = knobNames[gate];
  showAngle();
}

function showAngle() {
  const angle = wrapped(state.theta[gate]);
  input("angle").value = `${angle}`;
  element("angle-value").textContent = `${angle.toFixed(3)} rad`;
}

/**
 * @param {number} place
 * @param {number} angle
 */
function turn(place, angle) {
  setTheta(state.theta.map((value, k) => (k === place ? angle : value)));
}

/** @param {Float64Array} theta */
function setTheta(theta) {
  state.theta = theta;
  resetShots();
  showCircuit();
  showHistograms();
  remember();
  if (state.prior === "circuit") refreshGrid();
}

function showCircuit() {
  if (!circuit) return;
  found = circuit.bases.map((basis) => probabilities(state.theta, basis));
  knobs.forEach((node, place) => {
    const angle = wrapped(state.theta[place]);
    node.style.setProperty("--turn", `${angle}rad`);
    node.setAttribute("aria-label", `${knobNames[place]}: ${angle.toFixed(2)} rad`);
  });
  showAngle();
  const now = sum(targets, (target, b) => kl(target, found[b]));
  element("kl").textContent = now.toFixed(3);
  element("kl-product").textContent = klOfProduct.toFixed(3);
}

// ---- views: the histograms ----------------------------------------------------------------------

const barWidth = 4;
const barHeight = 160;
/** @type {HTMLCanvasElement[]} */
const histograms = [];

function buildHistograms() {
  element("histogram-view").hidden = !circuit;
  for (const basis of circuit?.bases ?? []) {
    const canvas = make("canvas", { role: "img", width: `${barWidth << nFree}`,
      height: `${barHeight}`, class: "histogram" });
    histograms.push(canvas);
    element("histograms").append(make("figure", {}, make("figcaption", {}, `Basis ${basis}`), canvas));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showHistograms);
}

/** Draw the distributions of the other qubits beside the label of the shown code. */
function showHistograms() {
  if (!circuit) return;
  const label = labelOf(state.code.bits);
  const named = label < model.labels.length ? `, given the label ${model.labels[label]}` : "";
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  histograms.forEach((canvas, b) => {
    const context = canvas.getContext("2d");
    if (!context) return;
    const [wanted, drawn, shots] = [targets[b], found[b], counts[b]].map((values) => {
      const given = givenLabel(values, label);
      const total = sum(given, (value) => value);
      return total > 0 ? given.map((value) => value / total) : given;
    });
    const most = Math.max(...wanted, ...drawn) || 1;
    const scale = (barHeight - 8) / most;
    context.clearRect(0, 0, canvas.width, barHeight);
    const bars = (/** @type {Float64Array} */ values, /** @type {string} */ name, thick = barWidth) => {
      context.fillStyle = colour(name);
      values.forEach((value, x) => {
        const tall = Math.min(value * scale, barHeight);
        context.fillRect(x * barWidth, barHeight - tall, thick, tall);
      });
    };
    bars(wanted, "--target");
    bars(drawn, "--found", barWidth / 2);
    if (nShots) {
      context.fillStyle = colour("--ink");
      shots.forEach((value, x) => {
        if (value) {
          const tall = Math.min(value * scale, barHeight - 3);
          context.fillRect(x * barWidth, barHeight - tall - 2, barWidth, 2);
        }
      });
    }
    context.fillStyle = colour("--shot");
    const here = indexIn(state.code.bits, b);
    context.fillRect(here * barWidth - 1, 0, barWidth + 2, 6);
    const distance = kl(targets[b], found[b]).toFixed(3);
    canvas.setAttribute("aria-label", `Probabilities of ${1 << nFree} bitstrings in basis `
      + `${circuit.bases[b]}${named}: those of the training images, and the circuit's, `
      + `${distance} nats away`);
  });
  const share = model.labels.length && label < model.labels.length
    ? ` The circuit gives the label ${model.labels[label]} with probability `
      + `${(100 * labelShares(found[0])[label]).toFixed(1)}\u00a0%.` : "";
  element("given").textContent = `${1 << nFree} bitstrings in each basis${named}.${share}`;
}

/** Let a shot fall on each histogram. */
function fall() {
  if (!circuit || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  histograms.forEach((canvas, b) => {
    const drop = make("span", { class: "drop", "aria-hidden": "true" });
    drop.style.left = `${(100 * (indexIn(state.code.bits, b) + 0.5)) / (1 << nFree)}%`;
    canvas.parentElement?.append(drop);
    drop.addEventListener("animationend", () => drop.remove());
  });
}

// ---- views: writing, and watching it learn --------------------------------------------------------

function buildWriting() {
  element("write-view").hidden = !model.classes.length;
  element("write-form").addEventListener("submit", (event) => {
    event.preventDefault();
    write();
  });
  element("save").addEventListener("click", () => {
    const strip = /** @type {HTMLCanvasElement} */ (element("strip"));
    strip.toBlob((blob) => {
      if (!blob) return;
      const link = make("a", { href: URL.createObjectURL(blob), download: "digits.png" });
      link.click();
      URL.revokeObjectURL(link.href);
    });
  });
}

/** Draw what was typed, a shot for each label. */
function write() {
  const text = input("text").value;
  const words = model.classes.some((name) => name > 9) ? text.split(/\s+/) : [...text];
  const wanted = words.filter((word) => word.trim()).slice(0, 24);
  const places = wanted.map((word) => model.classes.indexOf(Number(word)));
  const strip = /** @type {HTMLCanvasElement} */ (element("strip"));
  if (!places.length || places.includes(-1)) {
    element("written").textContent = `Type some of ${model.classes.join(", ")}.`;
    return;
  }
  [strip.width, strip.height] = [places.length * width, height];
  places.forEach((place, k) => {
    const seed = Math.floor(random() * 2 ** 32);
    const latents = embed(drawCode(state.prior, random, place), model.spread, seed);
    paint(strip, generate(latents), k * width, 0);
  });
  strip.setAttribute("aria-label", `The digits ${wanted.join(" ")}`);
  /** @type {HTMLButtonElement} */ (element("save")).disabled = false;
  element("written").textContent = cost(places);
}

/**
 * Say how many shots samples of these classes take.
 * @param {number[]} places numbers of the classes
 */
function cost(places) {
  const n = `${places.length} sample${places.length > 1 ? "s" : ""}`;
  const shots = (/** @type {ArrayLike<number>} */ shares) =>
    Math.round(sum(places, (place) => 1 / Math.max(shares[place], 1e-6)));
  if (!model.labels.length && bankLabels) {
    const read = Array.from(model.classes,
      (_, place) => sum(bankLabels, (label) => Number(label === place)) / bankLabels.length);
    return `${n}, chosen among ${bankLabels.length} shots by what a classifier reads; about `
      + `${shots(read)} shots show these digits.`;
  }
  if (!circuit || state.prior !== "circuit") return `${n}, each asked for by its label.`;
  return `${n}, each asked for by its label. A device, which takes what comes, would need about `
    + `${shots(labelShares(found[0]))} shots in each basis.`;
}

function buildEpochs() {
  element("epochs-view").hidden = !model.epochs.length;
  const picture = /** @type {HTMLImageElement} */ (element("epoch-picture"));
  const show = () => {
    const epoch = model.epochs[Number(input("epoch").value) - 1];
    element("epoch-value").textContent = `${epoch.number}`;
    picture.src = `data:image/webp;base64,${epoch.picture}`;
    picture.alt = `What the generator drew at the end of epoch ${epoch.number}`;
  };
  if (!model.epochs.length) return;
  input("epoch").max = `${model.epochs.length}`; // first, since it bounds the value
  input("epoch").value = `${model.epochs.length}`;
  input("epoch").addEventListener("input", show);
  show();
}

// ---- start --------------------------------------------------------------------------------------

/** Show the state of the page's address. */
function showAll() {
  readHash();
  random = uniforms(state.seed);
  resetShots();
  showCircuit();
  showDigit();
  refreshGrid();
}

state.code = tensors.has("latents") ? { bits: new Uint8Array(), row: 0 }
  : { bits: (codes.length ? codes : bank).row(0), row: -1 };
buildDigit();
buildGrid();
buildCircuit();
buildHistograms();
buildWriting();
buildEpochs();
showAll();
if (circuit) choose(0);
document.querySelector("main")?.classList.remove("loading");
addEventListener("hashchange", showAll);

Object.assign(window, {
  qcaan: {
    model,
    probabilities,
    /**
     * Draw bits without noise: pixels in [-1, 1], flat, in the order [channels, height, width].
     * @param {ArrayLike<number>} bits
     */
    draw(bits) {
      if (bits.length !== model.dim) throw new Error(`a code has ${model.dim} bits`);
      const image = generate(embed({ bits: Uint8Array.from(bits), row: -1 }, 0, 1));
      return Array.from({ length: image.length }, (_, k) => {
        const [channel, pixel] = [Math.floor(k / (height * width)), k % (height * width)];
        return image[pixel * channels + channel];
      });
    },
  },
});
