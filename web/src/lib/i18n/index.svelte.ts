import type access from './en/access.json';
import type account from './en/account.json';
import type admin from './en/admin.json';
import type cashier from './en/cashier.json';
import type clinic from './en/clinic.json';
import type desk from './en/desk.json';
import type core from './en/core.json';
import type entry from './en/entry.json';
import type errors from './en/errors.json';
import type home from './en/home.json';
import type shared from './en/shared.json';
import type notice from './en/notice.json';
import type privacy from './en/privacy.json';
import type register from './en/register.json';
import type secure from './en/secure.json';
import type patient from './en/patient.json';
import type staff from './en/staff.json';
import { fill, type Parameters } from './message';

/**
 * The words come in parts so that a page waits only for its own: `core` always, `errors` as soon as the
 * first page stands, `entry` and `register` before signing in, `home` and `patient` for patients, `shared` and `staff`,
 * `clinic`, `desk`, `cashier` and `admin` for their portals; `account` (the own account), `access` (who may see what),
 * `secure` (administration of both), `notice` and `privacy` where they are used.
 */
export type Catalogue = 'core' | 'entry' | 'register' | 'errors' | 'home' | 'shared' | 'patient' | 'staff' | 'clinic' | 'desk' | 'cashier' | 'admin'
  | 'account' | 'access' | 'secure' | 'notice' | 'privacy';
export type Key =
  | keyof typeof core
  | keyof typeof entry
  | keyof typeof register
  | keyof typeof errors
  | keyof typeof home
  | keyof typeof shared
  | keyof typeof patient
  | keyof typeof staff
  | keyof typeof clinic
  | keyof typeof desk
  | keyof typeof cashier
  | keyof typeof admin
  | keyof typeof account
  | keyof typeof access
  | keyof typeof secure
  | keyof typeof notice
  | keyof typeof privacy;
export type Locale = 'en' | 'sw';
type Messages = Record<string, string>;

export const LOCALES: { code: Locale; name: string; dir: 'ltr' | 'rtl' }[] = [
  { code: 'en', name: 'English', dir: 'ltr' },
  { code: 'sw', name: 'Kiswahili', dir: 'ltr' }
];

const STORAGE = 'uzima.locale';
/** The language shown last, for a start without a connection; unlike a choice it gives way to the account's. */
const LAST = 'uzima.locale.last';
const LOADERS: Record<Locale, Record<Catalogue, () => Promise<{ default: Messages }>>> = {
  en: {
    core: () => import('./en/core.json'),
    entry: () => import('./en/entry.json'),
    register: () => import('./en/register.json'),
    errors: () => import('./en/errors.json'),
    home: () => import('./en/home.json'),
    shared: () => import('./en/shared.json'),
    patient: () => import('./en/patient.json'),
    staff: () => import('./en/staff.json'),
    clinic: () => import('./en/clinic.json'),
    desk: () => import('./en/desk.json'),
    cashier: () => import('./en/cashier.json'),
    admin: () => import('./en/admin.json'),
    account: () => import('./en/account.json'),
    access: () => import('./en/access.json'),
    secure: () => import('./en/secure.json'),
    notice: () => import('./en/notice.json'),
    privacy: () => import('./en/privacy.json')
  },
  sw: {
    core: () => import('./sw/core.json'),
    entry: () => import('./sw/entry.json'),
    register: () => import('./sw/register.json'),
    errors: () => import('./sw/errors.json'),
    home: () => import('./sw/home.json'),
    shared: () => import('./sw/shared.json'),
    patient: () => import('./sw/patient.json'),
    staff: () => import('./sw/staff.json'),
    clinic: () => import('./sw/clinic.json'),
    desk: () => import('./sw/desk.json'),
    cashier: () => import('./sw/cashier.json'),
    admin: () => import('./sw/admin.json'),
    account: () => import('./sw/account.json'),
    access: () => import('./sw/access.json'),
    secure: () => import('./sw/secure.json'),
    notice: () => import('./sw/notice.json'),
    privacy: () => import('./sw/privacy.json')
  }
};

export function isLocale(value: unknown): value is Locale {
  return LOCALES.some((locale) => locale.code === value);
}

class I18n {
  locale = $state<Locale>('en');
  messages = $state.raw<Messages>({});
  /** Every catalogue somebody asked for, and the language they should be in. */
  #wanted = new Set<Catalogue>();
  #target: Locale = 'en';

  /** The language chosen on this device, if somebody chose one. */
  get chosen(): Locale | undefined {
    try {
      const stored = localStorage.getItem(STORAGE);
      return isLocale(stored) ? stored : undefined;
    } catch {
      return undefined;
    }
  }
  /** Loads catalogues in the current language; pages of that part wait for them. */
  async need(...catalogues: Catalogue[]): Promise<void> {
    if (this.#wanted.size === 0) {
      this.#target = this.#first();
      this.#setDocument(this.#target);
    } else if (catalogues.every((catalogue) => this.#shown.has(catalogue))) return;
    for (const catalogue of catalogues) this.#wanted.add(catalogue);
    await this.#load();
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
    if (locale === this.#target) return;
    this.#target = locale;
    await this.#load();
  }
  #shown = new Set<Catalogue>();
  async #load(): Promise<void> {
    for (;;) {
      const locale = this.#target;
      const wanted = [...this.#wanted];
      const parts = await Promise.all(wanted.map((catalogue) => LOADERS[locale][catalogue]()));
      // Another language or more words were asked for meanwhile: what came is not the whole any more.
      if (locale !== this.#target || wanted.length < this.#wanted.size) continue;
      if (locale !== this.locale) this.#setDocument(locale);
      this.#shown = new Set(wanted);
      this.messages = Object.assign({}, ...parts.map((part) => part.default));
      return;
    }
  }
  #first(): Locale {
    const chosen = this.chosen;
    if (chosen) return chosen;
    try {
      const last = localStorage.getItem(LAST);
      if (isLocale(last)) return last;
    } catch {
      // Without storage the browser's language decides.
    }
    return /^sw/i.test(navigator.language ?? '') ? 'sw' : 'en';
  }
  #setDocument(locale: Locale): void {
    this.locale = locale;
    try {
      localStorage.setItem(LAST, locale);
    } catch {
      // The next start then asks the browser again.
    }
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
