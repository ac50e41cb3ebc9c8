// The question to the audit trail, as it stands in the address of the page.
import type { QueryValue } from '$lib/api/client';

export const OUTCOMES = ['success', 'denied', 'failed'] as const;
export const PURPOSES = ['TREAT', 'HPAYMT', 'HOPERAT', 'PATRQT', 'HSYSADMIN', 'BTG'] as const;
/** Filters by their name in the address. */
export const FILTERS = ['patient', 'agent', 'action', 'outcome', 'purpose', 'what', 'session', 'client', 'address', 'from', 'to'] as const;
export type Filters = Record<(typeof FILTERS)[number], string>;

export function filtersOf(parameters: URLSearchParams): Filters {
  return Object.fromEntries(FILTERS.map((name) => [name, parameters.get(name) ?? ''])) as Filters;
}
/** As the server takes them. */
export function asked(filters: Filters): Record<string, QueryValue> {
  const { patient, ...rest } = filters;
  return { patient_id: patient, ...rest };
}
/** Those of the folded part that are in force. */
export function moreInForce(filters: Filters): number {
  return (['action', 'outcome', 'purpose', 'what', 'session', 'client', 'address'] as const).filter((name) => filters[name]).length;
}
/** Everything is lifted. */
export function lifted(): Record<string, undefined> {
  return Object.fromEntries([...FILTERS, 'show'].map((name) => [name, undefined]));
}
