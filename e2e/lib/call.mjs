// What a test needs to know about a call in a page. Works on every page that shows the call surface: the connections
// and sockets are found by wrapping the browser's own constructors, so the product needs no test hooks.

/** Chromium's switches for a call without devices: moving picture, beeping sound, no questions. */
export const FAKE_MEDIA = [
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
  '--auto-select-desktop-capture-source=Entire screen',
  '--autoplay-policy=no-user-gesture-required',
  // Loopback addresses would otherwise hide behind mDNS names, which headless machines cannot resolve.
  '--disable-features=WebRtcHideLocalIpsWithMdns'
];

/** Switches of every Chromium of the tests. */
export const HEADLESS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-background-timer-throttling',
  '--disable-renderer-backgrounding',
  '--disable-backgrounding-occluded-windows'
];

/** Must be called for a context before its pages open. `relay` forces every call of the context through the relay. */
export async function instrument(context, { relay = false } = {}) {
  await context.addInitScript((forced) => {
    if (forced) localStorage.setItem('uzima.call.ice', 'relay');
    window.__connections = [];
    const Connection = window.RTCPeerConnection;
    window.RTCPeerConnection = class extends Connection {
      constructor(...parameters) {
        super(...parameters);
        window.__connections.push(this);
      }
    };
    window.__sockets = [];
    const Socket = window.WebSocket;
    window.WebSocket = class extends Socket {
      constructor(...parameters) {
        super(...parameters);
        window.__sockets.push(this);
      }
    };
    // The moment of the first decoded picture, whenever and wherever the call's video element appears.
    const seen = new WeakSet();
    setInterval(() => {
      for (const video of document.querySelectorAll('[data-testid="remote-video"]')) {
        if (seen.has(video)) continue;
        seen.add(video);
        const count = (_, metadata) => {
          window.__firstFrameAt ??= performance.timeOrigin + performance.now();
          window.__frames = (window.__frames ?? 0) + 1;
          window.__lastFrame = { width: metadata.width, height: metadata.height, at: Date.now() };
          video.requestVideoFrameCallback(count);
        };
        video.requestVideoFrameCallback(count);
      }
    }, 20);
  }, relay);
}

/** Polls `probe` until it is truthy and returns its value; the error names what was waited for and the last value. */
export async function until(what, probe, limitMs = 20_000) {
  const end = Date.now() + limitMs;
  let last;
  for (;;) {
    last = await probe();
    if (last) return last;
    if (Date.now() > end) throw new Error(`${what}: not within ${limitMs} ms (last: ${JSON.stringify(last)})`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** `idle`, `joining`, `waiting`, `connecting`, `active`, `reconnecting`, `ended` … as the surface shows it. */
export const phase = (page) => page.locator('section.call').getAttribute('data-phase');
export const untilPhase = (page, wanted, limitMs) => until(`phase ${wanted}`, async () => (await phase(page)) === wanted, limitMs);

/** Figures of the newest open connection of a page; null when there is none. */
export function figures(page) {
  return page.evaluate(async () => {
    const connection = window.__connections.filter((one) => one.connectionState !== 'closed').at(-1);
    if (!connection) return null;
    const stats = [...(await connection.getStats()).values()];
    const of = (type, kind) => stats.find((stat) => stat.type === type && (!kind || stat.kind === kind)) ?? {};
    const transport = of('transport');
    const pair = stats.find((stat) => stat.id === transport.selectedCandidatePairId) ?? {};
    const candidate = (id) => stats.find((stat) => stat.id === id) ?? {};
    return {
      state: connection.connectionState,
      connections: window.__connections.length,
      framesDecoded: of('inbound-rtp', 'video').framesDecoded ?? 0,
      width: of('inbound-rtp', 'video').frameWidth ?? 0,
      height: of('inbound-rtp', 'video').frameHeight ?? 0,
      framesSent: of('outbound-rtp', 'video').framesSent ?? 0,
      videoActive: of('outbound-rtp', 'video').active,
      audioEnergy: of('inbound-rtp', 'audio').totalAudioEnergy ?? 0,
      audioPackets: of('inbound-rtp', 'audio').packetsReceived ?? 0,
      bytesReceived: transport.bytesReceived ?? 0,
      local: candidate(pair.localCandidateId).candidateType,
      remote: candidate(pair.remoteCandidateId).candidateType,
      localPort: candidate(pair.localCandidateId).port,
      remotePort: candidate(pair.remoteCandidateId).port,
      packetsReceived: stats.filter((stat) => stat.type === 'inbound-rtp').reduce((sum, stat) => sum + (stat.packetsReceived ?? 0), 0),
      packetsLost: stats.filter((stat) => stat.type === 'inbound-rtp').reduce((sum, stat) => sum + (stat.packetsLost ?? 0), 0),
      relayProtocol: candidate(pair.localCandidateId).relayProtocol,
      rttMs: Math.round((pair.currentRoundTripTime ?? 0) * 1000)
    };
  });
}

/** Waits until `count` more pictures have been decoded and shown; returns the figures. */
export async function untilFramesMove(page, count = 10, limitMs = 20_000) {
  const before = { ...(await figures(page)), shown: await page.evaluate(() => window.__frames ?? 0) };
  return until(
    `${count} more pictures`,
    async () => {
      const now = await figures(page);
      const shown = await page.evaluate(() => window.__frames ?? 0);
      const decoded = now && now.connections === before.connections ? now.framesDecoded - before.framesDecoded : now?.framesDecoded;
      return decoded >= count && shown - before.shown >= count / 2 ? now : false;
    },
    limitMs
  );
}

/** Waits until the sound that arrives is more than silence. */
export async function untilSound(page, limitMs = 20_000) {
  const before = (await figures(page))?.audioEnergy ?? 0;
  return until('sound', async () => ((await figures(page))?.audioEnergy ?? 0) > before + 1e-4, limitMs);
}

/** Milliseconds from `since` (Date.now()) to the first picture on the page; NaN while there is none. */
export const firstFrameAfter = (page, since) => page.evaluate((at) => window.__firstFrameAt - at, since);

/** `relay` if either end of the path is a relay. */
export async function path(page) {
  const { local, remote } = await figures(page);
  return [local, remote].includes('relay') ? 'relay' : 'direct';
}

/** Breaks every open socket of the page as a bad network would; the page is told nothing but the break. */
export const breakSockets = (page) => page.evaluate(() => window.__sockets.filter((one) => one.readyState <= 1).forEach((one) => one.close()));

/** The controls, by what a person reads on them (English). */
export const control = (page, name) => page.locator('section.call').getByRole('button', { name, exact: true });

/** Opens the chat if it is closed and sends a line. */
export async function say(page, text) {
  const field = page.getByPlaceholder('Write a message');
  if (!(await field.isVisible())) await page.locator('section.call').getByRole('button', { name: /^Chat/ }).click();
  await field.fill(text);
  await field.press('Enter');
}

/** The lines of the chat in view. */
export const chatLines = (page) => page.locator('section.call [role="log"] .line p').allTextContents();
