// Numbering of messages, so that a reconnect loses and doubles nothing. Pure.

export interface Numbered {
  seq: number;
  type: string;
  data: unknown;
}

/** Messages that mean nothing to a session that knows nothing of the earlier ones. */
const OF_ONE_SESSION = new Set(['offer', 'answer', 'candidate', 'ice_restart', 'quality']);
/** More than a conversation over a dead network writes. */
const KEPT_MAX = 1000;

/** What has been sent and not yet acknowledged. */
export class Outbox {
  #next = 1;
  #kept: Numbered[] = [];

  push(type: string, data: unknown): Numbered {
    const message = { seq: this.#next++, type, data };
    // Figures and old candidates are worth less than what people wrote.
    if (this.#kept.length >= KEPT_MAX) {
      const spare = this.#kept.findIndex((kept) => kept.type === 'quality');
      if (spare >= 0) this.#kept[spare] = { ...this.#kept[spare]!, type: 'quality', data: null };
    }
    this.#kept.push(message);
    return message;
  }

  acknowledge(seq: number): void {
    let count = 0;
    while (count < this.#kept.length && this.#kept[count]!.seq <= seq) count += 1;
    this.#kept.splice(0, count);
  }

  /** What must be sent again on a new socket of the same session. */
  get pending(): readonly Numbered[] {
    return this.#kept;
  }

  /** Starts a new session: what people wrote is kept under new numbers, signalling of the old one is dropped. */
  restart(): void {
    const kept = this.#kept.filter((message) => !OF_ONE_SESSION.has(message.type));
    this.#next = 1;
    this.#kept = [];
    for (const message of kept) this.push(message.type, message.data);
  }
}

/** What has been received. */
export class Inbox {
  #last = 0;

  get last(): number {
    return this.#last;
  }

  /** Whether this message is the next one; a repeated one is not, and one after a gap is not either. */
  accept(seq: number): 'new' | 'repeated' | 'gap' {
    if (seq <= this.#last) return 'repeated';
    if (seq !== this.#last + 1) return 'gap';
    this.#last = seq;
    return 'new';
  }

  /** The server says that messages up to `seq` are gone, or that a new session begins (0). */
  reset(seq: number): void {
    this.#last = seq;
  }
}

/** Milliseconds before attempt `attempt` (from 0): doubling, bounded, and spread so that clients do not return as one. */
export function backoff(attempt: number, random: number = Math.random()): number {
  const ceiling = Math.min(8000, 250 * 2 ** Math.min(attempt, 10));
  return Math.round(ceiling / 2 + (ceiling / 2) * random);
}
