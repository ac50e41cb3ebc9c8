// A call in real browsers against the real hub and relay: direct, through the relay, through every mishap.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { buildPage, servePage, startHub } from './harness.mjs';
import { thinLink } from '../lib/thin-link.mjs';
import {
  FAKE_MEDIA, HEADLESS, breakSockets, chatLines, control, figures, firstFrameAfter, instrument, path, phase, say, until,
  untilFramesMove, untilPhase, untilSound
} from '../lib/call.mjs';

const shots = process.env.UZIMA_CALL_SHOTS;
/** Figures of this run, by name. */
export const measured = {};
let hub;
let page;
let site;
let browser;
let number = 0;

/** Starts hub, relay, page and browser. */
export async function open() {
  hub = await startHub();
  page = await buildPage();
  site = await servePage(page.folder, hub, Number(process.env.UZIMA_CALL_PAGE_PORT ?? 0));
  const executablePath = process.env.UZIMA_CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/google-chrome'].find(existsSync);
  browser = await chromium.launch({ executablePath, args: [...HEADLESS, ...FAKE_MEDIA] });
}

/** What every page of a failed case knew; closes them. */
export async function report() {
  const lines = [];
  for (const context of browser.contexts()) {
    for (const tab of context.pages()) {
      lines.push(await tab.evaluate(() => JSON.stringify({ ...window.call?.state, devices: undefined })).catch(() => 'gone'));
      lines.push(JSON.stringify(await figures(tab).catch(() => null)));
    }
    await context.close();
  }
  return lines.join('\n');
}

export async function close() {
  await browser?.close();
  site?.stop();
  hub?.stop();
  await page?.remove();
}

/** A visit with both sides in it, not yet admitted. */
async function visit({ relay = false, query = '' } = {}) {
  const consultation = `visit-${(number += 1)}`;
  const sides = {};
  for (const [role, display, viewport] of [
    ['patient', 'Amina Wanjiru', { width: 360, height: 740 }],
    ['clinician', 'Dr Otieno', { width: 1280, height: 800 }]
  ]) {
    const context = await browser.newContext({ viewport, permissions: ['camera', 'microphone'] });
    await instrument(context, { relay });
    const tab = await context.newPage();
    tab.on('pageerror', (error) => console.error(`  [${role}]`, error.message));
    if (process.env.UZIMA_CALL_VERBOSE) tab.on('console', (message) => console.log(`  [${role}]`, message.text()));
    const parameters = new URLSearchParams({ consultation, role, account: `${role}-${number}`, display, ws: hub.ws });
    await tab.goto(`${site.url}/?${parameters}${query}`);
    sides[role] = tab;
  }
  const { patient, clinician } = sides;
  const tell = (action, more = {}) => hub.tell({ do: action, consultation, ...more });
  return {
    consultation, patient, clinician, both: [patient, clinician], tell,
    async admit() {
      await untilPhase(patient, 'waiting');
      await untilPhase(clinician, 'waiting');
      // The connection is there before anybody is admitted, and carries nothing.
      for (const one of [patient, clinician]) {
        await until('a connection in the waiting room', async () => (await figures(one))?.state === 'connected');
      }
      assert.equal((await figures(patient)).framesSent, 0, 'nothing is sent before admission');
      const at = Date.now();
      await tell('admit');
      for (const one of [patient, clinician]) await untilPhase(one, 'active');
      return at;
    },
    close: () => Promise.all([patient.context().close(), clinician.context().close()])
  };
}

async function shot(tab, name) {
  if (!shots) return;
  await mkdir(shots, { recursive: true });
  await tab.screenshot({ path: join(shots, `${name}.png`) });
}

