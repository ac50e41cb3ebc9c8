// The clinic's rules for signing in: their bounds, and what a draft would change.
import type { SecurityRules } from './types';

export type LimitName =
  | 'staff_idle_minutes'
  | 'staff_absolute_minutes'
  | 'kiosk_idle_minutes'
  | 'patient_idle_minutes'
  | 'patient_absolute_minutes'
  | 'sms_codes_per_day';

const DAY = 24 * 60;
/** Least and most, as the server takes them. */
export const LIMITS: Record<LimitName, [least: number, most: number]> = {
  staff_idle_minutes: [1, 120],
  staff_absolute_minutes: [15, DAY],
  kiosk_idle_minutes: [1, 30],
  patient_idle_minutes: [5, 30 * DAY],
  patient_absolute_minutes: [15, 90 * DAY],
  sms_codes_per_day: [1, 1_000_000]
};

/** Minutes in the largest unit that is whole: 720 is 12 hours. */
export function spanOf(minutes: number): { unit: 'minutes' | 'hours' | 'days'; count: number } {
  if (minutes >= DAY && minutes % DAY === 0) return { unit: 'days', count: minutes / DAY };
  if (minutes >= 60 && minutes % 60 === 0) return { unit: 'hours', count: minutes / 60 };
  return { unit: 'minutes', count: minutes };
}

/** What a draft changes; the order of roles says nothing. */
export function ruleChanges(before: SecurityRules, after: SecurityRules): { name: keyof SecurityRules; before: unknown; after: unknown }[] {
  const plain = (value: unknown) => JSON.stringify(Array.isArray(value) ? [...value].sort() : value);
  return (Object.keys(after) as (keyof SecurityRules)[])
    .filter((name) => plain(before[name]) !== plain(after[name]))
    .map((name) => ({ name, before: before[name], after: after[name] }));
}
