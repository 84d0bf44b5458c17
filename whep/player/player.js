import { play, Refusal } from "./whep.js";

const $ = (id) => document.getElementById(id);
const video = $("video");
const stream = location.pathname.match(/^\/play\/([^/]+)$/)?.[1];
const endpoint = (stream ? `/whep/${stream}` : "/whep") + location.search;

let connection = null;
let pause = 0; // ms before the next try
let timer = 0;

function show(state, message = "") {
  $("state").dataset.state = state;
  $("state").textContent = state;
  $("message").textContent = message;
}

async function connect() {
  clearTimeout(timer);
  connection?.close();
  connection = null;
  try {
    connection = await play(video, endpoint, (reason) => again(reason));
  } catch (error) {
    if (error instanceof Refusal) refused(error);
    else again("the server cannot be reached");
  }
}

function refused(error) {
  switch (error.status) {
    case 401:
      return show("failed", "This link has no valid token. Open the link that deskwhep printed when it started.");
    case 404:
    case 415:
    case 422:
      return show("failed", `This page cannot play the stream: ${error.message}.`);
    default:
      again(error.message, error.retryAfter * 1000);
  }
}

// again tries again soon, and less often the longer it lasts.
function again(reason, least = 0) {
  connection = null;
  pause = Math.max(Math.min(pause * 1.5 + 250, 2500), least || 0);
  show("connecting", `Reconnecting: ${reason}.`);
  timer = setTimeout(connect, pause);
}

// A laptop that slept or changed its network should not wait for timeouts.
addEventListener("online", () => again("the network is back"));
addEventListener("pagehide", () => connection?.close());
addEventListener("pageshow", (event) => { if (event.persisted) connect(); });

let last = null; // the statistics of a second ago
async function measure() {
  const report = connection && [...(await connection.pc.getStats()).values()];
  const rtp = report?.find((r) => r.type === "inbound-rtp" && r.kind === "video");
  if (!rtp) { last = null; return; }
  if (video.videoWidth) $("size").textContent = `${video.videoWidth}×${video.videoHeight}`;
  const codec = report.find((r) => r.id === rtp.codecId);
  if (codec) $("codec").textContent = codec.mimeType.split("/")[1];
  if (last && rtp.timestamp > last.timestamp) {
    const seconds = (rtp.timestamp - last.timestamp) / 1000;
    $("fps").textContent = `${Math.round((rtp.framesDecoded - last.framesDecoded) / seconds)} fps`;
    $("rate").textContent = `${((rtp.bytesReceived - last.bytesReceived) * 8 / seconds / 1e6).toFixed(2)} Mbit/s`;
  }
  last = rtp;
}
setInterval(() => measure().catch(() => {}), 1000);

video.addEventListener("playing", () => { pause = 0; show("playing"); });
video.addEventListener("resize", () => { $("size").textContent = `${video.videoWidth}×${video.videoHeight}`; });

function scale() {
  const pixels = document.body.classList.toggle("pixels");
  $("scale").textContent = pixels ? "1:1" : "fit";
}
function full() {
  if (document.fullscreenElement) document.exitFullscreen();
  else video.requestFullscreen?.();
}
$("scale").addEventListener("click", scale);
$("full").addEventListener("click", full);
video.addEventListener("dblclick", full);
addEventListener("keydown", (event) => { if (event.key === "f" && !event.ctrlKey && !event.metaKey) scale(); });

connect();
