// The check before a call: does the camera deliver pictures, does the microphone hear, does the relay carry data.

import type { IceServer } from './protocol';

export interface RelayResult {
  ok: boolean;
  /** How the browser reached the relay. */
  transport?: 'udp' | 'tcp' | 'tls';
  /** Round trip through the relay and back. */
  rttMs?: number;
  /** Kilobits per second that went through; a floor, because the test is short. */
  kbps?: number;
  /** `no-relay`: none configured; `unreachable`: no relay candidate; `blocked`: a candidate but no data. */
  problem?: 'no-relay' | 'unreachable' | 'blocked';
}

const RELAY_MS = 10_000;
const ECHOES = 5;
const CHUNK_BYTES = 1100;
const BURST_BYTES = 32 * 1024;

/** Sends data to ourselves through the relay: two connections in this page that may use nothing else. */
export async function checkRelay(iceServers: IceServer[], limitMs = RELAY_MS): Promise<RelayResult> {
  if (!iceServers.some((server) => server.urls.some((url) => /^turns?:/.test(url)))) {
    return { ok: false, problem: 'no-relay' };
  }
  const configuration: RTCConfiguration = { iceServers, iceTransportPolicy: 'relay' };
  const near = new RTCPeerConnection(configuration);
  const far = new RTCPeerConnection(configuration);
  let gathered = false;
  let transport: RelayResult['transport'];
  const connect = (from: RTCPeerConnection, to: RTCPeerConnection) => {
    from.onicecandidate = ({ candidate }) => {
      if (!candidate) return;
      gathered = true;
      transport ??= (candidate as RTCIceCandidate & { relayProtocol?: RelayResult['transport'] }).relayProtocol ?? undefined;
      to.addIceCandidate(candidate).catch(() => undefined);
    };
  };
  connect(near, far);
  connect(far, near);
  try {
    const channel = near.createDataChannel('check', { ordered: false, maxRetransmits: 0 });
    far.ondatachannel = ({ channel: other }) => {
      other.onmessage = ({ data }) => {
        if (typeof data === 'string') other.send(data);
        else received(data as ArrayBuffer);
      };
    };
    let bytes = 0;
    let lastAt = 0;
    const received = (data: ArrayBuffer) => {
      lastAt = performance.now();
      bytes += data.byteLength;
    };
    const opened = new Promise<void>((resolve) => (channel.onopen = () => resolve()));
    await near.setLocalDescription();
    await far.setRemoteDescription(near.localDescription!);
    await far.setLocalDescription();
    await near.setRemoteDescription(far.localDescription!);
    if (!(await within(opened, limitMs))) return { ok: false, problem: gathered ? 'blocked' : 'unreachable' };
    const times: number[] = [];
    for (let count = 0; count < ECHOES; count += 1) {
      const asked = performance.now();
      const answered = new Promise<void>((resolve) => (channel.onmessage = () => resolve()));
      channel.send(`echo ${count}`);
      if (await within(answered, 2000)) times.push(performance.now() - asked);
    }
    if (times.length === 0) return { ok: false, problem: 'blocked' };
    transport = (await usedTransport(near)) ?? transport;
    const chunk = new Uint8Array(CHUNK_BYTES);
    const startedAt = performance.now();
    for (let sent = 0; sent < BURST_BYTES; sent += CHUNK_BYTES) channel.send(chunk);
    await within(new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        if (bytes >= BURST_BYTES * 0.9) {
          clearInterval(timer);
          resolve();
        }
      }, 50);
      setTimeout(() => clearInterval(timer), 2000);
    }), 2000);
    const seconds = (lastAt - startedAt) / 1000;
    const kbps = bytes > 0 && seconds > 0 ? Math.round((bytes * 8) / 1000 / seconds) : undefined;
    times.sort((a, b) => a - b);
    const rttMs = Math.round(times[Math.floor(times.length / 2)]!);
    return { ok: true, transport, rttMs, ...(kbps === undefined ? {} : { kbps }) };
  } catch {
    return { ok: false, problem: gathered ? 'blocked' : 'unreachable' };
  } finally {
    near.close();
    far.close();
  }
}

/** How the path in use reaches the relay. */
async function usedTransport(connection: RTCPeerConnection): Promise<RelayResult['transport']> {
  const stats = new Map<string, Record<string, unknown>>();
  (await connection.getStats()).forEach((stat: Record<string, unknown>, id: string) => stats.set(id, stat));
  const transport = [...stats.values()].find((stat) => stat.type === 'transport');
  const pair = stats.get(String(transport?.selectedCandidatePairId));
  return stats.get(String(pair?.localCandidateId))?.relayProtocol as RelayResult['transport'];
}

/** Whether a camera's track really delivers pictures (some are granted and stay black). */
export async function checkCamera(track: MediaStreamTrack, limitMs = 5000): Promise<boolean> {
  const video = document.createElement('video');
  video.muted = true;
  video.playsInline = true;
  video.srcObject = new MediaStream([track]);
  try {
    void video.play().catch(() => undefined);
    const shown = new Promise<void>((resolve) => {
      if ('requestVideoFrameCallback' in video) video.requestVideoFrameCallback(() => resolve());
      else (video as HTMLVideoElement).onloadeddata = () => resolve();
    });
    return await within(shown, limitMs);
  } finally {
    video.srcObject = null;
  }
}

async function within(promise: Promise<void>, limitMs: number): Promise<boolean> {
  let timer = 0;
  const late = new Promise<false>((resolve) => (timer = setTimeout(() => resolve(false), limitMs) as unknown as number));
  const inTime = await Promise.race([promise.then(() => true as const), late]);
  clearTimeout(timer);
  return inTime;
}