/** Counters of the sound that arrives. */
const concealment = (tab) => tab.evaluate(async () => {
  const connection = window.__connections.filter((one) => one.connectionState !== 'closed').at(-1);
  const stat = [...(await connection.getStats()).values()].find((one) => one.type === 'inbound-rtp' && one.kind === 'audio');
  return {
    all: stat.totalSamplesReceived, concealed: stat.concealedSamples - (stat.silentConcealedSamples ?? 0),
    buffered: stat.jitterBufferDelay, emitted: stat.jitterBufferEmittedCount
  };
});
const percent = (from, to) => ({
  concealed: Math.round((1000 * (to.concealed - from.concealed)) / (to.all - from.all)) / 10,
  bufferMs: Math.round((1000 * (to.buffered - from.buffered)) / Math.max(1, to.emitted - from.emitted))
});

export const cases = {
  async 'direct call: pictures, sound, waiting room'() {
    const call = await visit();
    await untilPhase(call.patient, 'waiting');
    await call.tell('position', { position: 1 });
    await call.patient.getByText('You are next.').waitFor();
    await shot(call.patient, 'waiting-360');
    const at = await call.admit();
    for (const [name, side] of [['patient', call.patient], ['clinician', call.clinician]]) {
      await untilFramesMove(side);
      await untilSound(side);
      measured[`first frame, direct, ${name}`] = Math.round(await firstFrameAfter(side, at));
      assert.equal(await path(side), 'direct');
    }
    await until('a word for the quality', () => call.patient.getByTestId('call-quality').count());
    await shot(call.patient, 'active-360');
    await shot(call.clinician, 'active-1280');
    await call.close();
  },

  async 'forced relay: every byte goes through our own relay'() {
    const before = await hub.tell({ do: 'metrics' });
    const call = await visit({ relay: true });
    const at = await call.admit();
    for (const [name, side] of [['patient', call.patient], ['clinician', call.clinician]]) {
      await untilFramesMove(side);
      await untilSound(side);
      measured[`first frame, relay, ${name}`] = Math.round(await firstFrameAfter(side, at));
      const now = await figures(side);
      assert.deepEqual([now.local, now.remote], ['relay', 'relay']);
    }
    const after = await hub.tell({ do: 'metrics' });
    assert.ok(after.to_peers - before.to_peers > 50_000, 'the relay carried it');
    await call.close();
  },

  async 'the relay works where UDP is blocked'() {
    site.server.only = 'transport=tcp';
    try {
      const call = await visit({ relay: true });
      const at = await call.admit();
      for (const side of call.both) {
        await untilFramesMove(side);
        await untilSound(side);
        assert.equal((await figures(side)).relayProtocol, 'tcp');
      }
      measured['first frame, relay by TCP, patient'] = Math.round(await firstFrameAfter(call.patient, at));
      await call.close();
    } finally {
      site.server.only = undefined;
    }
  },

  async 'a flood of garbage does not hurt a call'() {
    const call = await visit({ relay: true });
    await call.admit();
    for (const side of call.both) await untilFramesMove(side);
    // A busy machine loses packets by itself; what counts is what the flood adds.
    const all = () => Promise.all(call.both.map(figures));
    const lossBetween = (from, to) => to.map((now, index) => {
      const lost = now.packetsLost - from[index].packetsLost;
      return (100 * lost) / Math.max(1, lost + now.packetsReceived - from[index].packetsReceived);
    });
    const calmBegin = await all();
    await new Promise((done) => setTimeout(done, 3000));
    const before = await all();
    const usual = lossBetween(calmBegin, before);
    const relayed = new Set();
    for (const one of before) for (const port of [one.localPort, one.remotePort]) if (port) relayed.add(port);
    const [address, port] = hub.turn.split(':');
    // A stranger: not the address that the two callers share here and are permitted by.
    const attacker = createSocket('udp4');
    await new Promise((done) => attacker.bind(0, '127.0.0.9', done));
    const junk = Array.from({ length: 64 }, (_, index) => Buffer.from(Array.from({ length: 20 + index * 15 }, (__, at) => (at * 31 + index * 7) & 255)));
    // Some of it looks like what is expected there: RTP, a STUN header, channel data.
    junk.push(Buffer.from('80e0000100000001deadbeef' + '00'.repeat(100), 'hex'), Buffer.from('000300002112a442' + '11'.repeat(12), 'hex'), Buffer.from('40000400' + 'ff'.repeat(64), 'hex'));
    let sent = 0;
    const flooding = setInterval(() => {
      for (let count = 0; count < 20; count += 1) {
        sent += 1;
        attacker.send(junk[sent % junk.length], sent % 2 ? Number(port) : [...relayed][sent % relayed.size], address);
      }
    }, 10);
    const calm = () => {
      clearInterval(flooding);
      attacker.close();
    };
    // Meanwhile somebody with a right to be in the room floods the signalling.
    const guest = await hub.tell({ do: 'grant', consultation: call.consultation, role: 'guest', account: 'flood', display: 'Flood' });
    try {
      const closed = await call.patient.evaluate(async ({ ws, grant }) => {
        const codes = [];
        for (let attempt = 0; attempt < 3; attempt += 1) {
          codes.push(await new Promise((done) => {
            const socket = new WebSocket(`${ws}${grant.ws_url}?session=${grant.session_token}&seq=0&instance=flood`);
            socket.onopen = () => {
              for (let seq = 1; seq <= 5000; seq += 1) socket.send(JSON.stringify({ type: 'offer', seq, data: { sdp: `v=0 ${seq}` } }));
            };
            socket.onclose = ({ code }) => done(code);
          }));
        }
        return codes;
      }, { ws: hub.ws, grant: guest });
      // 1006 when the socket was gone before the browser had read the close frame.
      assert.ok(closed.every((code) => code === 4029 || code === 1006), `the flood is cut off: ${closed}`);
      await until('the whole flood', async () => sent > 10_000);
    } finally {
      calm();
    }
    const after = await all();
    const flooded = lossBetween(before, after);
    measured[`loss before and under a flood of ${sent} datagrams, percent`] = [usual, flooded].map((sides) => sides.map((side) => Math.round(side * 100) / 100));
    flooded.forEach((side, index) => assert.ok(side - usual[index] < 2, `${usual} % lost before, ${flooded} % under the flood`));
    after.forEach((now) => assert.equal(now.connections, 1));
    for (const side of call.both) await untilFramesMove(side);
    await call.close();
  },

  async 'the check before the call reaches the relay'() {
    const call = await visit();
    const result = await call.patient.evaluate(() => window.checkRelay());
    assert.equal(result.ok, true, JSON.stringify(result));
    measured['relay check'] = result;
    await call.close();
  },

  async 'mute, camera off and sound only are seen by the other side'() {
    const call = await visit();
    await call.admit();
    await untilFramesMove(call.clinician);
    await control(call.patient, 'Mute').click();
    await call.clinician.getByText('Amina Wanjiru is muted').waitFor({ state: 'attached' });
    // The fake microphone beeps every second; silence is a stretch of packets, longer than that, without a beep.
    let quiet = await figures(call.clinician);
    await until('muted means silent', async () => {
      const now = await figures(call.clinician);
      if (now.audioEnergy - quiet.audioEnergy > 1e-4) quiet = now;
      return now.audioPackets - quiet.audioPackets > 100;
    });
    await call.patient.keyboard.press('m');
    await untilSound(call.clinician);
    await control(call.patient, 'Camera off').click();
    await call.clinician.getByText('Amina Wanjiru has no camera on').waitFor();
    await shot(call.clinician, 'camera-off-1280');
    await call.patient.keyboard.press('v');
    await untilFramesMove(call.clinician);
    await call.patient.evaluate(() => window.call.setAudioOnly(true));
    await call.clinician.getByText('Amina Wanjiru has no camera on').waitFor();
    await untilSound(call.clinician);
    assert.equal(await phase(call.clinician), 'active');
    await call.close();
  },

  async 'screen sharing arrives in full size and goes back to the camera'() {
    const call = await visit();
    await call.admit();
    const camera = await untilFramesMove(call.patient);
    await control(call.clinician, 'Share screen').click();
    await call.patient.getByLabel('Screen of Dr Otieno').waitFor({ state: 'attached' });
    const screen = await until('another picture size', async () => {
      const now = await figures(call.patient);
      return now.width * now.height > camera.width * camera.height * 1.2 && now;
    });
    measured['screen size'] = `${screen.width}x${screen.height}`;
    await untilFramesMove(call.patient, 3);
    await shot(call.patient, 'screen-360');
    await control(call.clinician, 'Stop sharing').click();
    await call.patient.getByLabel('Picture of Dr Otieno').waitFor({ state: 'attached' });
    await untilFramesMove(call.patient);
    await call.close();
  },

  async 'who is put out is gone at once, for both sides'() {
    const call = await visit({ relay: true });
    await call.admit();
    for (const side of call.both) await untilFramesMove(side);
    const account = new URL(call.patient.url()).searchParams.get('account');
    const { released } = await call.tell('put_out', { role: 'patient', account });
    assert.ok(released > 0, 'what her relay had opened has ended');
    await untilPhase(call.patient, 'put-out');
    const sockets = () => call.patient.evaluate(() => window.__sockets.map((one) => one.readyState));
    const closed = await sockets();
    await call.patient.getByText('You may no longer take part in this consultation.').waitFor();
    assert.equal(await call.patient.getByRole('button', { name: 'Join again' }).count(), 0);
    await call.clinician.getByText('Amina Wanjiru may no longer take part and has been disconnected.').waitFor();
    for (const side of call.both) {
      await until('no connection', async () => (await side.evaluate(() => window.__connections.every((one) => one.connectionState === 'closed'))));
    }
    await shot(call.patient, 'put-out-360');
    await shot(call.clinician, 'peer-put-out-1280');
    // Whoever comes again by herself has joined again: she does not, however long the other side goes on.
    await say(call.clinician, 'is anybody there');
    await until('the line', async () => (await chatLines(call.clinician)).includes('is anybody there'));
    assert.deepEqual(await sockets(), closed, 'no new socket');
    await call.close();
  },

  async 'a dropped socket loses no word and no picture'() {
    const call = await visit();
    await call.admit();
    await untilFramesMove(call.patient);
    await say(call.clinician, 'one');
    await until('the first line', async () => (await chatLines(call.clinician)).includes('one'));
    await call.tell('offline', { ms: 1500 });
    await say(call.clinician, 'two, without a socket');
    await say(call.patient, 'three, without a socket');
    // Peer to peer media goes on meanwhile.
    await untilFramesMove(call.patient, 5);
    await breakSockets(call.patient);
    await say(call.patient, 'four');
    for (const side of call.both) {
      const lines = await until('all lines on both sides', async () => {
        const got = await chatLines(side);
        return got.length >= 4 && got;
      });
      assert.deepEqual([...lines].sort(), ['four', 'one', 'three, without a socket', 'two, without a socket'], 'none lost, none twice');
    }
    await untilFramesMove(call.clinician, 5);
    assert.equal((await figures(call.patient)).connections, 1, 'the connection was never rebuilt');
    await shot(call.patient, 'chat-360');
    await shot(call.clinician, 'chat-1280');
    await call.close();
  },

  async 'a server restart in the middle of a call is hardly noticed'() {
    const call = await visit();
    await call.admit();
    await untilFramesMove(call.patient);
    site.server.admitted = true;
    await hub.tell({ do: 'restart' });
    for (const side of call.both) {
      await until('signalling is back', () => side.evaluate(() => window.call.state.signalling === 'open' && window.call.state.peer?.connected));
    }
    site.server.admitted = false;
    for (const side of call.both) await untilFramesMove(side, 5);
    assert.equal((await figures(call.patient)).connections, 1, 'the media connection survived');
    await say(call.patient, 'still here');
    await until('the line', async () => (await call.clinician.evaluate(() => window.call.state.chat.at(-1)?.text)) === 'still here');
    await call.close();
  },

  async 'a path that dies is replaced'() {
    const call = await visit({ relay: true });
    await call.admit();
    for (const side of call.both) await untilFramesMove(side);
    // The relay forgets the patient's addresses: what a change of network does to a path.
    const at = Date.now();
    await hub.tell({ do: 'release', account: `patient-${number}` });
    await until('it is noticed', async () => (await phase(call.patient)) === 'reconnecting' || (await phase(call.clinician)) === 'reconnecting');
    measured['path lost, noticed'] = Date.now() - at;
    await shot(call.patient, 'reconnecting-360');
    for (const side of call.both) await untilPhase(side, 'active', 15_000);
    for (const side of call.both) await untilFramesMove(side, 3, 15_000);
    measured['path lost, repaired'] = Date.now() - at;
    await call.close();
  },

  async 'either side can build the connection anew'() {
    const call = await visit();
    await call.admit();
    for (const side of call.both) await untilFramesMove(side);
    for (const side of call.both) {
      const before = (await figures(call.clinician)).connections;
      await control(side, 'More').click();
      await control(side, 'Reconnect').click();
      await until('a new connection', async () => (await figures(call.clinician)).connections > before);
      for (const one of call.both) {
        await untilPhase(one, 'active');
        await untilFramesMove(one);
        await untilSound(one);
      }
    }
    await call.close();
  },

  async 'coming online again makes a new socket and a new path at once'() {
    const call = await visit({ relay: true });
    await call.admit();
    for (const side of call.both) await untilFramesMove(side);
    await call.patient.context().setOffline(true);
    await breakSockets(call.patient);
    await hub.tell({ do: 'release', account: `patient-${number}` });
    await untilPhase(call.patient, 'reconnecting');
    const at = Date.now();
    await call.patient.context().setOffline(false);
    await untilPhase(call.patient, 'active', 15_000);
    for (const side of call.both) await untilFramesMove(side, 3, 15_000);
    measured['network back, repaired'] = Date.now() - at;
    await call.close();
  },

  async 'a reloaded page comes back into the call'() {
    const call = await visit();
    await call.admit();
    await untilFramesMove(call.clinician);
    await say(call.clinician, 'before the reload');
    const at = Date.now();
    await call.patient.reload();
    await untilPhase(call.patient, 'active');
    await untilFramesMove(call.patient);
    await untilFramesMove(call.clinician);
    measured['reload, repaired'] = Date.now() - at;
    await call.patient.locator('section.call').getByRole('button', { name: /^Chat/ }).click();
    assert.deepEqual(await chatLines(call.patient), ['before the reload']);
    await call.close();
  },

  async 'the end reaches both sides and the log'() {
    const call = await visit();
    await call.admit();
    await untilFramesMove(call.patient);
    await until('a quality figure', () => call.patient.evaluate(() => window.call.state.quality.own !== null));
    await control(call.clinician, 'End call').click();
    for (const side of call.both) await untilPhase(side, 'ended');
    await call.patient.getByText('The consultation has ended.').waitFor();
    assert.equal((await call.patient.evaluate(() => window.reports.length)) >= 1, true, 'the last figures are reported');
    const cameras = await call.patient.evaluate(() => window.call.media.camera);
    assert.equal(cameras, null, 'the camera is off');
    const { log } = await hub.tell({ do: 'log' });
    const mine = log.filter((line) => line.includes(`-${number}"`) || line === 'Admitted' || line.startsWith('Ended'));
    for (const word of ['Joined', 'Admitted', 'Left', 'Ended', 'Quality']) {
      assert.ok(mine.some((line) => line.startsWith(word)), `${word} is in the log: ${mine}`);
    }
    await shot(call.patient, 'ended-360');
    await call.close();
  }
};

