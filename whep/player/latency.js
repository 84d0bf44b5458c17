// Latency measures how old a picture is when it is shown.
//
// With abs-capture-time each picture tells when it was captured, on the server's
// clock. The two clocks are compared by a few short requests, of which the
// fastest counts, so the result is wrong by no more than half of its round trip.
// Without it, what the browser knows is told: the time a picture spends in its
// jitter buffer and decoder.
import { header } from "./whep.js";

const ntpEpoch = 2208988800000; // ms from 1900 to 1970
const window = 60000; // ms of samples for the percentiles

export class Latency {
  constructor(video, token) {
    Object.assign(this, { video, token });
    this.receiver = null;
    this.samples = []; // { at, ms }, for a minute
    this.offset = null; // server's clock less ours, ms
    this.doubt = 0; // half of the round trip that offset comes from, ms
    this.synced = -Infinity;
    if (video.requestVideoFrameCallback) this.next();
  }

  next() {
    this.video.requestVideoFrameCallback((now, meta) => {
      this.next();
      this.shown(meta);
    });
  }

  // shown takes one sample from a picture that is about to be displayed.
  shown(meta) {
    const source = this.receiver?.getSynchronizationSources?.()[0];
    if (this.offset === null || source?.captureTimestamp === undefined || meta.rtpTimestamp === undefined) return;
    let captured = source.captureTimestamp;
    if (captured > ntpEpoch) captured -= ntpEpoch;
    const behind = (meta.rtpTimestamp - source.rtpTimestamp) | 0; // it may be of another picture, in ticks of 1/90 ms
    captured += behind / 90;
    const shown = Math.max(meta.expectedDisplayTime, meta.presentationTime); // some browsers expect what is past
    const ms = performance.timeOrigin + shown + this.offset - captured;
    if (Math.abs(behind) > 90 * 5000 || ms < -1000 || ms > 60000) return;
    const at = performance.now();
    this.samples.push({ at, ms });
    while (this.samples[0].at < at - window) this.samples.shift();
  }

  // sync compares the clocks, at most once a minute.
  async sync() {
    if (performance.now() - this.synced < window) return;
    this.synced = performance.now();
    let best = Infinity;
    for (let i = 0; i < 6; i++) {
      const sent = performance.now();
      const answer = await fetch("/time", { headers: header(this.token), cache: "no-store" });
      const { unixMs } = await answer.json();
      const trip = performance.now() - sent;
      if (trip >= best || !answer.ok) continue;
      best = trip;
      this.offset = unixMs + trip / 2 - (performance.timeOrigin + sent + trip);
      this.doubt = trip / 2;
    }
  }

  // percentiles are of the last minute; null when the captures' times are not told.
  percentiles() {
    if (!this.samples.length || this.samples.at(-1).at < performance.now() - window) return null;
    const sorted = this.samples.map((s) => s.ms).sort((a, b) => a - b);
    const at = (p) => sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))];
    return { p50: at(0.5), p95: at(0.95), last: this.samples.at(-1).ms };
  }
}
