import { expect, it } from 'vitest';
import { limitsOf, presence, tells } from './idle';

const MINUTE = 60_000;
const staff = { idleMs: 15 * MINUTE, endsAt: 12 * 60 * MINUTE };

it.each([
  [0, { state: 'here' }],
  [13.9 * MINUTE, { state: 'here' }],
  [14 * MINUTE, { state: 'warn', leftS: 60 }],
  [15 * MINUTE - 1, { state: 'warn', leftS: 1 }],
  [15 * MINUTE, { state: 'over', reason: 'idle' }],
  [9 * 60 * MINUTE, { state: 'over', reason: 'idle' }],
  [12 * 60 * MINUTE, { state: 'over', reason: 'ended' }]
])('after %d ms without a touch: %j', (now, expected) => {
  expect(presence(now, 0, staff)).toEqual(expected);
});

it('warns of the end of a session that is used', () => {
  const now = staff.endsAt - 4 * MINUTE;
  expect(presence(now, now, staff)).toEqual({ state: 'ending', leftS: 240 });
});

it('warns for a quarter of a short limit', () => {
  const limits = { idleMs: 2 * MINUTE, endsAt: 60 * MINUTE };
  expect(presence(1.4 * MINUTE, 0, limits)).toEqual({ state: 'here' });
  expect(presence(1.5 * MINUTE, 0, limits)).toEqual({ state: 'warn', leftS: 30 });
});

it('tells the server of touches it does not know, once a minute', () => {
  expect(tells(50_000, 40_000, 0)).toBe(false);
  expect(tells(60_000, 40_000, 0)).toBe(true);
  expect(tells(200_000, 40_000, 60_000)).toBe(false);
});

it('needs no right clock', () => {
  const facts = { idle_limit_s: 300, left_s: 600, idle_expires_at: '2001-01-01T00:00:00Z', expires_at: '2001-01-01T00:00:00Z' };
  expect(limitsOf(facts, 1000)).toEqual({ idleMs: 300_000, endsAt: 601_000 });
});
