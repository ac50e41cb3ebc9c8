// The clinic's own lists of codes that seal what is written with them.
import type { SealRule } from './types';

/** Systems whose codes clinics seal, with the names people know them by. */
export const SYSTEMS = [
  { system: 'http://hl7.org/fhir/sid/icd-10', name: 'ICD-10' },
  { system: 'http://id.who.int/icd/release/11/mms', name: 'ICD-11' },
  { system: 'http://loinc.org', name: 'LOINC' },
  { system: 'http://snomed.info/sct', name: 'SNOMED CT' },
  { system: 'http://www.nlm.nih.gov/research/umls/rxnorm', name: 'RxNorm' },
  { system: 'http://www.whocc.no/atc', name: 'ATC' },
  { system: 'https://openconceptlab.org/orgs/CIEL/sources/CIEL', name: 'CIEL' }
];
/** As the server counts: codes of all lists together. */
export const MAX_CODES = 20_000;

export function systemName(system: string): string | undefined {
  return SYSTEMS.find((one) => one.system === system.trim())?.name;
}
/** Codes as people write or paste them: one a line, or with commas or blanks between. Each once. */
export function codesOf(text: string): string[] {
  return [...new Set(text.split(/[\s,;]+/).filter(Boolean))];
}
/** What the server would refuse, before it is asked. */
export function ruleProblem(rule: SealRule): { field: 'system' | 'codes'; code: 'system_needed' | 'codes_needed' | 'star_alone' | 'too_many' } | undefined {
  if (!/^[a-z][a-z0-9+.-]*:\S+$/i.test(rule.system)) return { field: 'system', code: 'system_needed' };
  if (rule.codes.length === 0) return { field: 'codes', code: 'codes_needed' };
  if (rule.codes.includes('*')) return { field: 'codes', code: 'star_alone' };
  if (rule.codes.length > MAX_CODES) return { field: 'codes', code: 'too_many' };
  return undefined;
}
