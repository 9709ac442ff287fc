// Socket.IO 4 on Node with connection state recovery: WebSocket only, no compression (its default), bufferutil where it
// is installed, and the first request of each connection is dropped, as its page on memory advises. The other engine that
// its page on performance names, eiows, has no version for Node 20.
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { options, run } from './work.mjs';

const http = createServer();
const io = new Server(http, {
  transports: ['websocket'],
  serveClient: false,
  httpCompression: false,
  connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true },
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
http.listen(Number(options().port), '127.0.0.1');
