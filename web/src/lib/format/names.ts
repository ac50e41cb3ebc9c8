import { i18n, t, tOr, type Locale } from '$lib/i18n/index.svelte';
import type { Money, PersonName, ProviderName, ProviderRef } from '$lib/api/types';
import { ageOn, today } from './date';

const SYMBOLS: Record<string, string> = { KES: 'KSh', UGX: 'USh', TZS: 'TSh', USD: 'US$', EUR: '€', GBP: '£', NGN: '₦', ZAR: 'R' };
/** ISO 4217 minor units; two where not listed. */
const DECIMALS: Record<string, number> = { UGX: 0, RWF: 0, BIF: 0, XOF: 0, XAF: 0 };

export function decimalsOf(currency: string): number {
  return DECIMALS[currency] ?? 2;
}
/** `KSh 1,500`, with cents only when there are any. */
export function formatMoney(money: Money | undefined | null): string {
  if (!money) return '';
  const decimals = decimalsOf(money.currency);
  const scale = 10 ** decimals;
  const sign = money.amount_minor < 0 ? '−' : '';
  const amount = Math.abs(money.amount_minor);
  const whole = Math.floor(amount / scale)
    .toString()
    .replace(/\B(?=(\d{3})+(?!\d))/g, ',');
  const rest = amount % scale;
  const cents = rest === 0 ? '' : `.${String(rest).padStart(decimals, '0')}`;
  return `${sign}${SYMBOLS[money.currency] ?? money.currency} ${whole}${cents}`;
}
/** Minor units of what somebody typed (`1,500.50`), or undefined when it is no amount. */
export function parseMoney(text: string, currency: string): number | undefined {
  const decimals = decimalsOf(currency);
  const match = /^(\d+)(?:\.(\d+))?$/.exec(text.replace(/[\s,]/g, ''));
  if (!match || (match[2]?.length ?? 0) > decimals) return undefined;
  const minor = Number(match[1]) * 10 ** decimals + Number((match[2] ?? '').padEnd(decimals, '0') || 0);
  return Number.isSafeInteger(minor) ? minor : undefined;
}

export function personName(name: PersonName | undefined | null): string {
  return name ? `${name.given} ${name.family}`.trim() : '';
}
export function providerName(provider: ProviderRef | { name: ProviderName | string } | undefined | null): string {
  const name = provider?.name;
  if (!name) return '';
  if (typeof name === 'string') return name;
  return [name.prefix, name.given, name.family].filter(Boolean).join(' ');
}
export function initials(text: string): string {
  const words = text.replace(/^(dr|prof|mr|mrs|ms)\.?\s/i, '').split(/\s+/).filter(Boolean);
  return ((words[0]?.[0] ?? '') + (words.length > 1 ? (words.at(-1)?.[0] ?? '') : '')).toUpperCase();
}
export function sexName(sex: string | undefined | null): string {
  return tOr(`sex.${sex || 'unknown'}`, t('sex.unknown'));
}
export function ageText(birth: string, on: string = today()): string {
  const age = ageOn(birth, on);
  return age ? t(`age.${age.unit}`, { count: age.value }) : '';
}

/** `+254 712 345 678`; a number that is not understood stays as written. */
export function formatPhone(phone: string | undefined | null): string {
  if (!phone) return '';
  const kenyan = /^\+?254(\d{3})(\d{3})(\d{3})$/.exec(phone.replace(/\s/g, ''));
  return kenyan ? `+254 ${kenyan[1]} ${kenyan[2]} ${kenyan[3]}` : phone;
}

export function languageName(code: string, locale: Locale = i18n.locale): string {
  try {
    return new Intl.DisplayNames([locale], { type: 'language' }).of(code) ?? code;
  } catch {
    return code;
  }
}
