// Socket.IO 4 on Node with connection state recovery: WebSocket only, no compression (its default), bufferutil where it
// is installed, and the first request of each connection is dropped, as its page on memory advises. The other engine that
// its page on performance names, eiows, has no version for Node 20. With --store it keeps events and sessions in Redis.
import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-streams-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';
import { options, run } from './work.mjs';

const MOST = 1_200_000; // events that the stream keeps: two minutes at 10,000 a second, where its default is one second
const { port, store } = options();

async function adapter() {
  const client = createClient({ url: store });
  await client.connect();
  return createAdapter(client, { maxLen: MOST, onlyPlaintext: true });
}

const http = createServer();
const io = new Server(http, {
  transports: ['websocket'],
  serveClient: false,
  httpCompression: false,
  connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true },
  ...(store ? { adapter: await adapter() } : {}),
});
io.engine.on('connection', (raw) => {
  raw.request = null;
});
io.on('connection', (socket) => {
  let seq = 0;
  socket.on('run', async (job) => {
    seq = await run(job, seq, (event) => void socket.emit('event', event));
  });
});
http.listen(Number(port), '127.0.0.1');
