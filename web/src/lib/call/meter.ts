// How good the call is: figures every two seconds, told to the peer now and then, and summed up for the server.

import type { Quality } from './protocol';
import { between, judge, summarise, type Counters } from './quality';

/** Every so many figures the peer is told. */
const TELL_PEER_EVERY = 5;
const REPORT_MS = 30_000;

export class Meter {
  #before: Counters | undefined;
  #figures: Quality[] = [];
  #count = 0;
  #reportedAt = 0;
  #report: ((quality: Quality) => unknown) | undefined;

  constructor(report?: (quality: Quality) => unknown) {
    this.#report = report;
  }

  /** What follows is another connection's. */
  restart(): void {
    this.#before = undefined;
  }

  /** The figures since the sample before, and whether the peer should hear of them; nothing for the first sample. */
  sample(counters: Counters, stalled: boolean): { own: Quality; tell: boolean } | undefined {
    const before = this.#before;
    this.#before = counters;
    if (!before || counters.bytesReceived < before.bytesReceived) return undefined;
    const figures = between(before, counters);
    const { seconds: _, ...rest } = figures;
    const own: Quality = { ...rest, level: judge(figures, counters.lossReportedPercent, stalled) };
    this.#figures.push(own);
    this.#count += 1;
    this.#reportedAt ||= counters.at;
    if (counters.at - this.#reportedAt >= REPORT_MS) this.report();
    return { own, tell: this.#count % TELL_PEER_EVERY === 1 };
  }

  /** Sends what has come together since the last report. */
  report(): void {
    const summary = summarise(this.#figures);
    this.#figures = [];
    this.#reportedAt = Date.now();
    if (!summary) return;
    Promise.resolve()
      .then(() => this.#report?.(summary))
      .catch(() => undefined);
  }
}
