// The live line: one WebSocket that says *what* changed (ids only); screens then read it by REST.

export type LiveType =
  | 'appointment_changed'
  | 'consultation_changed'
  | 'invoice_changed'
  | 'payment_changed'
  | 'message_received'
  | 'schedule_changed'
  | 'duplicate_changed'
  | 'acting_changed'
  | 'resync';

export interface LiveEvent {
  type: LiveType | string;
  seq: number;
  data: Record<string, string | undefined>;
}

export type LineState = 'off' | 'connecting' | 'open' | 'waiting';

/** The part of WebSocket that is used, so that tests can hand in their own line. */
export interface Line {
  onopen: ((event: never) => void) | null;
  onclose: ((event: { code?: number }) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  send(text: string): void;
  close(): void;
}

export interface LiveOptions {
  open: () => Line;
  state: (state: LineState) => void;
  event: (event: LiveEvent) => void;
  /** The server closed the line because the session is no more. */
  ended?: () => void;
  random?: () => number;
  later?: (run: () => void, ms: number) => unknown;
  cancel?: (timer: unknown) => void;
}

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 30_000;
/** Close code of a session that ended. */
const SESSION_ENDED = 4401;

/** Wait before try `attempt` (0-based): doubling with full jitter, so that a crowd does not return at once. */
export function waitBefore(attempt: number, random: number): number {
  const ceiling = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempt, 16));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}

/** Keeps the line open, resumes after the last frame seen, and drops frames seen before. */
export class LiveClient {
  #options: LiveOptions;
  #line: Line | undefined;
  #timer: unknown;
  #attempt = 0;
  #seq = 0;
  #wanted = false;

  constructor(options: LiveOptions) {
    this.#options = options;
  }
  get seq(): number {
    return this.#seq;
  }
  start(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#connect();
  }
  /** Ends the line and forgets the place: the next user must not resume from this one's. */
  stop(): void {
    this.#wanted = false;
    this.#cancelTimer();
    const line = this.#line;
    this.#line = undefined;
    line?.close();
    this.#attempt = 0;
    this.#seq = 0;
    this.#options.state('off');
  }
  /** Tries at once, for instance when the device is online again. */
  hurry(): void {
    if (!this.#wanted || this.#line) return;
    this.#cancelTimer();
    this.#attempt = 0;
    this.#connect();
  }
  #cancelTimer(): void {
    if (this.#timer !== undefined) (this.#options.cancel ?? ((timer) => clearTimeout(timer as number)))(this.#timer);
    this.#timer = undefined;
  }
  #connect(): void {
    this.#options.state('connecting');
    let line: Line;
    try {
      line = this.#options.open();
    } catch {
      this.#retry();
      return;
    }
    this.#line = line;
    line.onopen = () => {
      if (this.#line !== line) return;
      this.#attempt = 0;
      this.#options.state('open');
      if (this.#seq > 0) line.send(JSON.stringify({ type: 'resume', seq: this.#seq }));
      // Without a place to resume from, everything on screen may be stale.
      else this.#options.event({ type: 'resync', seq: 0, data: {} });
    };
    line.onmessage = (message) => {
      if (this.#line === line) this.#take(message.data);
    };
    line.onclose = (event) => {
      if (this.#line !== line) return;
      this.#line = undefined;
      if (event?.code === SESSION_ENDED) this.#options.ended?.();
      if (this.#wanted) this.#retry();
    };
  }
  #retry(): void {
    this.#options.state('waiting');
    const wait = waitBefore(this.#attempt, (this.#options.random ?? Math.random)());
    this.#attempt += 1;
    const later = this.#options.later ?? ((run: () => void, ms: number) => setTimeout(run, ms));
    this.#timer = later(() => {
      this.#timer = undefined;
      if (this.#wanted) this.#connect();
    }, wait);
  }
  #take(data: unknown): void {
    if (typeof data !== 'string') return;
    let frame: Partial<LiveEvent>;
    try {
      frame = JSON.parse(data) as Partial<LiveEvent>;
    } catch {
      return;
    }
    if (typeof frame?.type !== 'string') return;
    const seq = typeof frame.seq === 'number' ? frame.seq : 0;
    if (frame.type !== 'resync' && seq > 0 && seq <= this.#seq) return;
    if (seq > 0) this.#seq = seq;
    this.#options.event({ type: frame.type, seq, data: frame.data ?? {} });
  }
}
