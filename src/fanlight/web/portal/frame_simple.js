// Shows a stream of JPEG stripes and types into it: what the simulated engine draws. No sound, no files; for trying
// Fanlight without a display server. The protocol is the one that the real client speaks.

const JPEG_STRIPE = 3;
const HEAD_IN_BYTES = 6; // type, flags, frame id (2), y (2)
const LONGEST_PAUSE_IN_MS = 3000;

const canvas = document.getElementById("picture");
const context = canvas.getContext("2d", { alpha: false });
let socket = null;
let pause = 400;
let isDone = false;
let lastFrame = -1;
let told = "";

const tell = (message) => parent.postMessage({ from: "fanlight-frame", ...message }, location.origin);

function say(state) {
  if (state !== told) {
    told = state;
    tell({ type: "state", state });
  }
}

async function draw(data) {
  const head = new DataView(data, 0, HEAD_IN_BYTES);
  const y = head.getUint16(4);
  const picture = await createImageBitmap(new Blob([data.slice(HEAD_IN_BYTES)], { type: "image/jpeg" }));
  if (canvas.width !== picture.width) canvas.width = picture.width;
  if (canvas.height < y + picture.height) canvas.height = y + picture.height;
  context.drawImage(picture, 0, y);
  picture.close();
  lastFrame = head.getUint16(2);
  say("streaming");
}

function onMessage(event) {
  if (typeof event.data === "string") {
    if (event.data.startsWith("KILL ")) {
      isDone = true;
      tell({ type: "killed" });
    }
    return;
  }
  if (event.data.byteLength > HEAD_IN_BYTES && new Uint8Array(event.data, 0, 1)[0] === JPEG_STRIPE) {
    draw(event.data).catch(() => {}); // a broken stripe is a gap in the picture, no more
  }
}

function connect() {
  const url = new URL("api/websockets", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    pause = 400;
    const settings = { displayId: "primary", initialClientWidth: innerWidth, initialClientHeight: innerHeight, encoder: "jpeg" };
    socket.send(`SETTINGS,${JSON.stringify(settings)}`);
    socket.send("START_VIDEO");
    say("connected");
  };
  socket.onmessage = onMessage;
  socket.onclose = () => {
    say("disconnected");
    if (isDone) return;
    setTimeout(connect, pause);
    pause = Math.min(pause * 2, LONGEST_PAUSE_IN_MS);
  };
}

setInterval(() => {
  if (lastFrame >= 0) send(`CLIENT_FRAME_ACK ${lastFrame} 0`);
}, 50);

const NAMED = { Enter: 0xff0d, Backspace: 0xff08, Tab: 0xff09, Escape: 0xff1b, Delete: 0xffff, ArrowLeft: 0xff51, ArrowUp: 0xff52, ArrowRight: 0xff53, ArrowDown: 0xff54 };

function keysymOf(key) {
  if ([...key].length !== 1) return NAMED[key];
  const code = key.codePointAt(0);
  return code < 0x100 ? code : 0x01000000 + code; // Latin-1 characters are their own keysyms
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(message);
}

function press(keysyms) {
  for (const keysym of keysyms) send(`kd,${keysym}`);
  for (const keysym of [...keysyms].reverse()) send(`ku,${keysym}`);
}

window.addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.altKey && event.code === "Home") {
    tell({ type: "focus-toolbar" });
    event.preventDefault();
    return;
  }
  const keysym = keysymOf(event.key);
  if (event.isComposing || keysym === undefined) return;
  press([keysym]);
  event.preventDefault();
});

window.fanlight = {
  canUpload: false,
  press,
  ask() {},
  chooseUploads() {},
  focus() { canvas.focus(); },
  statistics() { return {}; },
};

connect();
