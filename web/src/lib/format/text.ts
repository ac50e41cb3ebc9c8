import { i18n, t, tOr, type Locale } from '$lib/i18n/index.svelte';
import type { Me, Money, PersonName, ProviderName, ProviderRef, RxItem, Sex } from '$lib/api/types';
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
export function sexName(sex: Sex | undefined | null): string {
  return t(`sex.${sex ?? 'unknown'}`);
}
export function ageText(birth: string, on: string = today()): string {
  const age = ageOn(birth, on);
  return age ? t(`age.${age.unit}`, { count: age.value }) : '';
}
export function waitText(minutes: number): string {
  if (minutes < 1) return t('wait.now');
  if (minutes < 60) return t('wait.minutes', { count: minutes });
  return t('wait.hours', { hours: Math.floor(minutes / 60), minutes: minutes % 60 });
}

/** `+254 712 345 678`; a number that is not understood stays as written. */
export function formatPhone(phone: string | undefined | null): string {
  if (!phone) return '';
  const kenyan = /^\+?254(\d{3})(\d{3})(\d{3})$/.exec(phone.replace(/\s/g, ''));
  return kenyan ? `+254 ${kenyan[1]} ${kenyan[2]} ${kenyan[3]}` : phone;
}

/** No trailing zeros, a zero before the point: `.50` → `0.5`, `5.0` → `5`. */
export function tidyDecimal(text: string): string {
  const match = /^(-?)(\d*)\.?(\d*)$/.exec(text.trim());
  if (!match || (!match[2] && !match[3])) return text;
  const whole = match[2]!.replace(/^0+(?=\d)/, '') || '0';
  const rest = match[3]!.replace(/0+$/, '');
  return `${match[1]}${whole}${rest ? `.${rest}` : ''}`;
}
/** Tidies every number inside a dose (`.50 mg` → `0.5 mg`) and writes out unsafe unit abbreviations (ISMP). */
export function safeDose(dose: string): string {
  return dose
    .replace(/\d*\.\d+|\d+\.(?=\D|$)|\d+/g, (number) => tidyDecimal(number))
    .replace(/(\d)(?=[A-Za-zµμ])/g, '$1 ')
    .replace(/\b(µg|μg|ug|mcg)\b|(?<=\s)[µμ]g\b/g, 'micrograms')
    .replace(/\b(IU|U|u)\b(?!\w)/g, 'units')
    .replace(/\bcc\b/g, 'mL')
    .replace(/\bml\b/g, 'mL')
    .replace(/\s+/g, ' ')
    .trim();
}

// Tall Man letters for names that have been mistaken for each other (ISMP list; the part that the
// formulary holds).
const TALL_MAN: Record<string, string> = {
  amlodipine: 'amLODIPine',
  amiodarone: 'aMIOdarone',
  azathioprine: 'azaTHIOprine',
  carbamazepine: 'carBAMazepine',
  ceftriaxone: 'cefTRIAXone',
  cefotaxime: 'cefOTAXime',
  ceftazidime: 'cefTAZidime',
  chlorpromazine: 'chlorproMAZINE',
  chlorpropamide: 'chlorproPAMIDE',
  clonazepam: 'clonazePAM',
  clonidine: 'cloNIDine',
  diazepam: 'diazePAM',
  diphenhydramine: 'diphenhydrAMINE',
  dopamine: 'DOPamine',
  dobutamine: 'DOBUTamine',
  ephedrine: 'ePHEDrine',
  epinephrine: 'EPINEPHrine',
  fluoxetine: 'FLUoxetine',
  glipizide: 'glipiZIDE',
  glyburide: 'glyBURIDE',
  hydralazine: 'hydrALAZINE',
  hydroxyzine: 'hydrOXYzine',
  hydrochlorothiazide: 'hydroCHLOROthiazide',
  lamivudine: 'lamiVUDine',
  lamotrigine: 'lamoTRIgine',
  levetiracetam: 'levETIRAcetam',
  metformin: 'metFORMIN',
  metronidazole: 'metroNIDAZOLE',
  morphine: 'morphine',
  nifedipine: 'NIFEdipine',
  nimodipine: 'niMODipine',
  prednisolone: 'prednisoLONE',
  prednisone: 'predniSONE',
  quinidine: 'quiNIDine',
  quinine: 'quiNINE',
  risperidone: 'risperiDONE',
  sulfadiazine: 'sulfADIAZINE',
  tramadol: 'traMADol',
  vinblastine: 'vinBLAStine',
  vincristine: 'vinCRIStine',
  zidovudine: 'ziDOVudine'
};
export function tallMan(name: string): string {
  return name.replace(/[A-Za-z]+/g, (word) => TALL_MAN[word.toLowerCase()] ?? word);
}

export function frequencyText(item: Pick<RxItem, 'frequency_code' | 'frequency_text'>): string {
  return tOr(`frequency.${item.frequency_code}`, item.frequency_text);
}
export function routeText(route: string): string {
  return tOr(`route.${route.toLowerCase().replace(/\s+/g, '-')}`, route);
}
export interface MedicineLine {
  name: string;
  rest: string;
}
/** **name** form – DOSE – route – frequency – duration, in words a patient can read. */
export function medicineLine(item: RxItem): MedicineLine {
  const parts = [
    item.form,
    item.dose ? `${t('rx.dose').toLocaleUpperCase(i18n.locale)} ${safeDose(item.dose)}` : '',
    routeText(item.route),
    frequencyText(item),
    item.frequency_code === 'STAT' || !item.duration_days ? '' : t('rx.for_days', { count: item.duration_days })
  ].filter(Boolean);
  return { name: tallMan(item.name), rest: parts.join(' – ') };
}

export function languageName(code: string, locale: Locale = i18n.locale): string {
  try {
    return new Intl.DisplayNames([locale], { type: 'language' }).of(code) ?? code;
  } catch {
    return code;
  }
}
/** The screens each signed-in person starts on. */
export function homeOf(me: Me): string {
  const has = (...roles: Me['roles']) => roles.some((role) => me.roles.includes(role));
  if (has('doctor', 'nurse')) return '/clinic';
  if (has('front-desk')) return '/desk';
  if (has('cashier')) return '/cashier';
  if (has('administrator', 'privacy-officer', 'it')) return '/admin';
  return '/home';
}
