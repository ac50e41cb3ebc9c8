import { formatDate, formatMoment } from '$lib/format/date';
import { i18n, t, tOr } from '$lib/i18n/index.svelte';
import type { Obstacle } from './types';

/** `1.4 MB`, as people read sizes. */
export function size(bytes: number): string {
  const format = (value: number, digits: number) =>
    new Intl.NumberFormat(i18n.locale, { maximumFractionDigits: digits }).format(value);
  if (bytes < 1_000) return `${format(bytes, 0)} B`;
  if (bytes < 1_000_000) return `${format(bytes / 1_000, 0)} kB`;
  return `${format(bytes / 1_000_000, 1)} MB`;
}

/** What a FHIR type is called on these screens. */
export function kindOf(kind: string): string {
  return tOr(`privacy.kind.${kind}`, kind);
}

/** `Observation/12` → `Observation`. */
export function typeOf(entry: string): string {
  return entry.split('/')[0] ?? entry;
}

/** A FHIR date of any precision, as people read it; the time only where there is one. */
export function when(date: string): string {
  if (!date) return '';
  if (date.includes('T')) return formatMoment(date);
  return /^\d{4}-\d{2}-\d{2}$/.test(date) ? formatDate(date) : date;
}

/** Why a record cannot be erased yet. */
export function obstacleText(one: Obstacle): string {
  if (one.kind !== 'retention') return t(one.kind === 'legal-hold' ? 'privacy.obstacle.hold' : 'privacy.obstacle.erased');
  return t('privacy.obstacle.retention', {
    what: tOr(`privacy.class.${one.class}`, one.class ?? ''),
    date: formatDate(one.until ?? ''),
    law: one.law ?? ''
  });
}

/** Whole days from now to an instant; negative when it is past. */
export function daysTo(at: string, now: number): number {
  return Math.ceil((Date.parse(at) - now) / 86_400_000);
}

/** The name of a country in the reader's language; the two letters where there is none. */
export function country(code: string): string {
  if (!code || code === '--' || code === 'ZZ') return code;
  try {
    return new Intl.DisplayNames([i18n.locale], { type: 'region' }).of(code) ?? code;
  } catch {
    return code;
  }
}
