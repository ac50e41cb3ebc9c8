import { t, tOr } from '$lib/i18n/index.svelte';
import { ApiError } from './client';

/** What to tell the reader about a refused request: never the server's English when we have words of our own. */
export function problemText(error: unknown): string {
  if (!(error instanceof ApiError)) return t('error.internal');
  const parameters: Record<string, string | number> = {};
  for (const [name, value] of Object.entries(error.details)) {
    if (typeof value === 'string' || typeof value === 'number') parameters[name] = value;
  }
  if (error.code === 'throttled' && parameters.retry_after_s === undefined) return t('error.busy');
  return tOr(`error.${error.code}`, error.message, parameters);
}

/** Words for one refused field. */
export function fieldText(code: string, text?: string): string {
  return tOr(`error.${code}`, text ?? t('error.invalid'));
}

/** `/birth_date` → `birth_date`; `/items/0/dose` → `items.0.dose`. */
export function fieldName(pointer: string): string {
  return pointer.replace(/^[/#]+/, '').replaceAll('/', '.');
}
