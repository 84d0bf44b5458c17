// Statistics reads a connection's numbers once a second and shows them: a table,
// and graphs over the last minute.

const span = 60; // seconds on a graph

export class Statistics {
  constructor(table, latency) {
    Object.assign(this, { table, latency });
    this.last = null;
    this.lines = {
      latency: new Graph("latency", "ms"),
      rate: new Graph("rate", "Mbit/s"),
      fps: new Graph("frames", "fps"),
    };
    this.body = document.createElement("dl");
    table.replaceChildren(this.body, ...Object.values(this.lines).map((g) => g.figure));
  }

  reset() {
    this.last = null;
    this.body.replaceChildren();
  }

  // read returns what the bar shows: size, fps, codec, rate and latency, as text.
  async read(pc, video) {
    const report = [...(await pc.getStats()).values()];
    const rtp = report.find((r) => r.type === "inbound-rtp" && r.kind === "video");
    if (!rtp) return null;
    const codec = report.find((r) => r.id === rtp.codecId)?.mimeType.split("/")[1] ?? "";
    const pair = report.find((r) => r.type === "candidate-pair" && r.nominated);
    const local = pair && report.find((r) => r.id === pair.localCandidateId);
    const before = this.last;
    this.last = rtp;
    const out = { size: video.videoWidth ? `${video.videoWidth}×${video.videoHeight}` : "", codec };
    if (!before || rtp.timestamp <= before.timestamp || rtp.id !== before.id) return out;

    const seconds = (rtp.timestamp - before.timestamp) / 1000;
    const grown = (key) => (rtp[key] ?? 0) - (before[key] ?? 0);
    const per = (key, count) => (grown(count) > 0 ? (grown(key) / grown(count)) * 1000 : null); // ms each
    const fps = grown("framesDecoded") / seconds;
    const rate = (grown("bytesReceived") * 8) / seconds / 1e6;
    const buffer = per("jitterBufferDelay", "jitterBufferEmittedCount");
    const decode = per("totalDecodeTime", "framesDecoded");
    const glass = this.latency.percentiles();
    const inside = buffer === null && decode === null ? null : (buffer ?? 0) + (decode ?? 0);
    this.lines.latency.add(glass ? glass.last : inside);
    this.lines.rate.add(rate);
    this.lines.fps.add(fps);
    const ms = (v) => (v === null || v === undefined ? "–" : `${v.toFixed(v < 10 ? 1 : 0)} ms`);
    out.fps = `${Math.round(fps)} fps`;
    out.rate = `${rate.toFixed(2)} Mbit/s`;
    out.latency = glass ? ms(glass.p50) : "";
    this.show([
      glass
        ? ["glass to glass", `${ms(glass.p50)}, 95 % below ${ms(glass.p95)} (±${this.latency.doubt.toFixed(1)})`]
        : ["in this browser", `${ms(inside)} (buffer and decoder; the way here is not measured)`],
      ["jitter buffer", ms(buffer)],
      ["decoder", `${ms(decode)}${rtp.decoderImplementation ? `, ${rtp.decoderImplementation}` : ""}`],
      ["picture", `${out.size}, ${out.fps}, ${codec}`],
      ["rate", out.rate],
      ["round trip", ms(pair?.currentRoundTripTime === undefined ? null : pair.currentRoundTripTime * 1000)],
      ["transport", local ? local.protocol : "–"],
      ["lost packets", `${rtp.packetsLost ?? 0} of ${rtp.packetsReceived + (rtp.packetsLost ?? 0)}, ${rtp.nackCount ?? 0} asked for again`],
      ["key frames", `${rtp.keyFramesDecoded ?? 0}, ${rtp.pliCount ?? 0} asked for`],
      ["dropped, frozen", `${rtp.framesDropped ?? 0}, ${rtp.freezeCount ?? 0}`],
    ]);
    return out;
  }

  show(rows) {
    if (this.table.hidden) return;
    this.body.replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
    for (const g of Object.values(this.lines)) g.draw();
  }
}

// Graph is a line over the last minute, with its largest and newest value.
class Graph {
  constructor(name, unit) {
    Object.assign(this, { name, unit, values: [] });
    this.figure = document.createElement("figure");
    this.canvas = document.createElement("canvas");
    this.caption = document.createElement("figcaption");
    this.figure.append(this.caption, this.canvas);
  }

  // add adds a second's value; null where there is none.
  add(value) {
    this.values.push(value);
    if (this.values.length > span) this.values.shift();
  }

  draw() {
    const ratio = devicePixelRatio || 1;
    const w = (this.canvas.width = this.canvas.clientWidth * ratio);
    const h = (this.canvas.height = this.canvas.clientHeight * ratio);
    const top = Math.max(...this.values.map((v) => v ?? 0), 1e-3);
    const newest = this.values.at(-1);
    this.caption.textContent = `${this.name}: ${newest === null ? "–" : newest.toFixed(newest < 10 ? 2 : 0)} ${this.unit}, at most ${top.toFixed(top < 10 ? 2 : 0)}`;
    const g = this.canvas.getContext("2d");
    g.strokeStyle = getComputedStyle(this.canvas).color;
    g.lineWidth = 1.5 * ratio;
    g.beginPath();
    this.values.forEach((v, i) => {
      const x = ((i + span - this.values.length) / (span - 1)) * w;
      const y = h - 2 * ratio - ((v ?? 0) / top) * (h - 4 * ratio);
      if (v === null || i === 0 || this.values[i - 1] === null) g.moveTo(x, y);
      else g.lineTo(x, y);
    });
    g.stroke();
  }
}

function element(name, text) {
  const e = document.createElement(name);
  e.textContent = text;
  return e;
}
