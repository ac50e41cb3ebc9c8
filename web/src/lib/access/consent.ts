// A consent as it is put together on screen, and what is sent of it.
import type { ConsentGiven } from './types';

/** The wording of the sentence below; a new one for a new wording, so that the evidence says which was read. */
export const TEXT_VERSION = 'sharing-2026-11';

/** Parts of a record that people tell apart, with their FHIR types. */
export const PARTS: Record<string, string[]> = {
  results: ['Observation', 'DiagnosticReport', 'ServiceRequest', 'ImagingStudy', 'Media', 'Specimen'],
  notes: ['Encounter', 'Composition', 'DocumentReference'],
  medicines: ['MedicationRequest', 'MedicationStatement', 'MedicationDispense', 'MedicationAdministration'],
  problems: ['Condition', 'Procedure', 'CarePlan', 'FamilyMemberHistory'],
  bills: ['Invoice', 'ChargeItem', 'Account']
};
/** Categories that are sealed by themselves. */
export const SEALS = ['HIV', 'SEX', 'SDV', 'MH', 'SUD', 'R'] as const;
export const ROLES = ['doctor', 'nurse', 'lab', 'pharmacist', 'cashier', 'front-desk', 'integration'] as const;
/** v3-ActReason. */
export const PURPOSES = ['TREAT', 'HPAYMT', 'HOPERAT', 'HRESCH', 'PUBHLTH', 'HMARKT'] as const;

/** What was filled in. `to` is `everybody`, `role/nurse` or `practitioner/7`. */
export interface Draft {
  decision: 'deny' | 'permit';
  to: string;
  parts: string[];
  seals: string[];
  purpose: string;
  /** `YYYY-MM-DD` or empty. */
  until: string;
}

export function bodyOf(draft: Draft, text: string, language: string): ConsentGiven {
  const [kind, id = ''] = draft.to.split(/\/(.*)/s);
  const actors =
    kind === 'role'
      ? [{ role: id } as ConsentGiven['actors'] extends (infer Actor)[] | undefined ? Actor : never]
      : kind === 'practitioner'
        ? [{ practitioner: id }]
        : [];
  return {
    decision: draft.decision,
    actors,
    // A permit opens seals and nothing else; what is not sealed needs none.
    types: draft.decision === 'permit' ? [] : draft.parts.flatMap((part) => PARTS[part] ?? []),
    categories: draft.seals,
    purposes: draft.purpose && draft.decision === 'deny' ? [draft.purpose] : [],
    ...(draft.until ? { until: draft.until } : {}),
    text_version: TEXT_VERSION,
    text,
    language
  };
}

/** Types of a consent as the parts they make up; what makes up no whole part stays by itself. */
export function partsOf(types: readonly string[]): string[] {
  const left = new Set(types);
  const found: string[] = [];
  for (const [part, members] of Object.entries(PARTS)) {
    if (members.every((type) => left.has(type))) {
      found.push(`part:${part}`);
      for (const type of members) left.delete(type);
    }
  }
  return [...found, ...left];
}

/** Whether a consent holds on a day. */
export function standing(consent: { status: string; from?: string | null; until?: string | null }, today: string): 'active' | 'over' | 'ahead' | 'withdrawn' {
  if (consent.status !== 'active') return 'withdrawn';
  if (consent.until && consent.until.slice(0, 10) < today) return 'over';
  if (consent.from && consent.from.slice(0, 10) > today) return 'ahead';
  return 'active';
}
