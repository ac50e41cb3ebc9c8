import type core from './en/core.json';
import type patient from './en/patient.json';
import type staff from './en/staff.json';
import { fill, type Parameters } from './message';

export type Catalogue = 'core' | 'patient' | 'staff';
export type Key = keyof typeof core | keyof typeof patient | keyof typeof staff;
export type Locale = 'en' | 'sw';
type Messages = Record<string, string>;

export const LOCALES: { code: Locale; name: string; dir: 'ltr' | 'rtl' }[] = [
  { code: 'en', name: 'English', dir: 'ltr' },
  { code: 'sw', name: 'Kiswahili', dir: 'ltr' }
];

const STORAGE = 'uzima.locale';
const LOADERS: Record<Locale, Record<Catalogue, () => Promise<{ default: Messages }>>> = {
  en: {
    core: () => import('./en/core.json'),
    patient: () => import('./en/patient.json'),
    staff: () => import('./en/staff.json')
  },
  sw: {
    core: () => import('./sw/core.json'),
    patient: () => import('./sw/patient.json'),
    staff: () => import('./sw/staff.json')
  }
};

export function isLocale(value: unknown): value is Locale {
  return LOCALES.some((locale) => locale.code === value);
}

class I18n {
  locale = $state<Locale>('en');
  messages = $state.raw<Messages>({});
  #loaded = new Set<Catalogue>();

  /** The language chosen on this device, if somebody chose one. */
  get chosen(): Locale | undefined {
    try {
      const stored = localStorage.getItem(STORAGE);
      return isLocale(stored) ? stored : undefined;
    } catch {
      return undefined;
    }
  }
  /** Loads a catalogue in the current language; pages of that part wait for it. */
  async need(catalogue: Catalogue): Promise<void> {
    if (this.#loaded.has(catalogue)) return;
    if (this.#loaded.size === 0) this.#setDocument(this.#first());
    const loaded = await LOADERS[this.locale][catalogue]();
    this.#loaded.add(catalogue);
    this.messages = { ...this.messages, ...loaded.default };
  }
  /** Changes the language of everything on screen; `remember` keeps it on this device. */
  async use(locale: Locale, remember: boolean): Promise<void> {
    if (remember) {
      try {
        localStorage.setItem(STORAGE, locale);
      } catch {
        // Private windows may refuse; the choice then lasts until the tab closes.
      }
    }
    if (locale === this.locale) return;
    const parts = await Promise.all([...this.#loaded].map((part) => LOADERS[locale][part]()));
    this.#setDocument(locale);
    this.messages = Object.assign({}, ...parts.map((part) => part.default));
  }
  #first(): Locale {
    const chosen = this.chosen;
    if (chosen) return chosen;
    return /^sw/i.test(navigator.language ?? '') ? 'sw' : 'en';
  }
  #setDocument(locale: Locale): void {
    this.locale = locale;
    document.documentElement.lang = locale;
    document.documentElement.dir = LOCALES.find((known) => known.code === locale)!.dir;
  }
}

export const i18n = new I18n();

/** The text of `key` in the reader's language. */
export function t(key: Key, parameters?: Parameters): string {
  const text = i18n.messages[key];
  return text === undefined ? key : fill(text, i18n.locale, parameters);
}

/** The text of a key made at run time, or `otherwise` when the catalogue has none. */
export function tOr(key: string, otherwise: string, parameters?: Parameters): string {
  const text = i18n.messages[key];
  return text === undefined ? otherwise : fill(text, i18n.locale, parameters);
}
