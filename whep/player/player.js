import { Player, header, here, keyed } from "./whep.js";
import { Latency } from "./latency.js";
import { Statistics } from "./stats.js";

const $ = (id) => document.getElementById(id);
const video = $("video");
const { name, token, query } = here();
const latency = new Latency(video, token);
const statistics = new Statistics($("statistics"), latency);

const endpoint = () => `/whep${name ? "/" + name : ""}${query.size ? "?" + query : ""}`;
const player = new Player(video, endpoint(), token, changed);

// What people can do about an answer that ends all tries.
const advice = {
  401: "This link has no valid token, or it has expired. Ask for a new link, or give the token:",
  403: "This server plays only for its own pages.",
  404: "There is no stream of this name here. See the list of streams.",
  410: "The owner of the screen has ended this. To ask again, reload the page.",
  422: "This browser cannot play the stream with this choice of codec. Choose another, or auto.",
};

function changed(state, error) {
  $("state").dataset.state = state;
  $("state").textContent = error?.status === 410 ? "ended" : state;
  let text = "";
  if (state === "failed") text = advice[error.status] ?? `This page cannot play the stream: ${error.message}.`;
  else if (error?.status === 503) text = `No place is free. This page tries again by itself. The server says: ${error.message}.`;
  else if (error) text = `Reconnecting: ${error.message}.`;
  else if (state === "connecting" && !video.videoWidth) text = "Connecting…";
  $("message").firstElementChild.textContent = text;
  $("message").hidden = text === "" && state !== "failed";
  $("ask").hidden = !(state === "failed" && error.status === 401);
  $("list").hidden = !(state === "failed" && error.status === 404);
  document.body.classList.toggle("stale", state !== "playing");
  if (state !== "playing") {
    statistics.reset();
    for (const id of ["fps", "rate", "latency"]) $(id).textContent = "";
    return;
  }
  latency.receiver = player.connection.receiver;
}

async function measure() {
  const connection = player.connection;
  if (!connection) return;
  latency.sync().catch(() => {});
  const now = await statistics.read(connection.pc, video);
  for (const [id, text] of Object.entries(now ?? {})) $(id).textContent = text;
}
setInterval(() => measure().catch(() => {}), 1000);

// The menu of codecs, and the link to the other streams.
async function describe() {
  const answer = await fetch("/streams", { headers: header(token) });
  if (!answer.ok) return;
  const list = await answer.json();
  const stream = list.streams.find((s) => s.name === (name || list.default));
  if (!stream) return;
  document.title = `${stream.name} – deskwhep`;
  for (const codec of stream.codecs) $("codecs").add(new Option(codec.toUpperCase(), codec));
  $("codecs").value = query.get("codec")?.toLowerCase() ?? "";
}

function choose() {
  if ($("codecs").value) query.set("codec", $("codecs").value);
  else query.delete("codec");
  const url = new URL(location.href);
  if ($("codecs").value) url.searchParams.set("codec", $("codecs").value);
  else url.searchParams.delete("codec");
  history.replaceState(null, "", url);
  player.endpoint = endpoint();
  player.start();
}

function scale() {
  const pixels = document.body.classList.toggle("pixels");
  // One pixel of the stream on one of the screen, also where the page is scaled.
  video.style.width = pixels ? `${video.videoWidth / devicePixelRatio}px` : "";
  $("scale").textContent = pixels ? "1:1" : "fit";
}
function full() {
  if (document.fullscreenElement) document.exitFullscreen();
  else if (document.documentElement.requestFullscreen) document.documentElement.requestFullscreen();
  else video.webkitEnterFullscreen?.(); // iPhones show only the video so
}
function numbers() {
  $("statistics").hidden = !$("statistics").hidden;
  $("numbers").setAttribute("aria-pressed", String(!$("statistics").hidden));
  measure().catch(() => {});
}

video.addEventListener("resize", () => {
  $("size").textContent = `${video.videoWidth}×${video.videoHeight}`;
  if (document.body.classList.contains("pixels")) video.style.width = `${video.videoWidth / devicePixelRatio}px`;
});
document.addEventListener("fullscreenchange", () => document.body.classList.toggle("full", Boolean(document.fullscreenElement)));
$("codecs").addEventListener("change", choose);
$("scale").addEventListener("click", scale);
$("full").addEventListener("click", full);
$("numbers").addEventListener("click", numbers);
video.addEventListener("dblclick", full);
video.addEventListener("click", () => video.play().catch(() => {})); // where pages may not start it
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const url = new URL(location.href);
  url.searchParams.set("token", $("token").value.trim());
  location.replace(url);
});
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(event.target.tagName)) return;
  ({ f: full, 1: scale, s: numbers })[event.key]?.();
});
keyed(token);

player.start();
describe().catch(() => {});