/** Takes minutes and depends on chance; run by name, for figures. */
export const slow = {
  async 'a thin link keeps sound first, then a small picture'() {
    const [address, port] = hub.turn.split(':');
    const link = await thinLink({ address, port: Number(port) }, { kbps: 1500, delayMs: 40, port: Number(process.env.UZIMA_CALL_LINK_PORT ?? 0) });
    site.server.relayPort = link.port;
    try {
      const call = await visit({ relay: true });
      await call.admit();
      for (const side of call.both) await untilFramesMove(side);
      const rung = (side) => side.evaluate(() => window.call.state.rung);
      const state = async () => Promise.all(call.both.map(rung));
      measured['rungs at 1500 kbit/s'] = await state();
      // Both directions and both callers share nothing: each leg of the relay has its own link.
      const at = Date.now();
      link.set({ kbps: 90, delayMs: 150, loss: 0.01 });
      await until('a lower rung', async () => (await state()).some((one) => one <= 3), 10_000);
      measured['thin link, first step down'] = Date.now() - at;
      await until('a rung that fits', async () => (await state()).every((one) => one <= 3), 20_000);
      const sounds = await Promise.all(call.both.map(concealment));
      await new Promise((done) => setTimeout(done, 10_000));
      const after = await Promise.all(call.both.map(concealment));
      measured['90 kbit/s, 300 ms, 1 % loss: rungs'] = await state();
      measured['90 kbit/s: concealed sound, percent'] = after.map((now, index) => percent(sounds[index], now));
      measured['90 kbit/s: figures'] = await call.patient.evaluate(() => window.call.state.quality.own);
      await shot(call.clinician, 'thin-1280');
      link.set({ kbps: 32, delayMs: 200 });
      await until('no picture any more', async () => (await state()).every((one) => one <= 1), 30_000);
      await until('it is said', () => call.patient.getByText(/Your picture is paused/).count());
      const low = await Promise.all(call.both.map(concealment));
      await new Promise((done) => setTimeout(done, 10_000));
      const later = await Promise.all(call.both.map(concealment));
      measured['32 kbit/s: concealed sound, percent'] = later.map((now, index) => percent(low[index], now));
      measured['32 kbit/s: figures'] = await call.patient.evaluate(() => window.call.state.quality.own);
      for (const side of call.both) await untilSound(side);
      await shot(call.patient, 'thin-360');
      link.set({ kbps: 2000, delayMs: 20, loss: 0 });
      const back = Date.now();
      for (const side of call.both) await untilFramesMove(side, 5, 60_000);
      measured['wide again, picture back'] = Date.now() - back;
      await call.close();
    } finally {
      site.server.relayPort = undefined;
      link.stop();
    }
  },

  async 'first picture and first sound on thin links'() {
    const [address, port] = hub.turn.split(':');
    for (const [name, kbps, delayMs] of [['250 kbit/s, 300 ms', 250, 75], ['64 kbit/s, 750 ms', 64, 187]]) {
      const link = await thinLink({ address, port: Number(port) }, { kbps, delayMs, port: Number(process.env.UZIMA_CALL_LINK_PORT ?? 0) });
      site.server.relayPort = link.port;
      try {
        const call = await visit({ relay: true });
        const at = await call.admit();
        await Promise.all(call.both.map((side) => untilSound(side)));
        measured[`${name}: admit to sound on both sides`] = Date.now() - at;
        await Promise.all(call.both.map((side) => until('a picture', () => side.evaluate(() => window.__firstFrameAt), 30_000)));
        measured[`${name}: admit to first picture`] = await Promise.all(call.both.map(async (side) => Math.round(await firstFrameAfter(side, at))));
        await call.close();
      } finally {
        site.server.relayPort = undefined;
        link.stop();
      }
    }
  }
};
