// What an application is registered with: how it shows who it is, where it may send people back to, and its scopes.
import type { Client } from './types';

export type Preset = 'patient-app' | 'clinic-app' | 'service';

/** Scopes to begin with, by what the application is for. */
export const PRESETS: Record<Preset, { authentication: Client['authentication']; scopes: string[] }> = {
  'patient-app': {
    authentication: 'none',
    scopes: ['openid', 'fhirUser', 'launch/patient', 'offline_access', 'patient/*.rs']
  },
  'clinic-app': {
    authentication: 'none',
    scopes: ['openid', 'fhirUser', 'launch', 'launch/patient', 'online_access', 'patient/*.rs', 'user/*.rs']
  },
  service: { authentication: 'key', scopes: ['system/*.rs'] }
};

/** Scopes one by one, whatever stands between them, each once. */
export function scopesOf(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter(Boolean))];
}
export function linesOf(text: string): string[] {
  return [...new Set(text.split(/\s+/).filter(Boolean))];
}
/** As the server reads them: https, http on the device itself, or an own scheme with a dot. */
export function redirectFits(address: string): boolean {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    return false;
  }
  if (url.hash || url.username || url.password) return false;
  if (url.protocol === 'https:') return true;
  if (url.protocol === 'http:') return ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname);
  return /^[a-z][a-z0-9+-]*\.[a-z0-9+.-]+:$/.test(url.protocol);
}
/** A JWK Set of public keys, or undefined. Private parts must never leave their owner. */
export function keySetOf(text: string): { keys: Record<string, unknown>[] } | 'private' | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || !('keys' in value)) return undefined;
  const { keys } = value;
  if (!Array.isArray(keys) || keys.length === 0) return undefined;
  if (!keys.every((key) => typeof key === 'object' && key !== null && 'kty' in key)) return undefined;
  if (keys.some((key) => 'd' in key || 'k' in key)) return 'private';
  return { keys };
}
/** Types that are about no patient; of the many definitions only those that are connected now and then. */
const IMPERSONAL = new Set(
  (
    'Practitioner PractitionerRole Organization OrganizationAffiliation Location HealthcareService Endpoint InsurancePlan Schedule Slot ' +
    'ChargeItemDefinition CodeSystem ValueSet ConceptMap NamingSystem Medication MedicationKnowledge Questionnaire PlanDefinition ' +
    'ActivityDefinition StructureDefinition SearchParameter'
  ).split(' ')
);
/** Whether an application with these scopes reads for itself what is about patients, so that it takes two people; the server has the last word. */
export function readsForItself(scopes: readonly string[]): boolean {
  return scopes.some((scope) => {
    const type = /^system\/([^.]+)\./.exec(scope)?.[1];
    return type !== undefined && !IMPERSONAL.has(type);
  });
}
/** What a scope is about, for people: which side it belongs to. */
export function scopeKind(scope: string): 'patient' | 'user' | 'system' | 'sign-in' | 'launch' | 'sealed' | 'other' {
  if (/^(patient|user|system)\//.test(scope)) return scope.split('/')[0] as 'patient' | 'user' | 'system';
  if (['openid', 'fhirUser', 'profile'].includes(scope)) return 'sign-in';
  if (scope.startsWith('launch') || scope.endsWith('_access')) return 'launch';
  if (scope.startsWith('sens/')) return 'sealed';
  return 'other';
}
