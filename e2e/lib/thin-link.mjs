// A thin, slow, lossy link for UDP, without root: a proxy in front of the relay. Calls that are forced through the relay
// by UDP then live on such a link. (Shaping in the kernel needs modules that not every machine has.)
import { createSocket } from 'node:dgram';

/**
 * `kbps` per direction, `delayMs` one way, `loss` 0–1, `queueMs` how much may wait before the tail is dropped.
 * Returns the port to use instead of the target's, `set` to change the link meanwhile, and counters.
 */
export async function thinLink(target, initial) {
  const link = { kbps: 1000, delayMs: 0, loss: 0, queueMs: 500, ...initial };
  const counters = { up: 0, down: 0, dropped: 0, packets: 0 };
  const outside = createSocket('udp4');
  const clients = new Map();
  let stopped = false;
  // IP and UDP headers travel too.
  const HEADERS = 28;
  const pipe = () => {
    let freeAt = 0;
    return (bytes, deliver) => {
      counters.packets += 1;
      const now = performance.now();
      const waits = Math.max(0, freeAt - now);
      if (Math.random() < link.loss || waits > link.queueMs) {
        counters.dropped += 1;
        return;
      }
      freeAt = now + waits + ((bytes + HEADERS) * 8) / link.kbps;
      setTimeout(() => stopped || deliver(), freeAt - now + link.delayMs);
    };
  };
  outside.on('message', (message, from) => {
    const key = `${from.address}:${from.port}`;
    let client = clients.get(key);
    if (!client) {
      const inside = createSocket('udp4');
      // All sockets of one browser context share its link; contexts are told apart by nobody here, so each has its own.
      client = { inside, up: pipe(), down: pipe() };
      clients.set(key, client);
      inside.on('message', (answer) => {
        client.down(answer.length, () => {
          counters.down += answer.length + HEADERS;
          outside.send(answer, from.port, from.address);
        });
      });
      inside.on('error', () => undefined);
    }
    client.up(message.length, () => {
      counters.up += message.length + HEADERS;
      client.inside.send(message, target.port, target.address);
    });
  });
  await new Promise((done) => outside.bind(initial.port ?? 0, '127.0.0.1', done));
  return {
    port: outside.address().port,
    counters,
    set: (change) => Object.assign(link, change),
    stop() {
      stopped = true;
      outside.close();
      for (const { inside } of clients.values()) inside.close();
    }
  };
}
