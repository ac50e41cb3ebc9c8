import { describe, expect, it } from 'vitest';
import type { Sighting } from '$lib/access/types';
import { byDay, groupAccess, typeOf } from './access';

const row = (over: Partial<Sighting>): Sighting => ({
  at: '2026-11-22T08:00:10Z',
  agent: 'Dr Otieno',
  role: 'doctor',
  action: 'read',
  what: 'Observation/1',
  purpose: 'TREAT',
  outcome: 'success',
  ...over
});

describe('who saw', () => {
  it('names the type of what was touched', () => {
    expect(typeOf('Observation?patient=1')).toBe('Observation');
    expect(typeOf('Patient/1')).toBe('Patient');
  });
  it('puts one minute of one person together', () => {
    const groups = groupAccess([
      row({}),
      row({ at: '2026-11-22T08:00:05Z', action: 'search', what: 'Condition?x' }),
      row({ at: '2026-11-22T07:00:05Z' })
    ]);
    expect(groups.map((one) => [one.actions, one.types])).toEqual([
      [['read'], ['Observation', 'Condition']],
      [['read'], ['Observation']]
    ]);
  });
  it('never hides an emergency, a refusal or an application behind something else', () => {
    const groups = groupAccess([
      row({}),
      row({ purpose: 'BTG' }),
      row({ outcome: 'denied' }),
      row({ application: 'Growth charts' }),
      row({ agent: 'Nurse Wambui' })
    ]);
    expect(groups.map((one) => [one.emergency, one.refused, one.application, one.agent])).toEqual([
      [false, false, undefined, 'Dr Otieno'],
      [true, false, undefined, 'Dr Otieno'],
      [false, true, undefined, 'Dr Otieno'],
      [false, false, 'Growth charts', 'Dr Otieno'],
      [false, false, undefined, 'Nurse Wambui']
    ]);
  });
  it('sorts by the clinic’s days', () => {
    const days = byDay(groupAccess([row({}), row({ at: '2026-11-21T22:30:00Z' }), row({ at: '2026-11-21T12:00:00Z' })]));
    expect(days.map((one) => [one.day, one.rows.length])).toEqual([
      ['2026-11-22', 2],
      ['2026-11-21', 1]
    ]);
  });
});
