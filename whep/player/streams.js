// The list of streams: where to watch each, and what other programs need.
import { header, here } from "./whep.js";

const { token } = here();
const $ = (id) => document.getElementById(id);
const key = token ? `?token=${encodeURIComponent(token)}` : "";
const at = (path) => location.origin + path;

// snippets are what the programs' own settings look like.
const snippets = {
  obs: (s) => at(s.obs) + key,
  mediamtx: (s) => `paths:\n  ${s.name}:\n    source: ${at(s.whep).replace(/^http/, "whep")}?codec=h264` + (token ? `\n    whepBearerToken: ${token}` : ""),
  go2rtc: (s) => `streams:\n  ${s.name}: webrtc:${at(s.whep)}${key}`,
  gstreamer: (s) => `gst-launch-1.0 whepclientsrc signaller::whep-endpoint="${at(s.whep)}"` +
    (token ? ` signaller::auth-token="${token}"` : "") + " ! videoconvert ! autovideosink",
  whepsrc: (s) => `gst-launch-1.0 whepsrc whep-endpoint="${at(s.whep)}"` + (token ? ` auth-token="${token}"` : "") +
    ' audio-caps="application/x-rtp,payload=111,encoding-name=OPUS,media=audio,clock-rate=48000"' +
    ' video-caps="application/x-rtp,payload=96,encoding-name=VP8,media=video,clock-rate=90000"' +
    " ! rtpvp8depay ! vp8dec ! videoconvert ! autovideosink",
  ffmpeg: (s) => `ffplay -fflags nobuffer rtsp://127.0.0.1:8554/${s.name}`,
};

function show(list) {
  $("note").textContent = list.streams.length ? "" : "There are no streams.";
  $("streams").replaceChildren(...list.streams.map((s) => {
    const article = $("stream").content.cloneNode(true).firstElementChild;
    article.id = s.name;
    const watch = article.querySelector(".watch");
    watch.textContent = s.name;
    watch.href = s.player + key;
    article.querySelector(".about").textContent = about(s);
    article.querySelector(".urls").append(...url("Player", at(s.player) + key), ...url("WHEP", at(s.whep) + key), ...url("OBS", at(s.obs) + key));
    for (const pre of article.querySelectorAll("pre")) {
      pre.textContent = snippets[pre.dataset.snippet](s);
      pre.before(copier(() => pre.textContent));
    }
    return article;
  }));
}

function about(s) {
  const parts = [s.size ? `${s.size[0]}×${s.size[1]}` : "", `${s.fps} fps at most`, s.codecs.join(", "), s.viewers === 1 ? "1 viewer" : `${s.viewers} viewers`];
  return parts.filter(Boolean).join(" · ") + (s.trouble ? `. Viewers see a card now: ${s.trouble}.` : "");
}

function url(name, text) {
  const dt = document.createElement("dt"), dd = document.createElement("dd"), code = document.createElement("code");
  dt.textContent = name;
  code.textContent = text;
  dd.append(code, copier(() => text));
  return [dt, dd];
}

// copier is a button that copies a text, also where pages without HTTPS may not
// use the clipboard.
function copier(text) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "copy";
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text())) ? "copied" : "select it and press Ctrl-C";
    setTimeout(() => { button.textContent = "copy"; }, 2000);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

async function load() {
  const answer = await fetch("/streams", { headers: header(token), cache: "no-store" });
  if (answer.status === 401) $("note").textContent = "This link has no valid token, or it has expired. Ask for a new link.";
  else if (!answer.ok) $("note").textContent = `The server answered ${answer.status}.`;
  else show(await answer.json());
}
load().catch(() => { $("note").textContent = "The server cannot be reached. Reload the page when it is back."; });
