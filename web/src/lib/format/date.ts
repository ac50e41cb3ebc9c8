// Dates as `12 Mar 2026`: never numbers alone, because 03/04 means two days in two countries.
import { i18n, type Locale } from '$lib/i18n/index.svelte';
import { currentZone } from './zone';

export { currentZone, setZone } from './zone';

const MONTHS: Record<Locale, string[]> = {
  en: ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'],
  sw: ['Jan', 'Feb', 'Mac', 'Apr', 'Mei', 'Jun', 'Jul', 'Ago', 'Sep', 'Okt', 'Nov', 'Des']
};
const DAYS: Record<Locale, string[]> = {
  en: ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'],
  sw: ['Jumapili', 'Jumatatu', 'Jumanne', 'Jumatano', 'Alhamisi', 'Ijumaa', 'Jumamosi']
};
const DAYS_SHORT: Record<Locale, string[]> = {
  en: ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'],
  sw: ['Jpili', 'Jtatu', 'Jnne', 'Jtano', 'Alh', 'Ijm', 'Jmosi']
};

const formatters = new Map<string, Intl.DateTimeFormat>();

/** Calendar fields of an instant in a zone. `month` is 1–12, `weekday` 0 (Sunday) to 6. */
export interface Fields {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  weekday: number;
}

export function fieldsOf(instant: string | Date, inZone: string = currentZone()): Fields | undefined {
  const date = typeof instant === 'string' ? new Date(instant) : instant;
  if (Number.isNaN(date.getTime())) return undefined;
  let formatter = formatters.get(inZone);
  if (!formatter) {
    formatter = new Intl.DateTimeFormat('en-GB', {
      timeZone: inZone,
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
      hourCycle: 'h23'
    });
    formatters.set(inZone, formatter);
  }
  const value: Record<string, number> = {};
  for (const part of formatter.formatToParts(date)) value[part.type] = Number(part.value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = value;
  return { year, month, day, hour, minute, second, weekday: new Date(Date.UTC(year, month - 1, day)).getUTCDay() };
}

const two = (value: number) => String(value).padStart(2, '0');

/** `YYYY-MM-DD` of an instant in the clinic's zone. */
export function dayOf(instant: string | Date, inZone: string = currentZone()): string {
  const fields = fieldsOf(instant, inZone);
  return fields ? `${fields.year}-${two(fields.month)}-${two(fields.day)}` : '';
}
export function today(now: Date = new Date()): string {
  return dayOf(now);
}
/** Adds days to a calendar date. */
export function addDays(date: string, days: number): string {
  const at = new Date(`${date}T00:00:00Z`);
  at.setUTCDate(at.getUTCDate() + days);
  return at.toISOString().slice(0, 10);
}
/** Monday of the week of a date. */
export function mondayOf(date: string): string {
  const weekday = new Date(`${date}T00:00:00Z`).getUTCDay();
  return addDays(date, -((weekday + 6) % 7));
}
export function weekdayOf(date: string): number {
  return new Date(`${date}T00:00:00Z`).getUTCDay();
}

/** `12 Mar 2026` from a date or an instant; partial dates (`2026-03`, `2026`) stay partial. */
export function formatDate(value: string | undefined | null, locale: Locale = i18n.locale): string {
  if (!value) return '';
  const text = value.includes('T') ? dayOf(value) : value;
  const match = /^(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?$/.exec(text);
  if (!match) return value;
  const [, year, month, day] = match;
  if (!month) return year!;
  const name = MONTHS[locale][Number(month) - 1] ?? month;
  return day ? `${Number(day)} ${name} ${year}` : `${name} ${year}`;
}
/** `Thursday 12 Mar`, with the year when it is not this year. */
export function formatDay(value: string, locale: Locale = i18n.locale, now: Date = new Date()): string {
  const text = value.includes('T') ? dayOf(value) : value;
  const [year, month, day] = text.split('-').map(Number);
  if (!year || !month || !day) return value;
  const name = DAYS[locale][weekdayOf(text)];
  const tail = year === Number(today(now).slice(0, 4)) ? '' : ` ${year}`;
  return `${name} ${day} ${MONTHS[locale][month - 1]}${tail}`;
}
export function formatWeekdayShort(date: string, locale: Locale = i18n.locale): string {
  return DAYS_SHORT[locale][weekdayOf(date)]!;
}
export function weekdayName(index: number, locale: Locale = i18n.locale): string {
  return DAYS[locale][index]!;
}
export function formatDayMonth(date: string, locale: Locale = i18n.locale): string {
  const [, month, day] = date.split('-').map(Number);
  return `${day} ${MONTHS[locale][(month ?? 1) - 1]}`;
}
export function monthName(index: number, locale: Locale = i18n.locale): string {
  return MONTHS[locale][index]!;
}
/** `10:30` in the clinic's zone. */
export function formatTime(instant: string | Date | undefined | null, inZone: string = currentZone()): string {
  if (!instant) return '';
  const fields = fieldsOf(instant, inZone);
  return fields ? `${two(fields.hour)}:${two(fields.minute)}` : '';
}
export function formatMoment(instant: string | undefined | null, locale: Locale = i18n.locale): string {
  return instant ? `${formatDate(instant, locale)}, ${formatTime(instant)}` : '';
}
/** The place part of a zone (`Nairobi`) when the device's clock differs from it at that instant. */
export function zoneNote(instant: string, device?: string): string | undefined {
  const own = device ?? Intl.DateTimeFormat().resolvedOptions().timeZone;
  const here = fieldsOf(instant, own);
  const there = fieldsOf(instant);
  if (!here || !there) return undefined;
  if (here.hour === there.hour && here.minute === there.minute && here.day === there.day) return undefined;
  return currentZone().split('/').pop()!.replaceAll('_', ' ');
}

/** The instant at which a wall-clock time of the clinic's zone happens. */
export function instantAt(date: string, time: string, inZone: string = currentZone()): string {
  const guess = new Date(`${date}T${time}:00Z`);
  const fields = fieldsOf(guess, inZone)!;
  const shown = Date.UTC(fields.year, fields.month - 1, fields.day, fields.hour, fields.minute);
  return new Date(guess.getTime() - (shown - guess.getTime())).toISOString().replace('.000Z', 'Z');
}

export interface Age {
  value: number;
  unit: 'year' | 'month' | 'week' | 'day';
}
/** Age on a day as clinicians say it: days to 4 weeks, weeks to 3 months, months to 2 years, then years. */
export function ageOn(birth: string, day: string): Age | undefined {
  const born = new Date(`${(birth + '-01-01').slice(0, 10)}T00:00:00Z`);
  const on = new Date(`${day}T00:00:00Z`);
  const days = Math.floor((on.getTime() - born.getTime()) / 86_400_000);
  if (Number.isNaN(days) || days < 0) return undefined;
  if (days < 28) return { value: days, unit: 'day' };
  let months = (on.getUTCFullYear() - born.getUTCFullYear()) * 12 + on.getUTCMonth() - born.getUTCMonth();
  if (on.getUTCDate() < born.getUTCDate()) months -= 1;
  if (months < 3) return { value: Math.floor(days / 7), unit: 'week' };
  if (months < 24) return { value: months, unit: 'month' };
  return { value: Math.floor(months / 12), unit: 'year' };
}
/** Whole minutes between two instants, never below zero. */
export function minutesBetween(from: string | Date, to: string | Date): number {
  return Math.max(0, Math.floor((new Date(to).getTime() - new Date(from).getTime()) / 60_000));
}
