// Rights in words: the same in every list that shows them.
import { t, tOr } from '$lib/i18n/index.svelte';
import { partsOf } from './consent';
import type { Scope } from './scopes';
import type { Consent } from './types';

/** `Results and measurements`, `The whole record`. */
export function dataText(type: string): string {
  if (type === '' || type === '*') return t('data.all');
  return tOr(`data.${type}`, type);
}

/** The category that a scope opens, e.g. `HIV`. */
function sealOf(scope: Scope): string | undefined {
  return scope.text.startsWith('sens/') ? scope.text.slice('sens/'.length) : undefined;
}
/** What one scope means. */
export function scopeTitle(scope: Scope): string {
  if (scope.section === 'who' || scope.section === 'stay') return tOr(`scope.${scope.text}`, scope.text);
  const sealed = sealOf(scope);
  if (sealed) return t('scope.sealed', { what: sealed === '*' ? t('scope.sealed_all') : tOr(`seal.${sealed}`, sealed) });
  if (scope.section === 'other') return scope.text;
  const what = scope.reach === 'system' && scope.type === '*' ? t('scope.everything') : dataText(scope.type);
  if (scope.only.length === 0) return what;
  return t('scope.only', { what, only: scope.only.map((code) => tOr(`category.${code}`, code)).join(', ') });
}
/** What may be done with it, where that is more than reading. */
export function scopeDetail(scope: Scope): string | undefined {
  if (scope.section === 'who' || scope.section === 'stay') return tOr(`scope.${scope.text}.text`, '') || undefined;
  if (sealOf(scope)) return undefined;
  if (scope.section === 'other') return t('scope.unknown');
  const whose = scope.reach === 'user' ? t('scope.user') : '';
  if (scope.section === 'read') return whose || undefined;
  return [scopeVerbs(scope), whose].filter(Boolean).join(' · ');
}
/** `read, add, change` */
export function scopeVerbs(scope: Scope): string {
  const verbs = [
    scope.read && t('scopeverb.read'),
    scope.add && t('scopeverb.add'),
    scope.change && t('scopeverb.change'),
    scope.remove && t('scopeverb.remove')
  ];
  return verbs.filter(Boolean).join(', ');
}

export function relationshipText(code: string): string {
  return tOr(`relationship.${code}`, code);
}
export function basisText(basis: string): string {
  return tOr(`basis.${basis}`, basis);
}
export function partText(part: string): string {
  return tOr(`part.${part}`, part);
}
export function reasonText(reason: string): string {
  return tOr(`btg.reason.${reason}`, reason);
}
export function verdictText(verdict: string): string {
  return tOr(`btg.verdict.${verdict}`, verdict);
}

/** Whom a consent is about. */
export function partiesText(consent: Pick<Consent, 'parties'>): string {
  if (consent.parties.length === 0) return t('consent.everybody');
  return consent.parties
    .map((party) =>
      party.kind === 'role'
        ? tOr(`who.${party.id}`, tOr(`role.${party.id}`, party.id))
        : (party.name ?? t('consent.unknown_party'))
    )
    .join(', ');
}
/** What a consent is about. */
export function subjectText(consent: Pick<Consent, 'types' | 'categories' | 'veiled'>): string {
  const parts = [
    ...partsOf(consent.types).map((one) => (one.startsWith('part:') ? tOr(`consent.part.${one.slice(5)}`, one) : dataText(one))),
    ...consent.categories.map((category) => tOr(`seal.${category}`, category)),
    ...(consent.veiled ? [t('consent.veiled')] : [])
  ];
  return parts.length > 0 ? parts.join(', ') : t('data.all');
}
