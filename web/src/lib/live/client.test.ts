import { describe, expect, it, vi } from 'vitest';
import { LiveClient, waitBefore, type Line, type LineState, type LiveEvent } from './client';

function setUp() {
  const lines: (Line & { sent: string[]; closed: boolean })[] = [];
  const states: LineState[] = [];
  const events: LiveEvent[] = [];
  const ended = vi.fn();
  const timers: { run: () => void; ms: number }[] = [];
  const client = new LiveClient({
    open: () => {
      const line = {
        onopen: null,
        onclose: null,
        onmessage: null,
        sent: [] as string[],
        closed: false,
        send(text: string) {
          line.sent.push(text);
        },
        close() {
          line.closed = true;
        }
      } as Line & { sent: string[]; closed: boolean };
      lines.push(line);
      return line;
    },
    state: (state) => states.push(state),
    event: (event) => events.push(event),
    ended,
    random: () => 0.5,
    later: (run, ms) => timers.push({ run, ms }) - 1,
    cancel: (timer) => timers.splice(timer as number, 1)
  });
  const frame = (line: Line, type: string, seq: number) => line.onmessage?.({ data: JSON.stringify({ type, seq, data: { id: '7' } }) });
  return { client, ended, lines, states, events, timers, frame };
}

describe('live line', () => {
  it('tells when the server says that the session is no more', () => {
    const { client, lines, ended } = setUp();
    client.start();
    lines[0]!.onopen?.(undefined as never);
    lines[0]!.onclose?.({ code: 1006 });
    expect(ended).not.toHaveBeenCalled();
    client.hurry();
    lines[1]!.onclose?.({ code: 4401 });
    expect(ended).toHaveBeenCalledTimes(1);
  });
  it('asks for everything anew on its first opening', () => {
    const { client, lines, events, states } = setUp();
    client.start();
    lines[0]!.onopen?.(undefined as never);
    expect(events.map((event) => event.type)).toEqual(['resync']);
    expect(lines[0]!.sent).toEqual([]);
    expect(states).toEqual(['connecting', 'open']);
  });
  it('resumes after the last frame and drops what it has seen', () => {
    const { client, lines, events, timers, frame } = setUp();
    client.start();
    lines[0]!.onopen?.(undefined as never);
    frame(lines[0]!, 'appointment_changed', 4);
    frame(lines[0]!, 'appointment_changed', 5);
    lines[0]!.onclose?.(undefined as never);
    timers.pop()!.run();
    lines[1]!.onopen?.(undefined as never);
    expect(lines[1]!.sent).toEqual(['{"type":"resume","seq":5}']);
    frame(lines[1]!, 'appointment_changed', 5);
    frame(lines[1]!, 'invoice_changed', 6);
    expect(events.map((event) => event.seq)).toEqual([0, 4, 5, 6]);
  });
  it('lets a resync through whatever its number', () => {
    const { client, lines, events, frame } = setUp();
    client.start();
    lines[0]!.onopen?.(undefined as never);
    frame(lines[0]!, 'payment_changed', 9);
    frame(lines[0]!, 'resync', 3);
    expect(events.at(-1)?.type).toBe('resync');
  });
  it('waits longer each time, within bounds', () => {
    expect([0, 1, 2, 10, 99].map((attempt) => waitBefore(attempt, 0))).toEqual([250, 500, 1000, 15000, 15000]);
    expect([0, 1, 10].map((attempt) => waitBefore(attempt, 1))).toEqual([500, 1000, 30000]);
  });
  it('forgets its place when stopped, and connects no more', () => {
    const { client, lines, timers, frame } = setUp();
    client.start();
    lines[0]!.onopen?.(undefined as never);
    frame(lines[0]!, 'payment_changed', 9);
    client.stop();
    expect(lines[0]!.closed).toBe(true);
    lines[0]!.onclose?.(undefined as never);
    expect(timers).toEqual([]);
    expect(client.seq).toBe(0);
  });
  it('ignores what it does not understand', () => {
    const { client, lines, events } = setUp();
    client.start();
    lines[0]!.onopen?.(undefined as never);
    for (const data of ['{', '[]', '{"seq":1}', 'null', 5]) lines[0]!.onmessage?.({ data });
    expect(events).toHaveLength(1);
  });
});
