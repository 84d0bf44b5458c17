// A WHEP player (draft-ietf-wish-whep): one connection, from POST to DELETE.

// Refusal is an answer of the server that is not 201.
export class Refusal extends Error {
  constructor(status, detail, retryAfter) {
    super(detail || `the server answered ${status}`);
    this.status = status;
    this.retryAfter = retryAfter; // seconds, or NaN
  }
}

// play connects a video element to a WHEP endpoint. The offer is posted at once,
// without candidates: the server answers on the path that the browser's checks
// take. It returns { pc, close }; ended(reason) is called once, when the
// connection is over. Errors are Refusal, or the network's.
export async function play(video, endpoint, ended) {
  const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  let location = null, over = false;
  const finish = (reason) => {
    if (over) return;
    over = true;
    pc.close();
    if (location) fetch(location, { method: "DELETE", keepalive: true }).catch(() => {});
    if (reason) ended(reason);
  };
  try {
    pc.addTransceiver("video", { direction: "recvonly" });
    pc.addTransceiver("audio", { direction: "recvonly" });
    pc.ontrack = ({ track, streams, receiver }) => {
      if (track.kind === "video") {
        if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
        video.srcObject = new MediaStream([track]);
      }
    };
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === "failed" || pc.connectionState === "closed") finish("the connection was lost");
    };
    await pc.setLocalDescription();
    const answer = await fetch(endpoint, {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: pc.localDescription.sdp,
    });
    if (answer.status !== 201) {
      const problem = await answer.json().catch(() => ({}));
      throw new Refusal(answer.status, problem.detail, Number(answer.headers.get("Retry-After") ?? NaN));
    }
    location = new URL(answer.headers.get("Location"), answer.url);
    await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  } catch (error) {
    finish();
    throw error;
  }
  return { pc, close: () => finish() };
}
