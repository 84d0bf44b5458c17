// The page for OBS and other mixers: nothing but the picture, and nothing at all
// while there is none. It never gives up,
// unless the owner has ended it.
import { Player, here } from "./whep.js";

const { token, endpoint } = here();
const body = document.body;
const player = new Player(document.getElementById("video"), endpoint, token, (state, error) => {
  body.dataset.state = state;
  body.dataset.reason = error?.message ?? ""; // for the inspector
  if (state === "failed" && error.status !== 410) setTimeout(() => player.start(), 5000);
});
player.start();
