import { addDays, dayOf, formatDay, formatTime, today } from '$lib/format/date';
import { t } from '$lib/i18n/index.svelte';

/** `today at 10:30`, `Thursday 12 Mar at 10:30`. */
export function whenText(start: string, now: Date): string {
  const day = dayOf(start);
  const time = formatTime(start);
  if (day === today(now)) return t('when.today', { time });
  if (day === addDays(today(now), 1)) return t('when.tomorrow', { time });
  return t('when.day', { day: formatDay(start), time });
}
