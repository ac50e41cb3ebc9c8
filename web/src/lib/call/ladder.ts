// How much a call may send: the rungs, and when to step. Pure; the clock and the figures come from outside.

export interface AudioRung {
  bitrate: number;
  /** Milliseconds of sound in one packet. On thin links the packets' own headers cost more than the sound. */
  ptime: 20 | 60 | 120;
  /** Redundant audio; worth it only when no picture competes for the link. */
  red: boolean;
}

export interface VideoRung {
  height: number;
  fps: number;
  bitrate: number;
}

export interface Rung {
  /** Bits per second on the wire, per direction, from which this rung fits. */
  needs: number;
  /** An estimate below this leaves the rung; lower than `needs`, because estimates overshoot on the way down. */
  keeps: number;
  audio: AudioRung;
  video: VideoRung | null;
}

/** From thinnest to best. Measured; see docs on thin links. */
export const RUNGS: readonly Rung[] = [
  { needs: 0, keeps: 0, audio: { bitrate: 8_000, ptime: 120, red: false }, video: null },
  { needs: 35_000, keeps: 0, audio: { bitrate: 12_000, ptime: 60, red: true }, video: null },
  { needs: 64_000, keeps: 40_000, audio: { bitrate: 14_000, ptime: 60, red: false }, video: { height: 90, fps: 6, bitrate: 35_000 } },
  { needs: 120_000, keeps: 85_000, audio: { bitrate: 18_000, ptime: 60, red: false }, video: { height: 180, fps: 15, bitrate: 90_000 } },
  { needs: 300_000, keeps: 200_000, audio: { bitrate: 28_000, ptime: 20, red: false }, video: { height: 360, fps: 20, bitrate: 320_000 } },
  { needs: 900_000, keeps: 600_000, audio: { bitrate: 32_000, ptime: 20, red: false }, video: { height: 480, fps: 25, bitrate: 800_000 } },
  { needs: 1_800_000, keeps: 1_200_000, audio: { bitrate: 32_000, ptime: 20, red: false }, video: { height: 720, fps: 30, bitrate: 1_600_000 } }
];

/** The first rung of a call: decent, and cheap to leave in either direction. */
export const FIRST_RUNG = 4;
/** Below this rung there is no picture. */
export const FIRST_VIDEO_RUNG = RUNGS.findIndex((rung) => rung.video !== null);

export interface Sample {
  at: number;
  /** The sender's own estimate of the link, bits per second; undefined before there is one. */
  available: number | undefined;
  /** What the peer has reported lost since the last sample, 0–100; undefined when it has not reported anew. */
  lossPercent: number | undefined;
  rttMs: number;
  /** What is really sent, bits per second. */
  sent: number;
}

const DOWN_AFTER_MS = 1000;
/** After a step down the queue must drain before the figures mean anything again. */
const SETTLE_MS = 3000;
const UP_AFTER_MS = 10_000;
/** Climbing on after a climb that held. */
const UP_AGAIN_AFTER_MS = 5_000;
/** A step up that had to be taken back makes the next try wait longer, up to this. */
const UP_AFTER_MAX_MS = 120_000;
/** One collapse of the estimate must not throw a call from the best rung to the worst. */
const DOWN_RUNGS_MAX = 2;
/** The shortest round trip of this time is what the path itself takes; the rest is queues. */
const RTT_WINDOW_MS = 8_000;
const LOSS_HIGH = 12;
const LOSS_LOW = 3;
/** Climbing needs this much more than the rung's need, so that the call does not sway between two rungs. */
const HEADROOM = 1.15;

export class Ladder {
  rung: number;
  #top: number;
  #badSince: number | undefined;
  #goodSince: number | undefined;
  #steppedUpAt: number | undefined;
  #upAfter = UP_AFTER_MS;
  #steppedDownAt: number | undefined;
  #rtts: { at: number; ms: number }[] = [];

  constructor(first: number = FIRST_RUNG, top: number = RUNGS.length - 1) {
    this.rung = Math.min(first, top);
    this.#top = top;
  }

