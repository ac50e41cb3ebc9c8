// One WebSocket that survives bad networks: it comes back by itself, resumes where it was, and queues meanwhile.

import { CLOSE, type ClientMessages, type ClientType, type Hello, type JoinGrant, type ServerMessage } from './protocol';
import { Inbox, Outbox, backoff, type Numbered } from './sequence';

/** Silence after which the client asks whether the server is still there. */
const PING_EVERY_MS = 5000;
/** Silence after which the socket counts as dead. */
const SILENCE_MAX_MS = 12_000;
/** How long an explicit probe may take; a living socket on a bad 2G link answers within this. */
const PROBE_MS = 1500;
/** A socket that is not open by then never will be. */
const CONNECT_MS = 8000;
const ACK_AFTER_MS = 200;
const ACK_EVERY = 8;
/** Failures in a row after which the cause is asked of the REST interface. */
const REJOIN_AFTER = 4;

export type SignallingStatus = 'connecting' | 'open' | 'away' | 'closed';
export type ClosedReason = 'ended' | 'replaced' | 'put-out' | 'refused' | 'left';

export interface SignallingEvents {
  hello(hello: Hello): void;
  message(message: ServerMessage): void;
  status(status: SignallingStatus): void;
  /** Nothing more will come. `refused` carries what the join request threw. */
  closed(reason: ClosedReason, error?: unknown): void;
  /** The server would not take message `seq`. */
  refusal?(code: string, seq: number): void;
}

export interface SignallingOptions {
  grant: JoinGrant;
  /** Names this page load; peers keep their connection to a page that merely reconnects. */
  instance: string;
  /** Asks for a new grant when the session is gone. */
  rejoin(): Promise<JoinGrant>;
  /** Is the error of `rejoin` final (no right, visit over) rather than a bad network? */
  isFinal?(error: unknown): boolean;
  /** `ws://host` or `wss://host`; that of the page when left out. */
  base?: string;
  events: SignallingEvents;
}

export class Signalling {
  #options: SignallingOptions;
  #grant: JoinGrant;
  #socket: WebSocket | undefined;
  #outbox = new Outbox();
  #inbox = new Inbox();
  #status: SignallingStatus = 'connecting';
  #greeted = false;
  #failures = 0;
  #heardAt = 0;
  #unacknowledged = 0;
  #timers = { retry: 0, connect: 0, ack: 0, ping: 0, probe: 0 };
  #stopped = false;

  constructor(options: SignallingOptions) {
    this.#options = options;
    this.#grant = options.grant;
  }

  get status(): SignallingStatus {
    return this.#status;
  }

  start(): void {
    this.#timers.ping = setInterval(() => this.#watch(), 1000) as unknown as number;
    this.#open();
  }

