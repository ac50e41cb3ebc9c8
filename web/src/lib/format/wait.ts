import { t } from '$lib/i18n/index.svelte';

/** How long somebody has waited, in words. */
export function waitText(minutes: number): string {
  if (minutes < 1) return t('wait.now');
  if (minutes < 60) return t('wait.minutes', { count: minutes });
  return t('wait.hours', { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
}
