// From the browser's statistics to a few figures and a word. Pure.

import type { Level, Quality } from './protocol';

/** The counters we use, taken at one moment. */
export interface Counters {
  at: number;
  rttMs: number | undefined;
  bytesSent: number;
  bytesReceived: number;
  /** Of anything that came over the connection except connectivity checks. */
  packetsReceivedTransport: number;
  packetsReceived: number;
  packetsLost: number;
  /** What the peer says of our packets, 0–100. */
  lossReportedPercent: number;
  /** When the peer last said so, on the browser's clock; the same value means the same report. */
  lossReportedAt: number;
  freezeSeconds: number;
  framesDecoded: number;
  availableOutgoing: number | undefined;
  path: Quality['path'];
  /** The encoder says that the processor, not the link, is the limit. */
  processorLimited: boolean;
  audioLevel: number | undefined;
}

type Stat = Record<string, unknown> & { id: string; type: string };
const number = (value: unknown): number => (typeof value === 'number' && Number.isFinite(value) ? value : 0);

/** Picks the counters out of a report. */
export function read(report: Iterable<[string, unknown]>, at: number): Counters {
  const stats = new Map<string, Stat>();
  for (const [id, stat] of report) stats.set(id, stat as Stat);
  const all = [...stats.values()];
  const counters: Counters = {
    at,
    rttMs: undefined,
    bytesSent: 0,
    bytesReceived: 0,
    packetsReceivedTransport: 0,
    packetsReceived: 0,
    packetsLost: 0,
    lossReportedPercent: 0,
    lossReportedAt: 0,
    freezeSeconds: 0,
    framesDecoded: 0,
    availableOutgoing: undefined,
    path: 'unknown',
    processorLimited: false,
    audioLevel: undefined
  };
  for (const stat of all) {
    if (stat.type === 'inbound-rtp') {
      counters.packetsReceived += number(stat.packetsReceived);
      counters.packetsLost += Math.max(0, number(stat.packetsLost));
      counters.freezeSeconds += number(stat.totalFreezesDuration);
      counters.framesDecoded += number(stat.framesDecoded);
      if (stat.kind === 'audio' && typeof stat.audioLevel === 'number') counters.audioLevel = stat.audioLevel;
    } else if (stat.type === 'remote-inbound-rtp') {
      counters.lossReportedPercent = Math.max(counters.lossReportedPercent, number(stat.fractionLost) * 100);
      counters.lossReportedAt = Math.max(counters.lossReportedAt, number(stat.timestamp));
    } else if (stat.type === 'outbound-rtp' && stat.kind === 'video') {
      counters.processorLimited ||= stat.qualityLimitationReason === 'cpu';
    }
  }
  const transport = all.find((stat) => stat.type === 'transport');
  const pair =
    stats.get(String(transport?.selectedCandidatePairId)) ??
    all.find((stat) => stat.type === 'candidate-pair' && stat.nominated === true && stat.state === 'succeeded');
  const flow = transport?.bytesSent === undefined ? pair : transport;
  counters.bytesSent = number(flow?.bytesSent);
  counters.bytesReceived = number(flow?.bytesReceived);
  counters.packetsReceivedTransport = number(flow?.packetsReceived) || counters.packetsReceived;
  if (pair) {
    if (typeof pair.currentRoundTripTime === 'number') counters.rttMs = pair.currentRoundTripTime * 1000;
    if (typeof pair.availableOutgoingBitrate === 'number') counters.availableOutgoing = pair.availableOutgoingBitrate;
    const ends = [stats.get(String(pair.localCandidateId)), stats.get(String(pair.remoteCandidateId))];
    const kinds = ends.map((end) => end?.candidateType);
    if (kinds.includes('relay')) counters.path = 'relay';
    else if (kinds.every((kind) => kind !== undefined)) counters.path = 'direct';
  }
  return counters;
}