  /** Sends a lasting message, now or as soon as there is a socket. Returns its number. */
  send<T extends ClientType>(type: T, data: ClientMessages[T]): number {
    const message = this.#outbox.push(type, data);
    if (this.#greeted) this.#write(message);
    return message.seq;
  }

  /** Opens a new socket now, whatever the old one thinks of itself; the session goes on. */
  reconnect(): void {
    if (this.#stopped) return;
    this.#failures = 0;
    this.#open();
  }

  /** Finds out soon whether the socket still works, and replaces it if not. */
  probe(): void {
    if (this.#stopped) return;
    if (!this.#greeted) return this.reconnect();
    if (this.#timers.probe) return;
    const asked = Date.now();
    this.#write({ type: 'ping', seq: 0, data: {} });
    this.#timers.probe = setTimeout(() => {
      this.#timers.probe = 0;
      if (this.#heardAt < asked) this.reconnect();
    }, PROBE_MS) as unknown as number;
  }

  /** Leaves for good. */
  leave(): void {
    if (this.#stopped) return;
    if (this.#greeted) this.send('leave', {});
    this.#finish('left');
  }

  #open(): void {
    this.#discard();
    clearTimeout(this.#timers.retry);
    this.#greeted = false;
    this.#setStatus(this.#inbox.last > 0 || this.#failures > 0 ? 'away' : 'connecting');
    const base = this.#options.base ?? `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}`;
    const query = new URLSearchParams({
      session: this.#grant.session_token,
      seq: String(this.#inbox.last),
      instance: this.#options.instance
    });
    let socket: WebSocket;
    try {
      socket = new WebSocket(`${base}${this.#grant.ws_url}?${query}`);
    } catch (error) {
      return this.#finish('refused', error);
    }
    this.#socket = socket;
    this.#timers.connect = setTimeout(() => this.#retry(), CONNECT_MS) as unknown as number;
    socket.onmessage = (event) => this.#receive(String(event.data));
    socket.onclose = (event) => this.#closed(event.code);
  }

  /** Lets go of the socket without hearing of its end. */
  #discard(): void {
    clearTimeout(this.#timers.connect);
    const socket = this.#socket;
    if (!socket) return;
    socket.onmessage = socket.onclose = socket.onerror = null;
    this.#socket = undefined;
    try {
      socket.close();
    } catch {
      // Already closing.
    }
  }

  #closed(code: number): void {
    switch (code) {
      case CLOSE.ended:
        return this.#finish('ended');
      case CLOSE.replaced:
        return this.#finish('replaced');
      case CLOSE.putOut:
        // Joining again would be refused; whoever may again opens the visit anew.
        return this.#finish('put-out');
      case CLOSE.expired:
      case CLOSE.unknown:
        return void this.#rejoin();
      case CLOSE.tooMany:
        this.#failures = Math.max(this.#failures, 4);
        return this.#retry();
      case CLOSE.signedOut:
        return void this.#rejoin();
      default:
        return this.#retry();
    }
  }

  #retry(): void {
    if (this.#stopped) return;
    this.#discard();
    this.#greeted = false;
    this.#setStatus('away');
    const wait = backoff(this.#failures);
    this.#failures += 1;
    clearTimeout(this.#timers.retry);
    const again = () => (this.#failures % REJOIN_AFTER === 0 ? void this.#rejoin() : this.#open());
    this.#timers.retry = setTimeout(again, wait) as unknown as number;
  }

  async #rejoin(): Promise<void> {
    this.#discard();
    this.#setStatus('away');
    try {
      const grant = await this.#options.rejoin();
      if (this.#stopped) return;
      this.#grant = grant;
      this.#inbox.reset(0);
      this.#open();
    } catch (error) {
      if (this.#stopped) return;
      if (this.#options.isFinal?.(error)) this.#finish('refused', error);
      else this.#retry();
    }
  }

  #receive(text: string): void {
    this.#heardAt = Date.now();
    let frame: Numbered;
    try {
      frame = JSON.parse(text) as Numbered;
    } catch {
      return;
    }
    if (frame.seq === 0) return this.#passing(frame);
    switch (this.#inbox.accept(frame.seq)) {
      case 'gap':
        // The server repeats everything after what we have.
        return this.reconnect();
      case 'repeated':
        return;
      case 'new':
        this.#unacknowledged += 1;
        this.#acknowledge();
        this.#options.events.message({ type: frame.type, data: frame.data } as ServerMessage);
    }
  }

  #passing(frame: Numbered): void {
    switch (frame.type) {
      case 'hello':
        return this.#greet(frame.data as Hello);
      case 'ack':
        return this.#outbox.acknowledge((frame.data as { seq: number }).seq);
      case 'error': {
        const { code, seq } = frame.data as { code: string; seq: number };
        return this.#options.events.refusal?.(code, seq);
      }
      case 'ended':
        // A socket that comes after the end is told so without a number.
        return this.#options.events.message({ type: 'ended', data: frame.data } as ServerMessage);
    }
  }

  #greet(hello: Hello): void {
    clearTimeout(this.#timers.connect);
    this.#failures = 0;
    this.#greeted = true;
    if (hello.resumed) {
      this.#outbox.acknowledge(hello.received);
      if (hello.reset) this.#inbox.reset(hello.seq);
    } else {
      this.#outbox.restart();
      this.#inbox.reset(0);
    }
    for (const message of this.#outbox.pending) this.#write(message);
    this.#setStatus('open');
    this.#options.events.hello(hello);
  }

  #acknowledge(): void {
    const send = () => {
      clearTimeout(this.#timers.ack);
      this.#timers.ack = 0;
      if (this.#unacknowledged === 0 || !this.#greeted) return;
      this.#unacknowledged = 0;
      this.#write({ type: 'ack', seq: 0, data: { seq: this.#inbox.last } });
    };
    if (this.#unacknowledged >= ACK_EVERY) send();
    else if (!this.#timers.ack) this.#timers.ack = setTimeout(send, ACK_AFTER_MS) as unknown as number;
  }

  #write(message: Numbered): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #watch(): void {
    if (!this.#greeted) return;
    const silent = Date.now() - this.#heardAt;
    if (silent > SILENCE_MAX_MS) this.reconnect();
    else if (silent > PING_EVERY_MS) this.#write({ type: 'ping', seq: 0, data: {} });
  }

  #setStatus(status: SignallingStatus): void {
    if (status === this.#status && status !== 'connecting') return;
    this.#status = status;
    this.#options.events.status(status);
  }

  #finish(reason: ClosedReason, error?: unknown): void {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#timers.ping);
    for (const timer of [this.#timers.retry, this.#timers.connect, this.#timers.ack, this.#timers.probe]) {
      clearTimeout(timer);
    }
    const socket = this.#socket;
    // What was just written (the farewell) goes out before the close frame.
    this.#discard();
    void socket;
    this.#greeted = false;
    this.#setStatus('closed');
    this.#options.events.closed(reason, error);
  }
}
