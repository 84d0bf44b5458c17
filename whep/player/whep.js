// A WHEP player (draft-ietf-wish-whep) that keeps playing: whatever ends the
// connection, it tries again until the server says that there is no point.

// Refusal is an answer of the server that is not 201.
export class Refusal extends Error {
  constructor(status, detail, retryAfter) {
    super(detail || `the server answered ${status}`);
    this.status = status;
    this.retryAfter = retryAfter; // seconds, or NaN
  }
}

const captureTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
const silence = 1200; // ms without a packet before the server is asked
const alarm = 2200; // ms without one before a second connection is tried; a still screen sends one each second
const calmFirst = 2500, calmMost = 60000; // ms between alarms, twice as many after each
const deaf = 7000; // ms without one before the path is given up; browsers' own checks come every 2.5 to 6 s
const unreachable = 8000; // ms for a connection to come about
const retryFirst = 250, retryMost = 1000, retryLong = 3000; // ms; long after a minute

// header carries the token, which so stays out of the URLs that servers log.
export function header(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// connect posts an offer and takes the answer. The offer goes out at once,
// without candidates: the server answers on the path that the browser's checks
// take. It returns { pc, receiver, location }; errors are Refusal, or the network's.
async function connect(endpoint, token, signal) {
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  const stop = () => pc.close();
  signal.addEventListener("abort", stop);
  try {
    const transceiver = pc.addTransceiver("video", { direction: "recvonly" });
    askCaptureTime(transceiver);
    pc.addTransceiver("audio", { direction: "recvonly" });
    const { receiver } = transceiver;
    if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
    await pc.setLocalDescription();
    const answer = await fetch(endpoint, {
      method: "POST",
      headers: { "Content-Type": "application/sdp", ...header(token) },
      body: pc.localDescription.sdp,
      signal,
    });
    if (answer.status !== 201) {
      const problem = await answer.json().catch(() => ({}));
      throw new Refusal(answer.status, problem.detail, Number(answer.headers.get("Retry-After") ?? NaN));
    }
    const location = new URL(answer.headers.get("Location"), answer.url);
    await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    return { pc, receiver, location };
  } catch (error) {
    pc.close();
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

// askCaptureTime asks for the time of capture with each picture, where the
// browser can.
function askCaptureTime(transceiver) {
  const list = transceiver.getHeaderExtensionsToNegotiate?.();
  const wanted = list?.find((e) => e.uri === captureTime);
  if (!wanted) return;
  wanted.direction = "sendrecv";
  try { transceiver.setHeaderExtensionsToNegotiate(list); } catch { /* it is as it was */ }
}

// Player keeps a video element playing. changed(state, error) is called with
// "connecting", "playing" or "failed"; error is a Refusal or another Error, or
// nothing. After "failed" only start() tries again.
export class Player {
  constructor(video, endpoint, token, changed) {
    Object.assign(this, { video, endpoint, token, changed });
    this.connection = null;
    this.abort = new AbortController();
    this.failures = 0;
    this.since = 0; // when the trouble began
    this.timer = 0;
    this.heard = { packets: -1, at: 0, asked: 0 };
    this.second = null; // the attempt at a connection beside a silent one
    this.alarms = 0;
    this.calm = 0; // no alarm before
    video.addEventListener("playing", () => this.plays());
    addEventListener("online", () => { if (this.connection) this.again(new Error("the network was away")); });
    navigator.connection?.addEventListener?.("change", () => this.check());
    addEventListener("pagehide", () => this.stop());
    addEventListener("pageshow", (event) => { if (event.persisted) this.start(); });
    let tick = Date.now();
    setInterval(() => {
      const now = Date.now(), passed = Math.abs(now - tick);
      tick = now;
      if (passed > 5000 && this.connection) { // the machine slept, or nobody sees the page
        if (document.hidden) this.check();
        else this.again(new Error("this machine slept"));
      } else if (passed > 1500) {
        this.heard.at = this.heard.asked = performance.now(); // the silence may be of this page
      }
      this.listen().catch(() => {});
    }, 250);
  }

  // start connects, anew if there is a connection.
  async start() {
    this.stop();
    const abort = this.abort;
    this.changed("connecting");
    const late = setTimeout(() => abort.abort(new Error("the server does not answer")), 10000);
    try {
      const c = await connect(this.endpoint, this.token, abort.signal);
      if (abort !== this.abort) return this.end(c);
      this.video.srcObject = new MediaStream([c.receiver.track]);
      this.take(c);
    } catch (error) {
      if (abort !== this.abort) return;
      if (error instanceof Refusal && ![409, 429, 500, 502, 503, 504].includes(error.status)) this.changed("failed", error);
      else this.again(error instanceof TypeError ? new Error("the server cannot be reached") : error); // fetch's only error
    } finally {
      clearTimeout(late);
    }
  }

  take(c) {
    this.connection = c;
    this.heard = { packets: -1, at: performance.now(), asked: 0 };
    c.pc.onconnectionstatechange = () => {
      if (c !== this.connection) return;
      const state = c.pc.connectionState;
      if (state === "failed" || state === "closed" || state === "disconnected") this.check();
    };
  }

  // beside makes a second connection while nothing comes through the first. It
  // takes over as soon as it stands, unless the first is heard before; the
  // picture stays all the while.
  async beside() {
    const second = (this.second = {});
    this.calm = performance.now() + Math.min(calmFirst * 2 ** this.alarms++, calmMost);
    let c;
    try {
      c = await connect(this.endpoint, this.token, this.abort.signal);
    } catch (error) {
      if (second !== this.second) return;
      this.second = null;
      if (error instanceof TypeError) this.again(new Error("the server cannot be reached"));
      return; // a refusal does not end the first, which may be heard yet
    }
    if (second !== this.second) return this.end(c);
    second.connection = c;
    c.pc.onconnectionstatechange = async () => {
      if (c.pc.connectionState !== "connected") return;
      await this.listen().catch(() => {}); // the first may have been heard just now
      if (second !== this.second) return;
      const first = this.connection, stream = this.video.srcObject;
      this.second = null;
      stream.addTrack(c.receiver.track); // into the same stream: the last picture stays until the next
      stream.removeTrack(first.receiver.track);
      this.take(c);
      this.end(first);
      this.changed("playing");
    };
    c.pc.onconnectionstatechange();
  }

  // drop gives the second connection up, or ends it when it comes about.
  drop() {
    const second = this.second;
    this.second = null;
    this.end(second?.connection);
  }

  stop() {
    this.drop();
    clearTimeout(this.timer);
    this.abort.abort();
    this.abort = new AbortController();
    this.end(this.connection);
    this.connection = null;
  }

  end(connection) {
    if (!connection) return;
    connection.pc.close();
    fetch(connection.location, { method: "DELETE", headers: header(this.token), keepalive: true }).catch(() => {});
  }

  plays() {
    this.failures = 0;
    if (this.connection) this.changed("playing");
  }

  // again tries again soon, a little less often the longer it lasts.
  again(error) {
    this.stop();
    if (this.failures++ === 0) this.since = performance.now();
    const most = performance.now() - this.since > 60000 ? retryLong : retryMost;
    let pause = Math.min(retryFirst * 2 ** (this.failures - 1), most);
    if (error.retryAfter > 0) pause = Math.max(pause, error.retryAfter * 1000);
    this.changed("connecting", error);
    this.timer = setTimeout(() => this.start(), pause);
  }

  // check finds out whether the session still lives when there is doubt. A
  // server that has forgotten it, or is gone, is asked for a new one.
  async check() {
    const c = this.connection;
    if (!c || c.checking) return;
    c.checking = true;
    const status = await fetch(c.location, { headers: header(this.token), cache: "no-store", signal: AbortSignal.timeout(2500) })
      .then((r) => r.status, () => 0);
    c.checking = false;
    if (c !== this.connection) return;
    if (status === 410) { // by hand; to ask again would be rude
      this.stop();
      this.changed("failed", new Refusal(status, "the owner has ended this session"));
      return;
    }
    const reason = { 0: "the server cannot be reached", 404: "the server knows of this session no more" }[status]
      ?? { disconnected: "the network has changed", failed: "the connection was lost", closed: "the connection was lost" }[c.pc.connectionState];
    if (reason && !(this.second && status !== 404)) this.again(new Error(reason));
  }

  // listen notices silence before the browser does: neither media nor answers
  // to its connectivity checks.
  async listen() {
    const c = this.connection;
    if (!c) return;
    if (c.pc.connectionState !== "connected" && c.pc.connectionState !== "disconnected") {
      if (performance.now() - this.heard.at > unreachable) {
        this.again(new Error("the server answers, but no media comes through; a firewall may block its UDP and TCP port"));
      }
      return;
    }
    let packets = 0;
    for (const r of (await c.pc.getStats()).values()) {
      if (r.type === "candidate-pair" && r.nominated) packets += (r.packetsReceived ?? r.bytesReceived ?? 0) + (r.responsesReceived ?? 0) + (r.requestsReceived ?? 0);
      if (r.type === "remote-outbound-rtp") packets += r.reportsSent ?? 0;
    }
    if (c !== this.connection) return;
    const now = performance.now();
    const silent = now - this.heard.at;
    if (packets !== this.heard.packets) {
      this.heard = { packets, at: now, asked: now };
      this.drop(); // it was a false alarm
      if (now - this.calm > calmMost) this.alarms = 0;
    } else if (silent > deaf) {
      this.again(new Error("nothing comes through any more"));
    } else {
      if (silent > alarm && now > this.calm && !this.second && !document.hidden) this.beside();
      if (now - this.heard.asked > silence) {
        this.heard.asked = now;
        this.check();
      }
    }
  }
}

// keyed gives the page's token to its links to other pages.
export function keyed(token) {
  for (const link of document.querySelectorAll("a.streams")) link.search = token ? `?token=${encodeURIComponent(token)}` : "";
}

// here tells what the page's URL asks for.
export function here() {
  const query = new URLSearchParams(location.search);
  const [, , name = ""] = location.pathname.split("/"); // /play/NAME, /obs/NAME
  const token = query.get("token") ?? "";
  query.delete("token");
  return { name, token, query, endpoint: `/whep${name ? "/" + name : ""}${query.size ? "?" + query : ""}` };
}