/** The figures of the time between two readings. */
export function between(earlier: Counters, later: Counters): Omit<Quality, 'level'> & { seconds: number } {
  const seconds = Math.max(0.001, (later.at - earlier.at) / 1000);
  // A new connection counts from zero again.
  const grown = (key: 'bytesSent' | 'bytesReceived' | 'packetsReceived' | 'packetsLost' | 'freezeSeconds') =>
    later[key] >= earlier[key] ? later[key] - earlier[key] : later[key];
  const received = grown('packetsReceived');
  const lost = grown('packetsLost');
  return {
    seconds,
    rtt_ms: Math.round(later.rttMs ?? 0),
    loss_percent: received + lost > 0 ? Math.round((1000 * lost) / (received + lost)) / 10 : 0,
    bitrate_up_kbps: Math.round((grown('bytesSent') * 8) / 1000 / seconds),
    bitrate_down_kbps: Math.round((grown('bytesReceived') * 8) / 1000 / seconds),
    path: later.path,
    frozen_ms: Math.round(grown('freezeSeconds') * 1000)
  };
}

/** A word for the figures. `lossUp` is what the peer loses of ours: one side's bad link spoils the talk for both. */
export function judge(figures: Omit<Quality, 'level'> & { seconds: number }, lossUp: number, stalled: boolean): Level {
  const loss = Math.max(figures.loss_percent, lossUp);
  const frozen = (figures.frozen_ms ?? 0) / 1000 / figures.seconds;
  if (stalled || loss > 10 || figures.rtt_ms > 900 || frozen > 0.25) return 'poor';
  if (loss > 3 || figures.rtt_ms > 400 || frozen > 0.05) return 'fair';
  return 'good';
}

/** Several readings as one: means, and the worst word. */
export function summarise(all: readonly Quality[]): Quality | undefined {
  if (all.length === 0) return undefined;
  const mean = (pick: (one: Quality) => number) => all.reduce((sum, one) => sum + pick(one), 0) / all.length;
  const words: Level[] = ['good', 'fair', 'poor'];
  const counts = words.map((word) => all.filter((one) => one.level === word).length);
  // The word that half of the time was at least as bad as.
  const level = counts[2]! * 2 >= all.length ? 'poor' : (counts[1]! + counts[2]!) * 2 >= all.length ? 'fair' : 'good';
  return {
    rtt_ms: Math.round(mean((one) => one.rtt_ms)),
    loss_percent: Math.round(mean((one) => one.loss_percent) * 10) / 10,
    bitrate_up_kbps: Math.round(mean((one) => one.bitrate_up_kbps)),
    bitrate_down_kbps: Math.round(mean((one) => one.bitrate_down_kbps)),
    path: all.at(-1)!.path,
    frozen_ms: all.reduce((sum, one) => sum + (one.frozen_ms ?? 0), 0),
    level
  };
}

/** Says when media that was flowing has stopped. */
export class StallWatch {
  #packets = 0;
  #changedAt = 0;
  #flowing = false;

  /** `rttMs` widens the limit: on a slow link a pause of a second is nothing. Returns ms of silence, 0 when all is well. */
  sample(at: number, packets: number, rttMs: number): number {
    if (packets !== this.#packets) {
      // Fewer than before: a new connection.
      this.#flowing = packets > 0;
      this.#packets = packets;
      this.#changedAt = at;
      return 0;
    }
    if (!this.#flowing) return 0;
    const silent = at - this.#changedAt;
    return silent >= Math.min(2500, Math.max(1000, rttMs * 3)) ? silent : 0;
  }

  /** Milliseconds since the last packet, as far as known. */
  silence(at: number): number {
    return this.#flowing ? at - this.#changedAt : 0;
  }

  /** Nothing is expected until packets come again. */
  rest(): void {
    this.#flowing = false;
  }
}

/** The worse of two words. */
export function worse(a: Level, b: Level | undefined): Level {
  const order: Level[] = ['good', 'fair', 'poor'];
  return b && order.indexOf(b) > order.indexOf(a) ? b : a;
}
