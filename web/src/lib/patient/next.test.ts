import { describe, expect, it } from 'vitest';
import type { Appointment, Invoice, VisitSummary } from '$lib/api/types';
import { groupAccess } from './access';
import { groupMedicines } from './medicines';
import { canJoin, nextStep, upcoming } from './next';

const NOW = new Date('2026-03-12T07:00:00Z');
const at = (minutes: number) => new Date(NOW.getTime() + minutes * 60_000).toISOString();
const visit = (minutes: number, more: Partial<Appointment> = {}) =>
  ({ id: `a${minutes}`, status: 'booked', kind: 'video', start: at(minutes), end: at(minutes + 20), device_checked: true, ...more }) as Appointment;
const bill = { id: 'i', status: 'issued', due: { amount_minor: 100, currency: 'KES' } } as Invoice;
const finished = { consultation_id: 'c', state: 'finished', date: at(-60 * 24) } as VisitSummary;

describe('what to do now', () => {
  it.each([
    ['join when the room is open', [visit(20)], [bill], [], 'join'],
    ['back to the room when already there', [visit(5, { status: 'arrived' })], [bill], [], 'waiting'],
    ['pay before anything later', [visit(300)], [bill], [], 'pay'],
    ['check the camera within a day', [visit(300, { device_checked: false })], [], [], 'check'],
    ['not yet within two', [visit(60 * 30, { device_checked: false })], [], [], 'next'],
    ['look at the next visit', [visit(300, { kind: 'in-person', device_checked: false })], [], [], 'next'],
    ['read a new result', [], [], [finished], 'result'],
    ['book when there is nothing', [visit(30, { status: 'cancelled' })], [], [], 'book']
  ] as const)('%s', (_, appointments, invoices, visits, step) => {
    expect(nextStep([...appointments], [...invoices], [...visits], NOW).step).toBe(step);
  });
  it('opens the room half an hour early, for video only', () => {
    expect(canJoin(visit(31), NOW)).toBe(false);
    expect(canJoin(visit(30), NOW)).toBe(true);
    expect(canJoin(visit(10, { kind: 'in-person' }), NOW)).toBe(false);
  });
  it('forgets visits that nobody came to', () => {
    expect(upcoming([visit(-200), visit(400), visit(100)], NOW).map((one) => one.id)).toEqual(['a100', 'a400']);
  });
});

it('puts looks of one minute together, never two people', () => {
  const row = (agent: string, what: string, minute: string) => ({ at: `2026-03-12T07:${minute}:10Z`, agent, role: 'doctor', action: 'query', what, purpose: 'TREAT', outcome: 'success' });
  const groups = groupAccess([
    row('Dr A', 'Observation?patient=1', '00'),
    row('Dr A', 'Patient/1', '00'),
    row('Dr A', 'Observation?code=2', '00'),
    row('Dr B', 'Patient/1', '00'),
    row('Dr B', 'Patient/1', '01')
  ]);
  expect(groups.map((one) => [one.agent, one.types.join('+'), one.actions.join()])).toEqual([
    ['Dr A', 'Observation+Patient', 'read'],
    ['Dr B', 'Patient', 'read'],
    ['Dr B', 'Patient', 'read']
  ]);
});

it('keeps past courses apart from what is taken now', () => {
  const one = (line: string, from: string, until: string | null) => ({ id: line + from, name: 'x', line, status: 'active', prescribed_at: from, until, prescriber: '' });
  const { current, earlier } = groupMedicines(
    [one('a', '2026-01-01', '2026-01-31'), one('a', '2026-03-01', '2026-03-31'), one('b', '2026-02-01', '2026-02-05'), one('c', '2025-01-01', null)],
    '2026-03-12'
  );
  expect(current.map((group) => [group.last.line, group.count])).toEqual([['a', 2], ['c', 1]]);
  expect(earlier.map((group) => group.last.line)).toEqual(['b']);
});
