// The owner's page: who watches, an end to it, and the pause.
import { header, here, keyed } from "./whep.js";

const { token } = here();
const $ = (id) => document.getElementById(id);
let paused = false;

// Not simple requests (FETCH): no page of elsewhere can send them from here.
const ask = (method, path) => fetch(path, { method, headers: header(token), cache: "no-store" });

const advice = {
  401: "This page needs the server's token:",
  403: "This page is the owner's. Open it on the machine that streams, under http://localhost; or start deskwhep with a token, and use that. A view-only link does not open it.",
};

function show({ paused: now, viewers }) {
  paused = now;
  $("pause").disabled = false;
  $("pause").textContent = paused ? "go on" : "pause";
  $("pause").setAttribute("aria-pressed", String(paused));
  const count = viewers.length === 0 ? "Nobody is watching." : viewers.length === 1 ? "One viewer." : `${viewers.length} viewers.`;
  $("note").textContent = paused ? `${count} Paused: nothing is captured, and viewers see a card that says so.` : count;
  // Buttons stay where they are, so that nobody else is ended by a late click.
  const known = new Map([...$("viewers").children].map((li) => [li.dataset.session, li]));
  for (const v of viewers) {
    const li = known.get(v.session) ?? row(v.session);
    known.delete(v.session);
    li.querySelector("strong").textContent = v.address ?? "connecting";
    li.querySelector("span").textContent = about(v);
  }
  for (const li of known.values()) li.remove();
}

function row(session) {
  const li = $("viewer").content.cloneNode(true).firstElementChild;
  li.dataset.session = session;
  const button = li.querySelector("button");
  button.setAttribute("aria-label", `end ${session}`);
  button.addEventListener("click", async () => {
    button.disabled = true;
    await ask("DELETE", `/viewers/${session}`).catch(() => {});
    load();
  });
  $("viewers").append(li);
  return li;
}

function about(v) {
  const parts = [v.stream, lasted(v.seconds), v.codecs, v.transport,
    v.connected ? `${(v.bitrate / 1e6).toFixed(2)} Mbit/s` : "no media now",
    v.rttMs > 0 ? `${v.rttMs.toFixed(v.rttMs < 10 ? 1 : 0)} ms away` : "",
    v.loss > 0 ? `${(100 * v.loss).toFixed(1)} % lost` : "", `session ${v.session}`];
  return parts.filter(Boolean).join(" · ");
}

function lasted(seconds) {
  const s = Math.floor(seconds), two = (n) => String(n).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

async function load() {
  let text = "The server cannot be reached. This page looks again each second.";
  try {
    const answer = await ask("GET", "/viewers");
    $("ask").hidden = answer.status !== 401;
    if (answer.ok) return show(await answer.json());
    text = advice[answer.status] ?? `The server answered ${answer.status}.`;
  } catch { /* it is not there */ }
  $("viewers").replaceChildren();
  $("pause").disabled = true;
  $("note").textContent = text;
}

$("pause").addEventListener("click", async () => {
  $("pause").disabled = true;
  await ask(paused ? "DELETE" : "PUT", "/pause").catch(() => {});
  load();
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const url = new URL(location.href);
  url.searchParams.set("token", $("token").value.trim());
  location.replace(url);
});
keyed(token);
load();
setInterval(() => { if (!document.hidden && $("ask").hidden) load(); }, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) load(); });
