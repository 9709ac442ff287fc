// ws on Node: no compression, bufferutil where it is installed. `send` never waits: what a client does not read gathers
// in the socket, without a bound; with --queued it goes through ws's own stream, whose buffer is bounded (16 KiB).
import { once } from 'node:events';
import { createWebSocketStream, WebSocketServer } from 'ws';
import { options, run } from './work.mjs';

const { port, queued } = options();
const server = new WebSocketServer({ host: '127.0.0.1', port: Number(port), perMessageDeflate: false });

function bounded(socket) {
  const stream = createWebSocketStream(socket, { decodeStrings: false, readableObjectMode: true });
  stream.on('error', () => socket.terminate());
  return [stream, (event) => (stream.write(JSON.stringify(event)) ? undefined : once(stream, 'drain'))];
}

server.on('connection', (socket) => {
  let seq = 0;
  const start = async (message) => {
    seq = await run(JSON.parse(message), seq, send);
  };
  let send = (event) => socket.send(JSON.stringify(event));
  if (queued) {
    let stream;
    [stream, send] = bounded(socket);
    stream.on('data', start);
  } else {
    socket.on('message', start);
  }
});
