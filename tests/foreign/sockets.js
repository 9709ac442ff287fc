/**
 * A client that keeps what it receives, on a WebSocket as browsers have it: for pages, and for the package ws.
 *
 * @param {typeof WebSocket} WebSocket the class to use
 */
// eslint-disable-next-line no-unused-vars
function socketOf(WebSocket, url) {
  const socket = new WebSocket(url, ["greenroom.v1"]);
  const inbox = [];
  let wake = () => {};
  let end = null;
  let pongs = 0;
  const note = (change) => (event) => {
    change(event);
    wake();
  };
  const until = async (ready) => {
    while (!ready()) {
      await new Promise((resolve, reject) => {
        wake = resolve;
        setTimeout(() => reject(new Error("nothing came")), 20_000).unref?.();
      });
    }
  };
  socket.onopen = note(() => {});
  socket.onmessage = note((event) => inbox.push(event.data));
  socket.onclose = note((event) => (end = [event.code, event.reason]));
  socket.onerror = () => {}; // the close follows
  socket.on?.("pong", note(() => (pongs += 1)));
  return {
    opened: async () => {
      await until(() => socket.readyState);
      return [socket.protocol, socket.extensions];
    },
    send: (text) => socket.send(text),
    sendBytes: (bytes) => socket.send(new Uint8Array(bytes)),
    receive: async () => {
      await until(() => inbox.length || end);
      return inbox.length ? inbox.shift() : null;
    },
    ping: async () => {
      const before = pongs;
      socket.ping();
      await until(() => pongs > before || end);
      return pongs > before;
    },
    close: async (code, reason) => {
      socket.close(code, reason);
      await until(() => end);
    },
    ended: async () => {
      await until(() => end);
      return end;
    },
  };
}