  /** The best rung that is allowed, e.g. lower when the camera or processor cannot do more. */
  limit(top: number): void {
    this.#top = Math.max(0, Math.min(top, RUNGS.length - 1));
    this.rung = Math.min(this.rung, this.#top);
  }

  /** Takes a figure, once or twice a second; returns the rung to be on. */
  sample(sample: Sample): number {
    const lowestRtt = this.#lowest(sample);
    const current = RUNGS[this.rung]!;
    // The estimate says nothing about the link while less is sent than the link takes: it follows what is sent.
    const limited = sample.available !== undefined && sample.sent > sample.available * 0.8;
    const starved = limited && sample.available! < current.keeps;
    const queued = sample.rttMs > Math.max(400, lowestRtt * 2);
    const loss = sample.lossPercent ?? 0;
    // Reports are seldom and tell of the past: one counts at once, but not for what a step down has already cured.
    const settling = this.#steppedDownAt !== undefined && sample.at - this.#steppedDownAt < SETTLE_MS;
    if (loss >= LOSS_HIGH && !settling) return this.#down(sample, false);
    if (starved || (queued && loss >= LOSS_LOW)) return settling ? this.rung : this.#bad(sample, starved);
    this.#badSince = undefined;
    if (loss > LOSS_LOW || queued || settling) {
      this.#goodSince = undefined;
      return this.rung;
    }
    return this.#good(sample);
  }

  #lowest({ at, rttMs }: Sample): number {
    if (rttMs > 0) this.#rtts.push({ at, ms: rttMs });
    while (this.#rtts.length > 0 && at - this.#rtts[0]!.at > RTT_WINDOW_MS) this.#rtts.shift();
    return Math.min(...this.#rtts.map((rtt) => rtt.ms));
  }

  #bad(sample: Sample, starved: boolean): number {
    this.#goodSince = undefined;
    this.#badSince ??= sample.at;
    if (sample.at - this.#badSince < DOWN_AFTER_MS) return this.rung;
    return this.#down(sample, starved);
  }

  #down(sample: Sample, starved: boolean): number {
    this.#badSince = this.#goodSince = undefined;
    if (this.rung === 0) return this.rung;
    this.#steppedDownAt = sample.at;
    if (this.#steppedUpAt !== undefined && sample.at - this.#steppedUpAt < UP_AFTER_MS) {
      this.#upAfter = Math.min(this.#upAfter * 2, UP_AFTER_MAX_MS);
    }
    this.#steppedUpAt = undefined;
    const fits = starved ? fitting(sample.available!) : this.rung - 1;
    this.rung = Math.max(0, this.rung - DOWN_RUNGS_MAX, Math.min(this.rung - 1, fits));
    return this.rung;
  }

  #good(sample: Sample): number {
    this.#goodSince ??= sample.at;
    const held = this.#steppedUpAt !== undefined && this.#upAfter === UP_AFTER_MS;
    if (this.rung >= this.#top || sample.at - this.#goodSince < (held ? UP_AGAIN_AFTER_MS : this.#upAfter)) return this.rung;
    const next = RUNGS[this.rung + 1]!;
    // A sender that sends little never learns that there is room: without a picture the estimate means nothing,
    // so a calm link is tried one rung higher.
    const blind = this.rung < FIRST_VIDEO_RUNG || sample.available === undefined || sample.sent < sample.available * 0.3;
    if (!blind && sample.available! < next.needs * HEADROOM) return this.rung;
    if (this.#steppedUpAt !== undefined) this.#upAfter = Math.max(UP_AFTER_MS, this.#upAfter / 2);
    this.#goodSince = undefined;
    this.#steppedUpAt = sample.at;
    this.rung += 1;
    return this.rung;
  }
}

/** The best rung for that many bits per second. */
export function fitting(available: number): number {
  let best = 0;
  RUNGS.forEach((rung, index) => {
    if (available >= rung.needs) best = index;
  });
  return best;
}
